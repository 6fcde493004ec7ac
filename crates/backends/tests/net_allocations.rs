//! A packet costs no allocation, once the first ones have passed.

#![allow(missing_docs)]
#![allow(clippy::cast_possible_truncation, reason = "numbers are small")]

mod counting;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use strata_backends::passt::Passt;
use strata_devices::virtio::net::{HEADER, Net, NetConfig, feature};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use counting::allocations_of;

/// Lets the device work, and counts.
fn run(bench: &mut Bench<Net<Passt, Memory>>) -> usize {
    allocations_of(|| {
        bench.run();
    })
}

#[test]
fn packets_cost_no_allocation() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let link = Passt::from_stream(ours, None).unwrap();
    let net = Net::new(&NetConfig::new("52:54:00:12:34:56".parse().unwrap()), vec![link]).unwrap();
    let workers = net.workers();
    let mut bench = Bench::new(net, workers);
    bench.start(feature::MRG_RXBUF);
    let mut buffer = [0; 4096];
    let mut counts = Vec::new();
    for round in 0..500_u32 {
        // Now and then a packet that takes three buffers, and one that is in four pieces.
        let len = if round % 3 == 0 { 3000 } else { 1500 };
        bench.write(FREE, &vec![1; HEADER + len as usize]);
        bench.queue(1).add(&[(FREE, 5), (FREE + 5, 7), (FREE + 12, 30), (FREE + 42, len - 30)], &[]);
        bench.notify(1);
        let mut count = run(&mut bench);
        let sent = theirs.read(&mut buffer).unwrap();
        assert_eq!(sent, 4 + len as usize);
        assert!(bench.queue(1).used().is_some());

        for _ in 0..if round == 0 { 4 } else { 3 } {
            bench.queue(0).add(&[], &[(FREE + 0x1_0000, 1526)]);
        }
        bench.notify(0);
        theirs.write_all(&buffer[..sent]).unwrap();
        count += run(&mut bench);
        let used = std::iter::from_fn(|| bench.queue(0).used()).count();
        assert_eq!(used, if len == 3000 { 2 } else { 1 });
        for _ in used..3 {
            // So that as many are given as are taken.
            theirs.write_all(&14_u32.to_be_bytes()).unwrap();
            theirs.write_all(&[0; 14]).unwrap();
        }
        count += run(&mut bench);
        while bench.queue(0).used().is_some() {}
        counts.push(count);
    }
    assert!(counts[0] > 0, "the count counts");
    assert_eq!(counts[20..].iter().sum::<usize>(), 0, "{counts:?}");
}

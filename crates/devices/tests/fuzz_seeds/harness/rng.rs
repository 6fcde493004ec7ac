use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use strata_devices::virtio::rate::{Limit, RateLimits};
use strata_devices::virtio::rng::Rng;
use strata_devices::virtio::testing::{Bench, FREE, Memory};

use super::{Input, bench, drive, start};

/// Answers as the bytes say, and then with what is asked for.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<VecDeque<u8>>>);

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = match self.0.lock().unwrap().pop_front() {
            Some(0xff) => return Err(io::ErrorKind::Interrupted.into()),
            Some(0xfe) => return Err(io::ErrorKind::PermissionDenied.into()),
            Some(len) => into.len().min(len.into()),
            None => into.len(),
        };
        into[..len].fill(7);
        Ok(len)
    }
}

/// The first byte says which of some devices it is.
pub fn rng(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(how) = input.byte() else { return };
    let operations = (how & 1 != 0).then_some(Limit { per_second: 0, burst: 5 });
    let source = Source::default();
    let device = Rng::limited(source.clone(), RateLimits { operations, ..RateLimits::default() }).unwrap();
    let worker = device.worker();
    let mut bench: Bench<Rng<Source, Memory>> = bench(device, vec![worker]);
    drive(&mut bench, &mut input, |_, input| {
        source.0.lock().unwrap().push_back(input.byte()?);
        Some(())
    });

    // Whatever has happened, it works after a reset.
    source.0.lock().unwrap().clear();
    start(&mut bench, 0, 16);
    bench.queue(0).add(&[], &[(FREE, 4)]);
    bench.notify(0);
    bench.run();
    if operations.is_none() {
        assert_eq!((bench.queue(0).used(), bench.read(FREE, 4)), (Some((0, 4)), vec![7; 4]));
    }
}

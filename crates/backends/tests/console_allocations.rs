//! Data that goes through a console allocates nothing.

mod counting;

use std::io::{self, Read as _, Write as _};

use strata_backends::console::Stream;
use strata_devices::virtio::console::{Console, Port};
use strata_devices::virtio::testing::{Bench, FREE};

use counting::allocations_of;

#[test]
fn data_allocates_nothing() {
    let ((input, mut keyboard), (mut screen, output)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let device = Console::new(vec![Port::console(Stream::new(Some(input.into()), output.into()))]).unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    bench.start(0);
    let mut read = [0; 3000];
    for round in 0..100 {
        // The guest's side and the test's allocate; what lies between does not, but for the first time.
        bench.queue(0).add(&[], &[(FREE, 10), (FREE + 100, 3000)]);
        bench.queue(1).add(&[(FREE, 1000), (FREE + 5000, 2000)], &[]);
        keyboard.write_all(&[7; 3000]).unwrap();
        bench.notify(0);
        bench.notify(1);
        let allocated = allocations_of(|| {
            bench.run();
        });
        assert!(round < 2 || allocated == 0, "{allocated} allocations in round {round}");
        assert!(bench.queue(0).used().is_some_and(|(_, len)| len == 3000));
        assert!(bench.queue(1).used().is_some());
        screen.read_exact(&mut read).unwrap();
    }
}

use super::super::testing::{Bench, FREE};
use super::*;

fn bench() -> Bench<Rng<io::Repeat, super::super::testing::Memory>> {
    let device = Rng::new(io::repeat(4)).unwrap();
    let worker = device.worker();
    Bench::new(device, vec![worker])
}

#[test]
fn a_request_is_filled() {
    let mut bench = bench();
    bench.start(0);
    bench.queue(0).add(&[], &[(FREE, 3), (FREE + 100, 2)]);
    bench.notify(0);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.queue(0).used(), Some((0, 5)));
    assert_eq!((bench.read(FREE, 4), bench.read(FREE + 100, 3)), (vec![4, 4, 4, 0], vec![4, 4, 0]));
}

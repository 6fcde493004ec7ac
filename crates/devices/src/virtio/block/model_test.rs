//! Whatever happens, a disk is an array of bytes.

#![allow(clippy::cast_possible_truncation, reason = "numbers here are small")]

use proptest::prelude::*;

use super::feature;
use super::support::*;

/// What a driver does in the test against the model.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64, u8),
    Read(u64, u64),
    Zero(u64, u64),
    Fail,
    Release(usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0_u64..66, 1_u64..8);
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|((at, count), byte)| Step::Write(at, count, byte)),
        4 => place().prop_map(|(at, count)| Step::Read(at, count)),
        2 => place().prop_map(|(at, count)| Step::Zero(at, count)),
        1 => Just(Step::Fail),
        3 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A driver that waits for each answer sees a plain array of bytes, whatever happens in between.
    #[test]
    fn is_an_array_of_bytes(steps in prop::collection::vec(step(), 1..40), holds: bool) {
        let (mut bench, control) = bench();
        let mut model = control.data();
        model.truncate(64 * 512);
        control.hold(holds);
        for step in steps {
            let (what, data, at, count) = match step {
                Step::Write(at, count, byte) => {
                    bench.write(DATA, &vec![byte; 512 * count as usize]);
                    ((OUT, at), (DATA, 512 * count as u32), at, count)
                }
                Step::Read(at, count) => ((IN, at), (DATA, 512 * count as u32), at, count),
                Step::Zero(at, count) => {
                    ((WRITE_ZEROES, 0), ranges(&bench, &[(at, count as u32, 1)]), at, count)
                }
                Step::Fail => {
                    control.fail(&[Some(5)]);
                    ((FLUSH, 0), (DATA, 0), 0, 0)
                }
                Step::Release(place) => {
                    control.release(place);
                    continue;
                }
                Step::Reset => {
                    bench.start(feature::FLUSH | feature::WRITE_ZEROES);
                    continue;
                }
            };
            let data = if data.1 == 0 { vec![] } else { vec![data] };
            add(&mut bench, 0, what, &data);
            bench.notify(0);
            bench.run();
            control.release(0);
            bench.run();
            prop_assert!(bench.queue(0).used().is_some());
            let status = bench.read(STATUSES, 1)[0];
            let place = 512 * at as usize..512 * (at + count) as usize;
            match what.0 {
                FLUSH => prop_assert_eq!(status, IOERR),
                _ if at + count > 64 => prop_assert_eq!(status, IOERR),
                IN => {
                    prop_assert_eq!(status, OK);
                    prop_assert_eq!(&bench.read(DATA, place.len())[..], &model[place]);
                }
                OUT => model[place].copy_from_slice(&bench.read(DATA, 512 * count as usize)),
                _ => model[place].fill(0),
            }
        }
        prop_assert_eq!(&control.data()[..64 * 512], &model[..]);
    }
}

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::*;
use crate::{DebugExit, PowerOff, RestoreError, bytewise};

/// A latch that does everything right, unless told otherwise.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Panics when this offset is read.
    PanicsAt(u64),
    /// Answers only the first byte of a read.
    FirstByteOnly,
    /// Resets the machine, even for nothing.
    ResetsAlways,
    /// Saves nothing.
    SavesNothing,
    /// Restores something else.
    RestoresOther,
    /// Refuses every state.
    Refuses,
}

struct Latch(Fault, u8);

impl DeviceMut for Latch {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        assert!(Fault::PanicsAt(offset) != self.0, "this device is to be found out");
        let len = if self.0 == Fault::FirstByteOnly { 1 } else { usize::MAX };
        for byte in data.iter_mut().take(len) {
            *byte = self.1;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        let effect = bytewise::write(offset, data, |_, byte| {
            self.1 = byte;
            Effect::None
        });
        if self.0 == Fault::ResetsAlways { Effect::Reset } else { effect }
    }
}

impl Saveable for Latch {
    type State = u8;

    fn save(&self) -> u8 {
        if self.0 == Fault::SavesNothing { 0 } else { self.1 }
    }

    fn restore(&mut self, state: &u8) -> Result<(), RestoreError> {
        match self.0 {
            Fault::Refuses => {
                return Err(RestoreError::TooLong { device: "latch", what: "bits", len: 8, room: 0 });
            }
            Fault::RestoresOther => self.1 = !state,
            _ => self.1 = *state,
        }
        Ok(())
    }
}

fn both(fault: Fault) -> Result<(), Violation> {
    check("latch", 4, || Mutex::new(Latch(fault, 0)))?;
    check_saveable("latch", 4, || Latch(fault, 0))
}

#[test]
fn good_devices_pass() {
    both(Fault::None).unwrap();
    check("debug-exit", DebugExit::LEN, || DebugExit).unwrap();
    check("power-off", PowerOff::LEN, || PowerOff).unwrap();
}

#[test]
fn a_panic_is_found_wherever_it_hides() {
    for offset in [0, 3, 4, 9, u64::from(u32::MAX), u64::MAX] {
        let found = both(Fault::PanicsAt(offset)).unwrap_err();
        assert!(matches!(&found, Violation::Panics { access, .. } if access.offset == offset), "{found}");
    }
}

#[test]
fn other_faults_have_their_names() {
    let found = both(Fault::FirstByteOnly).unwrap_err();
    assert!(matches!(&found, Violation::Unfilled { byte: 1, access, .. } if access.width == 2), "{found}");
    assert_eq!(
        found.to_string(),
        "device latch leaves byte 1 unfilled in a read of 2 bytes at offset 0x0: \
        fill it, with 0xff if nothing answers for it"
    );
    let found = both(Fault::ResetsAlways).unwrap_err();
    assert!(matches!(&found, Violation::EffectOfNothing { effect: Effect::Reset, .. }), "{found}");
    let found = both(Fault::SavesNothing).unwrap_err();
    assert!(matches!(&found, Violation::ForgetsState { .. }), "{found}");
    let found = both(Fault::RestoresOther).unwrap_err();
    assert!(matches!(&found, Violation::StateChanges { .. }), "{found}");
    let found = both(Fault::Refuses).unwrap_err();
    assert!(matches!(&found, Violation::RefusesOwnState { .. }), "{found}");
}

#[test]
fn a_device_that_depends_on_more_than_the_guest_is_told_so() {
    let made = AtomicU8::new(0);
    let found = check("clock", 1, || Mutex::new(Latch(Fault::None, made.fetch_add(1, Relaxed)))).unwrap_err();
    let answers = |one: &Answer, other: &Answer| (one.clone(), other.clone());
    assert!(
        matches!(&found, Violation::Unrepeatable { one, other, .. }
            if answers(one, other) == (Answer::Data(vec![0]), Answer::Data(vec![1]))),
        "{found}"
    );
}

#[test]
fn every_access_that_a_guest_could_make_is_made() {
    let all: Vec<_> = accesses::thorough(3).collect();
    for offset in [0, 1, 2, 3, 4, u64::MAX] {
        for width in 0..=9 {
            for write in [false, true] {
                let made = |access: &Access| {
                    (access.offset, access.width, access.value.is_some()) == (offset, width, write)
                };
                assert!(all.iter().any(made), "{offset} {width} {write}");
            }
        }
    }
    for offset in 0..3 {
        assert!((0..=255).all(|byte| all.contains(&Access { offset, width: 1, value: Some(byte) })));
    }
    let large: Vec<_> = accesses::thorough(1 << 20).map(|access| access.offset).collect();
    assert!([0, 63, 64, 1 << 19, (1 << 20) - 64, (1 << 20) - 1, 1 << 20].iter().all(|it| large.contains(it)));
    assert!(accesses::thorough(u64::MAX).count() > 0 && accesses::thorough(0).count() > 0);
}

#[test]
fn random_accesses_are_the_same_in_every_run_and_everywhere() {
    let run = |seed| accesses::random(8, seed).take(5000).collect::<Vec<_>>();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let times = |offset| run(1).iter().filter(|access| access.offset == offset).count();
    for offset in 0..8 {
        assert!(times(offset) > 400, "mostly within the range: {offset}, {} times", times(offset));
    }
    assert!(times(8) > 0 && times(u64::MAX) > 0);
}

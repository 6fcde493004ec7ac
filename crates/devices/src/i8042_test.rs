use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::conformance;
use crate::testing::inb;

/// Gives a command, then its parameter if it has one.
fn send(device: &mut I8042, command: u8, parameter: Option<u8>) -> Effect {
    let effect = device.write(COMMAND, &[command]);
    match parameter {
        Some(byte) => device.write(DATA, &[byte]),
        None => effect,
    }
}

/// Waits for an answer, as a driver does, but not for long.
fn answer(device: &mut I8042) -> Option<u8> {
    (inb(device, COMMAND) & status::OUTPUT_FULL != 0).then(|| inb(device, DATA))
}

#[test]
fn it_starts_as_firmware_leaves_it() {
    // Unlocked, self-test passed, nothing in either buffer.
    assert_eq!(inb(&mut I8042::new(), COMMAND), 0x14);
}

/// The questions of Linux' `drivers/input/serio/i8042.c`, in its order. Each that goes unanswered costs it
/// half a second.
#[test]
fn linux_probe_gets_every_answer_at_once() {
    let device = &mut I8042::new();
    assert_eq!(answer(device), None, "the flush finds nothing");
    let _ = send(device, 0xaa, None);
    assert_eq!(answer(device), Some(0x55), "self-test");
    let _ = send(device, 0x20, None);
    let config = answer(device).unwrap();
    assert_eq!(inb(device, COMMAND) & 0x10, 0x10, "not locked");
    let _ = send(device, 0x60, Some(config | 0x10));
    let _ = send(device, 0x20, None);
    assert_eq!(answer(device), Some(config | 0x10), "configuration byte");

    let _ = send(device, 0xd3, Some(0x5a));
    assert_eq!(inb(device, COMMAND) & 0x21, 0x01, "an answer, but not from a mouse port");
    assert_eq!(answer(device), Some(0x5a));
    let _ = send(device, 0xa9, None);
    assert!(!matches!(answer(device), None | Some(0 | 0xfa | 0xff)), "the mouse port is broken");

    let _ = send(device, 0xab, None);
    assert_eq!(answer(device), Some(0x00), "keyboard port");
    let _ = send(device, 0xae, None);
    let _ = device.write(DATA, &[0xf2]);
    assert_eq!(answer(device), None, "no keyboard answers \"identify\"");
}

#[test]
fn the_mouse_port_cannot_be_switched_on() {
    let device = &mut I8042::new();
    let _ = send(device, 0xa8, None);
    let _ = send(device, 0x60, Some(0x00));
    let _ = send(device, 0x20, None);
    assert_eq!(answer(device), Some(0x20));
}

#[test]
fn the_keyboard_port_can_be_switched_off_and_on() {
    let device = &mut I8042::new();
    for (command, off) in [(0xad, 0x10), (0xae, 0x00)] {
        let _ = send(device, command, None);
        let _ = send(device, 0x20, None);
        assert_eq!(answer(device).unwrap() & 0x10, off);
    }
}

#[test]
fn the_ports_of_the_chip_can_be_read() {
    let device = &mut I8042::new();
    let _ = send(device, 0xc0, None);
    assert_eq!(answer(device), Some(0x80));
    let _ = send(device, 0xd0, None);
    assert_eq!(answer(device), Some(0x03), "running, A20 open");
    let _ = send(device, 0xd2, Some(0x1c));
    let _ = send(device, 0xd0, None);
    assert_eq!(answer(device), Some(0x13), "and a byte for the CPU was waiting");
}

#[test]
fn the_reset_line_resets_however_it_is_driven() {
    for command in 0..=0xff {
        let expected = if command >= 0xf0 && command & 1 == 0 { Effect::Reset } else { Effect::None };
        assert_eq!(I8042::new().write(COMMAND, &[command]), expected, "{command:#x}");
    }
    assert_eq!(send(&mut I8042::new(), 0xd1, Some(0xfe)), Effect::Reset);
    assert_eq!(send(&mut I8042::new(), 0xd1, Some(0xdf)), Effect::None, "only A20 is touched");
    assert_eq!(I8042::new().write(DATA, &[0xfe]), Effect::None, "a keyboard's \"resend\"");
    assert_eq!(
        I8042::new().write(0, &[0, 0, 0, 0, 0xfe]),
        Effect::Reset,
        "of a wide write, the byte that is there"
    );
}

#[test]
fn a_new_command_drops_the_parameter_that_the_last_one_waited_for() {
    let device = &mut I8042::new();
    let _ = send(device, 0xd1, None);
    assert_eq!(send(device, 0xae, Some(0xfe)), Effect::None, "no write to the output port");
    let _ = send(device, 0xd1, None);
    let _ = send(device, 0x60, Some(0xfe));
    let _ = send(device, 0x20, None);
    assert_eq!(answer(device), Some(0xfe));
}

#[test]
fn a_byte_stays_readable_but_not_new() {
    let device = &mut I8042::new();
    let _ = send(device, 0xaa, None);
    assert_eq!((inb(device, DATA), inb(device, DATA)), (0x55, 0x55));
    assert_eq!(answer(device), None);
}

#[test]
fn a_restored_mouse_port_stays_off() {
    let state = I8042V1 { config: 0, ..I8042::new().save() };
    let mut device = I8042::new();
    device.restore(&state).unwrap();
    assert_eq!(device.save().config, 0x20);
}

#[test]
fn it_conforms() {
    conformance::check("i8042", I8042::LEN, || Mutex::new(I8042::new())).unwrap();
    conformance::check_saveable("i8042", I8042::LEN, I8042::new).unwrap();
}

proptest! {
    #![proptest_config(crate::testing::config())]

    /// Whatever came before, the controller is ready for a command, is not locked, shows no mouse and no
    /// error, and a reset is asked for only by what resets.
    #[test]
    fn it_is_always_ready(accesses in prop::collection::vec((0u64..6, any::<Option<u8>>()), 0..60)) {
        let device = &mut I8042::new();
        let mut output_port_next = false;
        for (offset, value) in accesses {
            if let Some(byte) = value {
                let resets = match offset {
                    COMMAND => byte >= 0xf0 && byte & 1 == 0,
                    DATA => output_port_next && byte & 1 == 0,
                    _ => false,
                };
                let expected = if resets { Effect::Reset } else { Effect::None };
                prop_assert_eq!(device.write(offset, &[byte]), expected);
                if offset == COMMAND || offset == DATA {
                    output_port_next = offset == COMMAND && byte == 0xd1;
                }
            } else {
                let byte = inb(device, offset);
                prop_assert!(offset == DATA || offset == COMMAND || byte == 0xff);
            }
            prop_assert_eq!(inb(device, COMMAND) & 0b1111_0010 & !0x10, 0);
            prop_assert_eq!(inb(device, COMMAND) & 0x10, 0x10);
        }
        let _ = send(device, 0xaa, None);
        prop_assert_eq!(answer(device), Some(0x55));
    }
}

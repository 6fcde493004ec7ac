use strata_vmm::vcpu::ExitRecord;

use super::super::event::Cpu;
use super::super::sample::{event, events, guest, rendered};
use super::*;

#[test]
fn a_trace_reads_like_this() {
    let expected = [
        "   seconds cpu guest host us  at                        instruction           exit                          registers changed",
        "  0.000010 0    10.0     2.5  start                     out dx,al             out 0x3f8 <- 'H' com1.thr     rax=0x48 rdx=0x3f8",
        "  0.000022 0    10.0     2.5  start+0x1                 in al,0x60            in 0x60 -> 0x1c i8042.data    rax=0x1c",
        "  0.000035 0    10.0     2.5  start+0x3                 mov [done+0x6ff9],eax  mmio write 0x8000/4 <- 0x1c (nobody)",
        "  0.000047 0    10.0     2.5  done                      mov al,[done+0x6ff9]   mmio read 0x8000/1 -> 0xff (nobody)",
        "  0.000060 0    10.0     2.5  done+0x3                  hlt                    hlt",
        "",
    ];
    let seen = rendered(Text::new(false), &events(), 0);
    // `System.map` does not say where `done` ends.
    assert_eq!(seen, expected.join("\n"));
}

#[test]
fn what_was_lost_is_said_last() {
    let said = rendered(Text::new(false), &[], 3);
    assert_eq!(said.lines().count(), 2);
    assert!(said.ends_with(
        "3 exits dropped: the output could not keep up; a filter or a file on a fast disk helps\n"
    ));
}

#[test]
fn colours_do_not_move_columns() {
    let plain = rendered(Text::new(false), &events(), 1);
    let coloured = rendered(Text::new(true), &events(), 1);
    assert_ne!(plain, coloured);
    let mut stripped = String::new();
    for (n, part) in coloured.split("\x1b[").enumerate() {
        stripped.push_str(if n == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(stripped, plain);
}

/// The line of one exit, from the exit on.
fn line(record: &ExitRecord) -> String {
    let mut event = event(0, record);
    event.cpu = None;
    let text = rendered(Text::new(false), &[event], 0);
    text.lines().nth(1).unwrap().split_at(column::WHAT).1.to_owned()
}

#[test]
fn what_was_moved_is_shown_as_what_it_is() {
    let out = |port, width, data: &[u8]| ExitRecord::PioWrite { port, width, data: data.to_vec() };
    assert_eq!(line(&out(0x3f9, 1, b"A")), "out 0x3f9 <- 0x41 com1.ier");
    assert_eq!(line(&out(0x3f8, 1, b"\n")), "out 0x3f8 <- '\\n' com1.thr");
    assert_eq!(line(&out(0x3f8, 1, b"\x01")), "out 0x3f8 <- 0x1 com1.thr");
    assert_eq!(line(&out(0x3f8, 1, b"Hello\n")), "out 0x3f8 x6 <- \"Hello\\n\" com1.thr");
    assert_eq!(
        line(&out(0xcf8, 4, &[0, 0, 0, 0x80])),
        "out 0xcf8/4 <- 0x80000000 pci.config_address (nobody)"
    );
    assert_eq!(line(&out(0x1f0, 2, &[1, 0, 2, 0])), "out 0x1f0/2 x2 <- 0x1 0x2 (nobody)");
    assert_eq!(
        line(&out(0x80, 1, &[b'a'; 40])),
        format!("out 0x80 x40 <- \"{}\".. post.code (nobody)", "a".repeat(32))
    );
    let magic = ExitRecord::MmioRead { addr: 0xd000_0000, data: b"virt".to_vec() };
    assert_eq!(line(&magic), "mmio read 0xd0000000/4 -> 0x74726976 disk.magic");
    assert_eq!(line(&ExitRecord::Shutdown), "shutdown (triple fault)");
    assert_eq!(line(&ExitRecord::InternalError { suberror: 1, data: vec![] }), "internal error 1");
}

#[test]
fn times_fit_their_columns() {
    assert_eq!(
        [0, 99, 1_250, 99_999_999, 100_000_000, 7_654_321_000].map(micros),
        ["0.0", "0.0", "1.2", "99999.9", "100000", "7654321"]
    );
    assert_eq!(seconds(12_345_678_901), "12.345678");
}

#[test]
fn columns_make_room_and_keep_it_up_to_a_limit() {
    let mut events = events();
    for (event, rbx) in events.iter_mut().zip(1..) {
        event.cpu.as_mut().unwrap().state.regs.rbx = rbx;
    }
    let text = rendered(Text::new(false), &events, 0);
    let starts: Vec<_> = text.lines().filter_map(|line| line.find("rbx=")).collect();
    assert_eq!(
        starts[..2],
        [column::CHANGED + "rax=0x48 ".len(), column::CHANGED + "rax=0x1c ".len()],
        "{text}"
    );
    assert!(starts[2] > column::CHANGED && starts[3..] == [starts[2]; 2], "{text}");
    let mut stop = Stop { begin: 10, most: 20 };
    assert_eq!([4, 12, 4, 18, 19, 4].map(|width| stop.behind(width)), [10, 14, 14, 20, 21, 20]);
}

#[test]
fn a_shutdown_has_the_instruction_that_it_died_of_unless_the_processor_has_forgotten() {
    let mut died = event(0, &ExitRecord::Shutdown);
    let text = rendered(Text::new(false), &[died.clone()], 0);
    assert!(text.contains("  out dx,al  ") && text.contains("  shutdown (triple fault)"), "{text}");
    let (memory, reset) = (guest().memory, strata_cpu::X86State::real_at(0xf000, 0xfff0));
    let mut cpu = Cpu::of(&memory, &reset);
    cpu.state.cs.base = 0xffff_0000;
    died.cpu = Some(cpu);
    let text = rendered(Text::new(false), &[died], 0);
    assert!(text.contains("  0xfffffff0  "), "{text}");
}

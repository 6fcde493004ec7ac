use super::*;

#[test]
fn one_exit_is_one_line() {
    let mut twelve = *b"hello, world";
    let cases = [
        (Exit::PioWrite { port: 0x3f8, width: 1, data: b"5" }, "out 0x3f8/1 <- 35"),
        (Exit::PioWrite { port: 0x80, width: 2, data: &[1, 2, 3, 4] }, "out 0x80/2 x2 <- 01 02 03 04"),
        (
            Exit::PioRead { port: 0x60, width: 1, data: &mut twelve },
            "in 0x60/1 x12 -> 68 65 6c 6c 6f 2c 20 77 6f 72 6c 64",
        ),
        (Exit::MmioRead { addr: 0x8000, data: &mut [0xaa] }, "mmio read 0x8000/1 -> aa"),
        (Exit::MmioWrite { addr: 0xd000_0000, data: &[0x12, 0x34] }, "mmio write 0xd0000000/2 <- 12 34"),
        (Exit::Debug(DebugEvent { rip: 0x1005, exception: 1, dr6: 0, dr7: 0 }), "debug 0x1005"),
        (Exit::Halt, "hlt"),
        (Exit::Shutdown, "shutdown"),
        (Exit::Unknown { reason: 99 }, "unknown exit 99"),
    ];
    for (exit, line) in cases {
        assert_eq!(exit.to_string(), line);
    }
}

use std::error::Error;

use vm_memory::GuestAddress;

use super::*;

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

#[test]
fn messages_name_the_thing_and_the_remedy() {
    let piece = |start, len| Piece { start: GuestAddress(start), len, read_only: false };
    let cases = [
        (
            RamError::TooLarge { requested: 3 << 30, host: 512 << 20 },
            "3 GiB of RAM is more than the host's 512 MiB",
        ),
        (
            RamError::Overlap { a: piece(0, 0x2000), b: piece(0x1000, 0x1000) },
            "the RAM pieces 0x0-0x1fff and 0x1000-0x1fff overlap",
        ),
        (
            RamError::Misaligned { start: 0x800, len: 4096, required: 4096 },
            "RAM of 4 KiB at 0x800 is misaligned: both have to be multiples of 4 KiB",
        ),
        (
            RamError::HugePagesUnavailable {
                size: HugePageSize::M2,
                needs: 8,
                free: Some(3),
                source: refused(),
            },
            "write 8 or more to /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
        ),
        (
            RamError::HugePagesUnavailable {
                size: HugePageSize::G1,
                needs: 1,
                free: None,
                source: refused(),
            },
            "1 huge pages of 1 GiB are needed, there are none on this host",
        ),
        (RamError::FileTooSmall { has: 1, needs: 4096 }, "truncate -s 4096"),
    ];
    for (error, expected) in cases {
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_source_is_told_once_not_twice() {
    let error = RamError::Memfd { source: refused() };
    let source = error.source().unwrap().to_string();
    assert!(!error.to_string().contains(&source), "{error}");
}

#[test]
fn sizes_are_told_in_the_largest_unit_that_divides_them() {
    let told = [0, 1, 1023, 1024, 1025, 3 << 20, 1 << 40].map(|bytes| Bytes(bytes).to_string());
    assert_eq!(told, ["0 bytes", "1 bytes", "1023 bytes", "1 KiB", "1025 bytes", "3 MiB", "1024 GiB"]);
}

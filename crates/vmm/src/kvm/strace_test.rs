use super::*;

fn record(name: &'static str, arguments: &str, result: Result<i64, i32>) -> CallRecord {
    CallRecord { name, arguments: arguments.to_owned(), result }
}

fn mapping(len: u64, flags: i32, fd: i32) -> String {
    mmap(&Mapping { asked_addr: 0, len, prot: 3, flags, fd, offset: 0, result: 0 })
}

#[test]
fn lines_are_those_of_strace() {
    // Each expectation was printed by strace 6.1.
    let cases = [
        (
            record("KVM_GET_API_VERSION", "3, KVM_GET_API_VERSION, 0", Ok(12)),
            "ioctl(3, KVM_GET_API_VERSION, 0)        = 12",
        ),
        (
            record("KVM_RUN", "5, KVM_RUN, 0", Err(libc::EINTR)),
            "ioctl(5, KVM_RUN, 0)                    = -1 EINTR (Interrupted system call)",
        ),
        (
            record("mmap", &mapping(12288, libc::MAP_SHARED, 5), Ok(0x7f14_763c_c000)),
            "mmap(NULL, 12288, PROT_READ|PROT_WRITE, MAP_SHARED, 5, 0) = 0x7f14763cc000",
        ),
        (
            record("mmap", &mapping(262_144, 0x4022, -1), Ok(0x7f14_7618_4000)),
            "mmap(NULL, 262144, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0) = 0x7f1476184000",
        ),
    ];
    for (record, expected) in cases {
        assert_eq!(line(&record), expected);
    }
}

#[test]
fn structures_are_shortened_as_strace_does() {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: KVM_MEM_LOG_DIRTY_PAGES,
        guest_phys_addr: 0,
        memory_size: 262_144,
        userspace_addr: 0x7f14_7618_4000,
    };
    assert_eq!(
        memory_region(&region),
        "{slot=0, flags=KVM_MEM_LOG_DIRTY_PAGES, guest_phys_addr=0, memory_size=262144, userspace_addr=0x7f1476184000}"
    );
    let initial = kvm_regs { rip: 0xfff0, rflags: 2, ..Default::default() };
    assert_eq!(regs(Some(&initial)), "{rax=0, ..., rsp=0, rbp=0, ..., rip=0xfff0, rflags=0x2}");
    assert_eq!(flag_names(0, &[], "PROT_NONE"), "PROT_NONE");
    assert_eq!(flag_names(5, &[(1, "A")], "0"), "A|0x4");
}

use strata_cpu::{Access, Mapping, PageSize, PageTables, RFlags, X86State};
use vm_memory::GuestMemoryMmap;

use super::*;

const CODE: u64 = 0x7000;
/// Where a device is: no RAM there, and in long mode this is mapped to [`DEVICE_PHYS`].
const DEVICE: u64 = 0x20_0000;
const DEVICE_PHYS: u64 = 0xd000_0000;

struct Guest {
    memory: GuestMemoryMmap<()>,
    state: X86State,
}

impl Guest {
    fn new(state: &X86State, code: &[u8]) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        memory.write_slice(code, GuestAddress(CODE)).unwrap();
        Self { memory, state: *state }
    }

    fn real(code: &[u8]) -> Self {
        Self::new(&X86State::real_at(0x700, 0), code)
    }

    fn protected(code: &[u8]) -> Self {
        Self::new(&X86State::protected(0x7000, 0), code)
    }

    /// The first 64 KiB and a device's two pages; `DEVICE` lies in the middle of them.
    fn long(code: &[u8]) -> Self {
        let mut tables = PageTables::new(0x1_0000);
        let (page, access) = (PageSize::Size4K, Access::RWX);
        tables.map(Mapping { virt: 0, phys: 0, len: 0x1_0000, page, access }).unwrap();
        let device = Mapping {
            virt: DEVICE - 0x1000,
            phys: DEVICE_PHYS - 0x1000,
            len: 0x2000,
            page,
            access: Access::RW,
        };
        tables.map(device).unwrap();
        let tables = tables.build();
        let guest = Self::new(&X86State::long(CODE, tables.cr3(), 0x500), code);
        tables.write_to(&guest.memory).unwrap();
        guest
    }

    fn view(&self) -> View<'_, GuestMemoryMmap<()>> {
        View::new(&self.memory, &self.state)
    }

    /// The instruction that caused an exit after which RIP was `offset` bytes into the code.
    fn of_exit(&mut self, offset: u64, exit: &Exit<'_>) -> String {
        self.state.regs.rip = self.state.regs.rip & !0xfff | offset;
        let found = of_exit(&self.view(), exit, None);
        found.map(|found| format!("{:x} {found}", found.address - CODE)).unwrap_or_default()
    }
}

fn out(port: u16, width: u8) -> Exit<'static> {
    Exit::PioWrite { port, width, data: &[0; 4] }
}

#[test]
fn bytes_are_decoded_for_the_mode() {
    let table: [(&[u8], &str, &str, &str); 6] = [
        (b"\x48\x89\x07", "dec ax", "dec eax", "mov [rdi],rax"),
        (b"\xb8\x34\x12\x00\x00", "mov ax,0x1234", "mov eax,0x1234", "mov eax,0x1234"),
        (b"\xeb\xfe", "jmp 0x0", "jmp 0x7000", "jmp 0x7000"),
        (b"\xf3\x6e", "rep outsb", "rep outsb", "rep outsb"),
        (b"\x0f\x0b", "ud2", "ud2", "ud2"),
        (b"\x0f\xff\xff", "ud0 di,di", "ud0 edi,edi", "ud0 edi,edi"),
    ];
    for (code, real, protected, long) in table {
        for (guest, expected) in
            [(Guest::real(code), real), (Guest::protected(code), protected), (Guest::long(code), long)]
        {
            let found = at(&guest.view(), CODE, None).unwrap();
            assert_eq!(found.to_string(), expected);
            assert_eq!(found.address, CODE);
            assert!(code.starts_with(&found.bytes));
        }
    }
    let bad = at(&Guest::long(b"\x06\x90").view(), CODE, None).unwrap();
    assert_eq!((bad.text.as_str(), bad.bytes[0]), ("(bad)", 6));
}

#[test]
fn an_instruction_ends_with_mapped_memory_or_is_none() {
    let guest = Guest::long(&[]);
    let end = |bytes: &[u8]| {
        let start = 0x1_0000 - bytes.len() as u64;
        guest.memory.write_slice(bytes, GuestAddress(start)).unwrap();
        at(&guest.view(), start, None).map(|found| found.text)
    };
    assert_eq!(end(b"\xf4").as_deref(), Some("hlt"));
    assert_eq!(end(b"\x48\x89\x07").as_deref(), Some("mov [rdi],rax"));
    assert_eq!(end(b"\x48\x89"), None);
    assert_eq!(at(&guest.view(), 0x1_0000, None), None);
    assert_eq!(at(&guest.view(), u64::MAX, None), None);
}

#[test]
fn operands_are_symbols_where_there_are_some() {
    let symbols = Symbols::read(b"7000 T start\n7100 D table\n7200 D end\n").unwrap();
    let table: [(Guest, &str); 7] = [
        (Guest::long(b"\xe8\xfb\x00\x00\x00"), "call table"),
        (Guest::long(b"\xeb\x10"), "jmp start+0x12"),
        (Guest::long(b"\x48\x8b\x05\x01\x01\x00\x00"), "mov rax,[rel table+0x8]"),
        (Guest::long(b"\x8b\x87\x08\x71\x00\x00"), "mov eax,[rdi+0x7108]"),
        (Guest::long(b"\xb8\x08\x71\x00\x00"), "mov eax,0x7108"),
        (Guest::protected(b"\xa1\x08\x71\x00\x00"), "mov eax,[table+0x8]"),
        // Offset 0x12 in a segment that begins at 0x7000.
        (Guest::real(b"\xeb\x10"), "jmp start+0x12"),
    ];
    for (guest, expected) in table {
        assert_eq!(at(&guest.view(), CODE, Some(&symbols)).unwrap().text, expected);
    }
}

#[test]
fn a_port_exit_is_found_at_rip_or_before_it() {
    // mov al,0x48; out dx,al; out 0xf4,al; in ax,dx; out dx,ax; rep insd; rep outsb; hlt
    let code = b"\xb0\x48\xee\xe6\xf4\x66\xed\x66\xef\xf3\x6d\xf3\x6e\xf4";
    // To 16-bit code the prefix says the opposite: in eax,dx; out dx,eax; rep insw.
    for (mut guest, word) in [(Guest::real(code), 4), (Guest::protected(code), 2), (Guest::long(code), 2)] {
        guest.state.regs.rdx = 0xffff_03f8;
        let (inw, outw) = if word == 2 { ("in ax,dx", "out dx,ax") } else { ("in eax,dx", "out dx,eax") };
        let (rep, rep_width) = if word == 2 { ("rep insd", 4) } else { ("rep insw", 2) };
        assert_eq!(guest.of_exit(2, &out(0x3f8, 1)), "2 out dx,al");
        assert_eq!(guest.of_exit(3, &out(0x3f8, 1)), "2 out dx,al");
        assert_eq!(guest.of_exit(3, &out(0xf4, 1)), "3 out 0xf4,al");
        assert_eq!(guest.of_exit(5, &out(0xf4, 1)), "3 out 0xf4,al");
        for rip in [5, 7] {
            let mut data = [0; 4];
            let exit = Exit::PioRead { port: 0x3f8, width: word, data: &mut data };
            assert_eq!(guest.of_exit(rip, &exit), format!("5 {inw}"));
        }
        for rip in [7, 9] {
            assert_eq!(guest.of_exit(rip, &out(0x3f8, word)), format!("7 {outw}"));
        }
        for rip in [9, 11] {
            let mut data = [0; 12];
            let exit = Exit::PioRead { port: 0x3f8, width: rep_width, data: &mut data };
            assert_eq!(guest.of_exit(rip, &exit), format!("9 {rep}"));
        }
        for rip in [11, 13] {
            assert_eq!(guest.of_exit(rip, &out(0x3f8, 1)), "b rep outsb");
        }
        // Another port, another width, another direction.
        assert_eq!(guest.of_exit(2, &out(0x3f9, 1)), "");
        assert_eq!(guest.of_exit(2, &out(0x3f8, 8)), "");
        let mut data = [0; 1];
        assert_eq!(guest.of_exit(2, &Exit::PioRead { port: 0x3f8, width: 1, data: &mut data }), "");
        assert_eq!(guest.of_exit(14, &Exit::Halt), "d hlt");
        assert_eq!(guest.of_exit(13, &Exit::Halt), "d hlt");
        assert_eq!(guest.of_exit(9, &Exit::Halt), "");
        assert_eq!(guest.of_exit(13, &Exit::Shutdown), "d hlt");
    }
}

#[test]
fn a_memory_exit_is_found_by_the_address_of_an_operand() {
    // mov [rdi],eax; mov [rdi+4],al; mov ax,[rdi]; add [rdi],rax; stosd; rep movsb; push rax; movups [rdi],xmm0
    let code = b"\x89\x07\x88\x47\x04\x66\x8b\x07\x48\x01\x07\xab\xf3\xa4\x50\x0f\x11\x07";
    let mut guest = Guest::long(code);
    guest.state.regs.rdi = DEVICE;
    guest.state.regs.rsi = 0x1000;
    let write = |offset: u64, data: &'static [u8]| Exit::MmioWrite { addr: DEVICE_PHYS + offset, data };
    let mut data = [0; 8];
    assert_eq!(guest.of_exit(2, &write(0, &[0; 4])), "0 mov [rdi],eax");
    assert_eq!(guest.of_exit(2, &write(4, &[0; 4])), "");
    assert_eq!(guest.of_exit(5, &write(4, &[0; 1])), "2 mov [rdi+0x4],al");
    let read = Exit::MmioRead { addr: DEVICE_PHYS, data: &mut data[..2] };
    assert_eq!(guest.of_exit(5, &read), "5 mov ax,[rdi]");
    let read = Exit::MmioRead { addr: DEVICE_PHYS, data: &mut data };
    assert_eq!(guest.of_exit(8, &read), "8 add [rdi],rax");
    assert_eq!(guest.of_exit(11, &write(0, &[0; 8])), "8 add [rdi],rax");
    assert_eq!(guest.of_exit(18, &write(0, &[0; 8])), "f movups [rdi],xmm0");
    assert_eq!(guest.of_exit(18, &write(8, &[0; 8])), "f movups [rdi],xmm0");

    // The pointers have moved on.
    guest.state.regs.rdi = DEVICE + 4;
    assert_eq!(guest.of_exit(12, &write(0, &[0; 4])), "b stosd");
    guest.state.regs.rdi = DEVICE - 4;
    guest.state.regs.rflags |= RFlags::DF;
    assert_eq!(guest.of_exit(12, &write(0, &[0; 4])), "b stosd");
    guest.state.regs.rdi = DEVICE - 1;
    // In the middle, at the end.
    for rip in [12, 14] {
        assert_eq!(guest.of_exit(rip, &write(0, &[0; 1])), "c rep movsb");
    }
    guest.state.regs.rsp = DEVICE;
    assert_eq!(guest.of_exit(15, &write(0, &[0; 8])), "e push rax");
}

#[test]
fn an_operand_on_two_pages_makes_two_exits() {
    let mut guest = Guest::long(b"\x89\x07");
    guest.state.regs.rdi = DEVICE - 2;
    for addr in [DEVICE_PHYS - 2, DEVICE_PHYS] {
        assert_eq!(guest.of_exit(2, &Exit::MmioWrite { addr, data: &[0; 2] }), "0 mov [rdi],eax");
    }
    assert_eq!(guest.of_exit(2, &Exit::MmioWrite { addr: DEVICE_PHYS, data: &[0; 4] }), "");
}

#[test]
fn segments_count_in_memory_exits() {
    let mut real = Guest::real(b"\x26\x88\x05");
    real.state.es.base = 0xf_fff0;
    real.state.regs.rdi = 0x10;
    assert_eq!(real.of_exit(3, &Exit::MmioWrite { addr: 0x10_0000, data: &[0] }), "0 mov [es:di],al");
    let mut protected = Guest::protected(b"\xa3\x00\x00\x00\xd0");
    let write = Exit::MmioWrite { addr: 0xd000_0000, data: &[0; 4] };
    assert_eq!(protected.of_exit(5, &write), "0 mov [0xd0000000],eax");
    let mut long = Guest::long(b"\x65\x89\x07");
    long.state.gs.base = DEVICE;
    assert_eq!(long.of_exit(3, &Exit::MmioWrite { addr: DEVICE_PHYS, data: &[0; 4] }), "0 mov [gs:rdi],eax");
}

#[test]
fn what_kvm_cannot_emulate_is_at_rip() {
    let mut guest = Guest::long(b"\x90\x0f\xae\x07");
    let exit = Exit::InternalError { suberror: 1, data: &[] };
    assert_eq!(guest.of_exit(1, &exit), "1 fxsave [rdi]");
}

/// At the ends of the address space nothing is before or behind.
#[test]
fn wild_instruction_pointers_are_survived() {
    for mut guest in [Guest::real(&[]), Guest::protected(&[]), Guest::long(&[])] {
        for rip in [0, 1, 14, 0xffff, 0xffff_ffff, 1 << 47, 1 << 63, u64::MAX] {
            guest.state.regs.rip = rip;
            guest.state.regs.rdi = rip;
            let mut data = [0; 8];
            let _ = of_exit(&guest.view(), &Exit::MmioRead { addr: rip, data: &mut data }, None);
            let _ = of_exit(&guest.view(), &Exit::MmioWrite { addr: rip, data: &data }, None);
            let _ = (of_exit(&guest.view(), &Exit::Halt, None), of_exit(&guest.view(), &out(0, 1), None));
        }
    }
}

use strata_cpu::{
    Access, Cr0, Cr4, Efer, Gate, Gdt, Mapping, PageEntry, PageSize, RFlags, Segment, SegmentKind, Tss64,
};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::testing::{CODE, IDT, Lab, RAM, STACK};

type Set = fn(&mut Lab);

/// What a fault says, `runs`, or why it is not known.
fn said(lab: &Lab) -> String {
    match next(&lab.view()) {
        Next::Runs => "runs".into(),
        Next::Raises(fault) => fault.to_string(),
        Next::Perhaps(fault) => format!("perhaps {fault}"),
        Next::NoCode { linear, phys } => format!("no code at {linear:#x}, physical {phys:#x}"),
        Next::Unknown(why) => format!("unknown: {why}"),
    }
}

fn table(new: fn() -> Lab, rows: &[(&[u8], Set, &str)]) {
    for (bytes, set, wanted) in rows {
        let mut lab = new();
        set(&mut lab);
        lab.code(bytes);
        let said = said(&lab);
        assert_eq!(said, *wanted, "{bytes:02x?}");
    }
}

fn nothing(_: &mut Lab) {}

fn page(virt: u64, access: Access) -> Mapping {
    Mapping { virt, phys: 0x9000, len: 0x1000, page: PageSize::Size4K, access }
}

const HIGH: u64 = 0xffff_8000_0000_0000;

#[test]
fn fetching() {
    let at = |rip: u64| {
        let mut lab = Lab::long();
        lab.map(&[page(HIGH, Access::RW)]);
        lab.state.regs.rip = rip;
        said(&lab)
    };
    assert_eq!(at(0), "#PF fetching 0x0: the PTE at 0x13000 is not present (P=0)");
    assert!(at(HIGH).starts_with("#PF fetching 0xffff800000000000: the PTE at 0x"), "{}", at(HIGH));
    assert!(at(HIGH).ends_with("forbids execution (NX=1)"), "{}", at(HIGH));
    assert_eq!(at(1 << 63), "#GP fetching 0x8000000000000000: 0x8000000000000000 is not canonical");
    assert_eq!(at(0x4000_0000), "no code at 0x40000000, physical 0x40000000");
    // The instruction begins on a page and would end on one that is not there.
    let mut lab = Lab::long();
    lab.state.regs.rip = RAM - 1;
    lab.code(&[0x90]);
    assert_eq!(said(&lab), "runs");
    lab.code(&[0x48]);
    assert_eq!(said(&lab), "#PF fetching 0x200000: the PDE at 0x12008 is not present (P=0)");
    lab.state.cr3 = 0xdead_b000;
    assert_eq!(
        said(&lab),
        "#PF fetching 0x1fffff: there is no RAM at 0xdeadb000, where a page table should be"
    );
    let mut lab = Lab::protected();
    lab.state.cs.limit = 0xfff;
    assert_eq!(said(&lab), "#GP: offset 0x100000 is beyond the limit 0xfff of CS");
    let mut lab = Lab::real();
    lab.state.regs.rip = 0xffff;
    lab.code(&[0xb8, 0, 0]);
    assert_eq!(said(&lab), "#GP: offset 0x10000 is beyond the limit 0xffff of CS");
}

#[test]
fn instructions_that_are_none_or_off() {
    let ts: Set = |lab| {
        lab.vectors();
        lab.state.cr0 |= Cr0::TS | Cr0::MP;
    };
    let em: Set = |lab| {
        lab.vectors();
        lab.state.cr0 |= Cr0::EM;
    };
    table(
        Lab::long,
        &[
            (&[0x0f, 0x0b], nothing, "#UD: the instruction is ud2, which raises #UD by design"),
            (&[0x06, 0x90, 0x90, 0x90], nothing, "#UD: 06 90 90 90 .. is no instruction in this mode"),
            (&[0xf0, 0x89, 0xc0, 0x90], nothing, "#UD: f0 89 c0 90 .. is no instruction in this mode"),
            (&[0x66; 15], nothing, "#GP: it has more than 15 bytes"),
            (&[0x0f, 0x28, 0xc1], nothing, "#UD: it is an SSE instruction, and CR4.OSFXSR is clear"),
            (&[0x0f, 0x28, 0xc1], |lab| lab.vectors(), "runs"),
            (&[0x0f, 0x28, 0xc1], em, "#UD: it uses the FPU or SSE, and CR0.EM is set"),
            (&[0x0f, 0x28, 0xc1], ts, "#NM: it uses the FPU or SSE, and CR0.TS is set"),
            (
                &[0xc5, 0xf8, 0x28, 0xc1],
                nothing,
                "#UD: it needs XSAVE (AVX and newer), and CR4.OSXSAVE is clear",
            ),
            (&[0xc4, 0xe2, 0xf0, 0xf2, 0xc3], nothing, "runs"), // andn: VEX, but no vector
            (&[0x0f, 0x01, 0xd0], nothing, "#UD: it needs XSAVE (AVX and newer), and CR4.OSXSAVE is clear"),
            (&[0xd9, 0xe8], em, "#NM: it uses the FPU or SSE, and CR0.EM is set"), // fld1
            (&[0xd9, 0xe8], ts, "#NM: it uses the FPU or SSE, and CR0.TS is set"),
            (&[0x9b], ts, "#NM: it uses the FPU or SSE, and CR0.TS is set"), // wait
            (&[0x9b], em, "runs"),
            (&[0x0f, 0x77], em, "#UD: it uses the FPU or SSE, and CR0.EM is set"), // emms
            (&[0x0f, 0xae, 0xf0], ts, "runs"),                                     // mfence
            (&[0xf3, 0x0f, 0xb8, 0xc0], nothing, "runs"),                          // popcnt
            (&[0xf3, 0x0f, 0xae, 0xc0], nothing, "#UD: CR4.FSGSBASE is clear"),
            (&[0x0f, 0x05], nothing, "#UD: EFER.SCE is clear"),
            (&[0x0f, 0x01, 0xd8], nothing, "#UD: it is an instruction of SVM, and EFER.SVME is clear"),
            (&[0x0f, 0x01, 0xc2], nothing, "#UD: it is an instruction of VMX, and CR4.VMXE is clear"),
            (&[0x0f, 0x20, 0xc8], nothing, "#UD: 0f 20 c8 00 .. is no instruction in this mode"),
            (&[0x0f, 0x21, 0xe0], |lab| lab.state.cr4 |= Cr4::DE, "#UD: there is no DR4 while CR4.DE is set"),
            (&[0x0f, 0x21, 0xe0], nothing, "runs"),
        ],
    );
    let real = "#UD: it exists in protected mode only, and CR0.PE is clear";
    table(
        Lab::real,
        &[(&[0x0f, 0x00, 0xd8], nothing, real), (&[0x0f, 0x28, 0xc1], |lab| lab.vectors(), "runs")],
    );
}

#[test]
fn what_a_ring_may_not_do() {
    let ring3: Set = Lab::ring3;
    let ring0 = "#GP: it is for ring 0 only, and the guest was in ring 3";
    table(
        Lab::long,
        &[
            (&[0xf4], nothing, "runs"),
            (&[0xf4], ring3, ring0),
            (&[0x0f, 0x20, 0xd8], ring3, ring0),
            (&[0x0f, 0x32], ring3, ring0),
            (&[0x0f, 0x01, 0x3f], ring3, ring0), // invlpg
            (&[0x0f, 0x01, 0xf8], ring3, ring0), // swapgs
            (&[0xfa], ring3, "#GP: it is for rings up to IOPL 0, and the guest was in ring 3"),
            (
                &[0xfa],
                |lab| {
                    lab.ring3();
                    lab.state.regs.rflags |= RFlags::IOPL_LOW | RFlags::IOPL_HIGH;
                },
                "runs",
            ),
            (&[0x0f, 0x31], ring3, "runs"),
            (
                &[0x0f, 0x31],
                |lab| {
                    lab.ring3();
                    lab.state.cr4 |= Cr4::TSD;
                },
                "#GP: CR4.TSD is set, and the guest was in ring 3",
            ),
            (
                &[0xe4, 0x60],
                |lab| {
                    lab.ring3();
                    lab.state.tr = Segment::null();
                },
                "#GP: ring 3 is above IOPL 0, and the TSS has no I/O bitmap to allow port 0x60",
            ),
            (
                &[0x66, 0xef], // out dx, ax
                |lab| {
                    lab.ring3();
                    lab.state.tr = Segment::tss(0x18, 0x6000, 0x200);
                    lab.write(0x6000, &Tss64 { iomap_base: 0x68, ..Tss64::default() }.bytes());
                    lab.write(0x6068 + 0x3f8 / 8, &[0, 0b10]);
                    lab.state.regs.rdx = 0x400;
                },
                "#GP: ring 3 is above IOPL 0, and the TSS's I/O bitmap forbids port 0x401",
            ),
            (
                &[0xee],
                |lab| {
                    lab.ring3();
                    lab.state.tr = Segment::tss(0x18, 0x6000, 0x200);
                    lab.write(0x6000, &Tss64 { iomap_base: 0x68, ..Tss64::default() }.bytes());
                    lab.state.regs.rdx = 0x3f8;
                },
                "runs",
            ),
        ],
    );
}

#[test]
fn operands() {
    table(
        Lab::long,
        &[
            (&[0x48, 0x89, 0x07], nothing, "#PF writing 0x0: the PTE at 0x13000 is not present (P=0)"),
            (&[0x48, 0x8b, 0x07], nothing, "#PF reading 0x0: the PTE at 0x13000 is not present (P=0)"),
            (&[0x48, 0x8d, 0x07], nothing, "runs"), // lea
            (&[0x00, 0x00], nothing, "#PF writing 0x0: the PTE at 0x13000 is not present (P=0)"),
            (
                &[0x48, 0x8b, 0x05, 0xf9, 0xff, 0x3f, 0x00],
                nothing,
                "#PF reading 0x500000: the PDE at 0x12010 is not present (P=0)",
            ),
            (
                &[0x48, 0x89, 0x07],
                |lab| {
                    lab.map(&[page(HIGH, Access::RX)]);
                    lab.state.regs.rdi = HIGH + 8;
                },
                "#PF writing 0xffff800000000008: the PTE at 0x18000 is present but read-only (W=0), and CR0.WP is set",
            ),
            (
                &[0x48, 0x89, 0x07],
                |lab| {
                    lab.map(&[page(HIGH, Access::RX)]);
                    lab.state.regs.rdi = HIGH + 8;
                    lab.state.cr0 -= Cr0::WP;
                },
                "runs",
            ),
            (
                &[0x48, 0x89, 0x07], // runs over the end of the page
                |lab| lab.state.regs.rdi = RAM - 1,
                "#PF writing 0x200000: the PDE at 0x12008 is not present (P=0)",
            ),
            (
                &[0x48, 0x8b, 0x07],
                |lab| lab.state.regs.rdi = 1 << 63,
                "#GP reading 0x8000000000000000: 0x8000000000000000 is not canonical",
            ),
            (
                &[0x48, 0x8b, 0x45, 0x00],
                |lab| lab.state.regs.rbp = 1 << 63,
                "#SS reading 0x8000000000000000: 0x8000000000000000 is not canonical",
            ),
            (
                &[0x65, 0x48, 0x8b, 0x07], // gs:
                |lab| lab.state.gs.base = 0x1000,
                "runs",
            ),
            (&[0x50], |lab| lab.state.regs.rsp = 0x1008, "runs"), // push rax
            (
                &[0x50],
                |lab| lab.state.regs.rsp = 0x1000,
                "#PF writing 0xff8: the PTE at 0x13000 is not present (P=0)",
            ),
            (
                &[0x58],
                |lab| lab.state.regs.rsp = 0xff8,
                "#PF reading 0xff8: the PTE at 0x13000 is not present (P=0)",
            ),
            (
                &[0xe8, 0, 0, 0, 0],
                |lab| lab.state.regs.rsp = 0x1000,
                "#PF writing 0xff8: the PTE at 0x13000 is not present (P=0)",
            ),
            (
                &[0xc3],
                |lab| lab.state.regs.rsp = 1 << 63,
                "#SS reading 0x8000000000000000: 0x8000000000000000 is not canonical",
            ),
            (&[0xc9], nothing, "#PF reading 0x0: the PTE at 0x13000 is not present (P=0)"), // leave
            (
                &[0x9c],
                |lab| lab.state.regs.rsp = 0x1000,
                "#PF writing 0xff8: the PTE at 0x13000 is not present (P=0)",
            ), // pushf
            (
                &[0xc8, 16, 0, 0],
                |lab| lab.state.regs.rsp = 0x1000,
                "#PF writing 0xff8: the PTE at 0x13000 is not present (P=0)",
            ), // enter
            (&[0xf3, 0xa4], nothing, "runs"), // rep movsb, rcx = 0
            (
                &[0xf3, 0xaa],
                |lab| lab.state.regs.rcx = 1,
                "#PF writing 0x0: the PTE at 0x13000 is not present (P=0)",
            ),
            (
                &[0x0f, 0x28, 0x07],
                |lab| {
                    lab.vectors();
                    lab.state.regs.rdi = 0x9008;
                },
                "#GP reading 0x9008: 0x9008 is not a multiple of 16, which this instruction wants",
            ),
            (
                &[0x0f, 0x10, 0x07],
                |lab| {
                    lab.vectors();
                    lab.state.regs.rdi = 0x9008;
                },
                "runs",
            ), // movups
            (
                &[0xc5, 0xfc, 0x28, 0x07],
                |lab| {
                    lab.vectors();
                    lab.state.regs.rdi = 0x9010;
                },
                "#GP reading 0x9010: 0x9010 is not a multiple of 32, which this instruction wants",
            ),
            (
                &[0x48, 0x0f, 0xc7, 0x0f],
                |lab| lab.state.regs.rdi = 0x9008,
                "#GP writing 0x9008: 0x9008 is not a multiple of 16, which this instruction wants",
            ),
            // A device: nothing is wrong with that.
            (&[0x48, 0x8b, 0x07], |lab| lab.state.regs.rdi = 0x4000_0000, "runs"),
            (
                &[0x48, 0x89, 0x07],
                |lab| {
                    lab.ring3();
                    lab.state.regs.rdi = 0x4000_0000;
                },
                "#PF writing 0x40000000: the PDPTE at 0x11008 is not present (P=0)",
            ),
        ],
    );
}

#[test]
fn a_page_of_ring_0_and_one_with_reserved_bits() {
    let mut lab = Lab::long();
    lab.map(&[page(HIGH, Access::RW)]);
    lab.code(&[0x48, 0x8b, 0x07]);
    lab.state.regs.rdi = HIGH;
    lab.state.ss = lab.state.ss.for_ring(3);
    assert_eq!(
        said(&lab),
        "#PF fetching 0x100000: the PML4E at 0x10000 is a supervisor page (U=0), and the guest was in ring 3"
    );
    let mut lab = Lab::long();
    lab.code(&[0x48, 0x8b, 0x07]);
    lab.state.efer -= Efer::NXE;
    let entry = 0x9000 | (PageEntry::PRESENT | PageEntry::NO_EXECUTE).bits();
    lab.memory.write_obj(entry, GuestAddress(0x1_3000)).unwrap();
    assert_eq!(said(&lab), "#PF reading 0x0: the PTE at 0x13000 has reserved bits 0x8000000000000000 set");
    let Next::Raises(fault) = next(&lab.view()) else { panic!("it faults") };
    assert_eq!(fault.exception, Exception::pf(0, 9));
}

#[test]
fn segments_outside_long_mode() {
    table(
        Lab::protected,
        &[
            (&[0x8b, 0x07], nothing, "runs"),
            (
                &[0x8b, 0x07],
                |lab| lab.state.ds.limit = 2,
                "#GP reading 0x0: offset 0x0 is beyond the limit 0x2 of DS",
            ),
            (
                &[0x8b, 0x07],
                |lab| lab.state.ds = Segment::null(),
                "#GP reading 0x0: DS holds a null selector",
            ),
            (
                &[0x89, 0x07],
                |lab| {
                    lab.state.ds.kind =
                        SegmentKind::Data { writable: false, expand_down: false, accessed: true };
                },
                "#GP writing 0x0: the segment in DS cannot be written",
            ),
            (
                &[0x8b, 0x07],
                |lab| {
                    lab.state.ds.kind =
                        SegmentKind::Data { writable: true, expand_down: true, accessed: true };
                    lab.state.ds.limit = 0xfff;
                },
                "#GP reading 0x0: offset 0x0 is beyond the limit 0xfff of DS",
            ),
            (
                &[0x50],
                |lab| lab.state.ss.limit = 0xfff,
                "#SS writing 0x8fec: offset 0x8fec is beyond the limit 0xfff of SS",
            ),
            (
                &[0xff, 0xe0],
                |lab| {
                    lab.state.cs.limit = 0x1f_ffff;
                    lab.state.regs.rax = 0x20_0000;
                },
                "#GP: it goes to 0x200000, which is beyond the code segment's limit 0x1fffff",
            ),
        ],
    );
    table(
        Lab::real,
        &[
            (
                &[0x8b, 0x07],
                |lab| lab.state.regs.rbx = 0xffff,
                "#GP reading 0xffff: offset 0xffff is beyond the limit 0xffff of DS",
            ),
            (&[0x8e, 0xd8], |lab| lab.state.regs.rax = 0x1234, "runs"),
            (&[0xf7, 0xf3], nothing, "#DE: it divides by zero"),
            (&[0xcd, 0x80], nothing, "runs"),
            (
                &[0xcd, 0x80],
                |lab| lab.state.idt.limit = 0,
                "#GP: IDT entry 128 lies beyond the IDT's limit 0x0",
            ),
        ],
    );
    let mut lab = Lab::real();
    lab.code(&[0xcd, 0x80]);
    lab.state.idt.limit = 0;
    let Next::Raises(fault) = next(&lab.view()) else { panic!("it faults") };
    assert_eq!(fault.exception.error_code, None, "real mode has no error codes");
}

#[test]
fn divisions() {
    table(
        Lab::long,
        &[
            (&[0xf7, 0xf3], nothing, "#DE: it divides by zero"),
            (&[0xf7, 0xf3], |lab| lab.state.regs.rbx = 1, "runs"),
            (
                &[0xf7, 0xf3],
                |lab| {
                    lab.state.regs.rbx = 1;
                    lab.state.regs.rdx = 1;
                },
                "#DE: the quotient of 0x100000000 by 0x1 does not fit into 32 bits",
            ),
            (
                &[0x48, 0xf7, 0xfb],
                |lab| {
                    lab.state.regs.rax = 1 << 63;
                    lab.state.regs.rdx = u64::MAX;
                    lab.state.regs.rbx = u64::MAX;
                },
                "#DE: the quotient of 0xffffffffffffffff8000000000000000 by 0xffffffffffffffff does not fit into 64 bits",
            ),
            (
                &[0x48, 0xf7, 0xfb],
                |lab| {
                    lab.state.regs.rax = u64::MAX;
                    lab.state.regs.rdx = u64::MAX;
                    lab.state.regs.rbx = u64::MAX;
                },
                "runs",
            ), // -1 by -1
            (
                &[0xf6, 0xf3],
                |lab| {
                    lab.state.regs.rbx = 1;
                    lab.state.regs.rax = 0x100;
                },
                "#DE: the quotient of 0x100 by 0x1 does not fit into 8 bits",
            ),
            (&[0xf7, 0x37], |lab| lab.state.regs.rdi = 0x9000, "#DE: it divides by zero"),
            (
                &[0xf7, 0x37],
                |lab| lab.state.regs.rdi = 0x4000_0000,
                "unknown: it depends on a value that cannot be read from here",
            ),
        ],
    );
    table(
        Lab::protected,
        &[(&[0xd4, 0x00], nothing, "#DE: it divides by zero"), (&[0xd4, 0x0a], nothing, "runs")],
    );
}

#[test]
fn control_registers() {
    let cr0: &[u8] = &[0x0f, 0x22, 0xc0];
    let cr3: &[u8] = &[0x0f, 0x22, 0xd8];
    let cr4: &[u8] = &[0x0f, 0x22, 0xe0];
    let wrmsr: &[u8] = &[0x0f, 0x30];
    table(
        Lab::long,
        &[
            (cr4, nothing, "#GP: it clears CR4.PAE in long mode"),
            (cr4, |lab| lab.state.regs.rax = (Cr4::PAE | Cr4::OSFXSR).bits(), "runs"),
            (
                cr4,
                |lab| lab.state.regs.rax = (Cr4::PAE | Cr4::LA57).bits(),
                "#GP: it changes CR4.LA57 in long mode",
            ),
            (
                cr4,
                |lab| lab.state.regs.rax = 1 << 63 | 0x20,
                "#GP: it sets the reserved bits 0x8000000000000000 of CR4",
            ),
            (
                cr4,
                |lab| {
                    lab.state.regs.rax = (Cr4::PAE | Cr4::PCIDE).bits();
                    lab.state.cr3 |= 8;
                },
                "#GP: it sets CR4.PCIDE while CR3 is 0x10008, whose low 12 bits have to be 0",
            ),
            (cr0, nothing, "#GP: it clears CR0.PG in 64-bit mode"),
            (cr0, |lab| lab.state.regs.rax = 0x8000_0000, "#GP: it sets CR0.PG without CR0.PE"),
            (cr0, |lab| lab.state.regs.rax = 0xa000_0001, "#GP: it sets CR0.NW without CR0.CD"),
            (cr0, |lab| lab.state.regs.rax = 1 << 32, "#GP: it sets the reserved bits 0x100000000 of CR0"),
            (cr0, |lab| lab.state.regs.rax = 0x8000_0011, "runs"),
            (
                cr3,
                |lab| lab.state.regs.rax = 1 << 52,
                "#GP: it sets the reserved bits 0x10000000000000 of CR3",
            ),
            (cr3, |lab| lab.state.regs.rax = 0xdead_b000, "runs"), // the next fetch will not
            (
                &[0x44, 0x0f, 0x22, 0xc0],
                |lab| lab.state.regs.rax = 16,
                "#GP: it sets the reserved bits 0x10 of CR8",
            ),
            (
                wrmsr,
                |lab| {
                    lab.state.regs.rcx = Efer::MSR.into();
                    lab.state.regs.rax = 0xd00 | 2;
                },
                "#GP: it sets the reserved bits 0x2 of EFER",
            ),
            (
                wrmsr,
                |lab| lab.state.regs.rcx = Efer::MSR.into(),
                "#GP: it changes EFER.LME while CR0.PG is set",
            ),
            (
                wrmsr,
                |lab| {
                    lab.state.regs.rcx = Efer::MSR.into();
                    lab.state.regs.rax = 0xd01;
                },
                "runs",
            ),
            (
                wrmsr,
                |lab| {
                    lab.state.regs.rcx = strata_cpu::msr::GS_BASE.into();
                    lab.state.regs.rdx = 0x8000_0000;
                },
                "#GP: 0x8000000000000000 for GS_BASE is not canonical",
            ),
            (
                wrmsr,
                |lab| {
                    lab.state.regs.rcx = strata_cpu::msr::IA32_PAT.into();
                    lab.state.regs.rax = 0x200;
                },
                "#GP: byte 1 of 0x200 is no memory type for IA32_PAT",
            ),
            (
                wrmsr,
                |lab| lab.state.regs.rcx = 0xdead_beef,
                "perhaps #GP: there is probably no MSR 0xdeadbeef",
            ),
            (
                &[0x0f, 0x01, 0x17],
                |lab| {
                    lab.state.regs.rdi = 0x9000;
                    lab.write(0x9002, &(1_u64 << 63).to_le_bytes());
                },
                "#GP: 0x8000000000000000 for GDTR is not canonical",
            ),
        ],
    );
    table(
        Lab::protected,
        &[
            (
                cr0,
                |lab| {
                    lab.state.efer |= Efer::LME;
                    lab.state.regs.rax = 0x8000_0011;
                },
                "#GP: it sets CR0.PG with EFER.LME set, and CR4.PAE is clear",
            ),
            (cr4, |lab| lab.state.regs.rax = 1 << 17, "#GP: it sets CR4.PCIDE outside long mode"),
        ],
    );
}

#[test]
fn segment_loads() {
    let mov_ds: &[u8] = &[0x8e, 0xd8];
    let mov_ss: &[u8] = &[0x8e, 0xd0];
    table(
        Lab::long,
        &[
            (mov_ds, nothing, "runs"),
            (mov_ds, |lab| lab.state.regs.rax = 0x10, "runs"),
            (mov_ds, |lab| lab.state.regs.rax = 0x48, "#GP: selector 0x48 lies beyond the GDT's limit 0x17"),
            (
                mov_ds,
                |lab| {
                    lab.state.ldt = Segment::null();
                    lab.state.regs.rax = 0x14;
                },
                "#GP: selector 0x14 is of the LDT, and there is none (LDTR is null)",
            ),
            (
                mov_ds,
                |lab| {
                    lab.state.gdt.base = 0;
                    lab.state.regs.rax = 8;
                },
                "#PF reading 0x8: the PTE at 0x13000 is not present (P=0)",
            ),
            (
                mov_ds,
                |lab| {
                    lab.write(crate::testing::GDT, &[0; 24]);
                    lab.state.regs.rax = 0x10;
                },
                "#GP: selector 0x10 names the descriptor at 0x4010, which is not a segment that can be read but a null descriptor",
            ),
            (
                mov_ds,
                |lab| {
                    let absent = Segment { present: false, ..Segment::data(0) };
                    lab.state.regs.rax = lab.gdt(&[absent])[0].into();
                },
                "#NP: selector 0x18 names the descriptor at 0x4018, which is not present (P=0)",
            ),
            (
                mov_ds,
                |lab| {
                    lab.ring3();
                    lab.state.regs.rax = 0x13;
                },
                "#GP: selector 0x13 (RPL 3) names a segment of DPL 0, which ring 3 may not load into DS",
            ),
            (mov_ss, nothing, "runs"), // null: 64-bit code of ring 0 does without
            (
                mov_ss,
                |lab| lab.state.regs.rax = 8,
                "#GP: selector 0x8 names the descriptor at 0x4008, which is not a data segment that can be written but a code segment",
            ),
            (
                mov_ss,
                |lab| {
                    let absent = Segment { present: false, ..Segment::data(0) };
                    lab.state.regs.rax = lab.gdt(&[absent])[0].into();
                },
                "#SS: selector 0x18 names the descriptor at 0x4018, which is not present (P=0)",
            ),
            (
                &[0x0f, 0xa1],
                |lab| lab.write(STACK, &[0x48]),
                "#GP: selector 0x48 lies beyond the GDT's limit 0x17",
            ), // pop fs
            (
                &[0x0f, 0x00, 0xd8],
                |lab| lab.state.regs.rax = 0x10,
                "#GP: selector 0x10 names the descriptor at 0x4010, which is not an available TSS but a data segment",
            ),
            (&[0x0f, 0x00, 0xd8], nothing, "#GP: the selector for TR is null"),
            (&[0x0f, 0x00, 0xd0], nothing, "runs"), // lldt 0
        ],
    );
    table(
        Lab::protected,
        &[
            (mov_ss, nothing, "#GP: the selector for SS is null"),
            (&[0xea, 0, 0, 0x10, 0, 8, 0], nothing, "runs"),
            (&[0xea, 0, 0, 0x10, 0, 0, 0], nothing, "#GP: the selector for CS is null"),
            (
                &[0xea, 0, 0, 0x10, 0, 0x10, 0],
                nothing,
                "#GP: selector 0x10 names the descriptor at 0x4010, which is not a code segment but a data segment",
            ),
        ],
    );
}

#[test]
fn returns() {
    let frame = |lab: &mut Lab, words: [u64; 5]| {
        lab.write(STACK - 0x100, &words.map(u64::to_le_bytes).concat());
        lab.state.regs.rsp = STACK - 0x100;
    };
    let iretq = |words: [u64; 5]| {
        let mut lab = Lab::long();
        lab.code(&[0x48, 0xcf]);
        frame(&mut lab, words);
        said(&lab)
    };
    assert_eq!(iretq([CODE, 8, 2, STACK, 0x10]), "runs");
    assert_eq!(iretq([CODE, 8, 2, STACK, 0]), "runs");
    assert_eq!(iretq([CODE, 0, 2, STACK, 0x10]), "#GP: the selector for CS is null");
    let data =
        "#GP: selector 0x10 names the descriptor at 0x4010, which is not a code segment but a data segment";
    assert_eq!(iretq([CODE, 0x10, 2, STACK, 0x10]), data);
    assert_eq!(iretq([CODE, 0x48, 2, STACK, 0x10]), "#GP: selector 0x48 lies beyond the GDT's limit 0x17");
    assert_eq!(
        iretq([1 << 63, 8, 2, STACK, 0x10]),
        "#GP: it goes to 0x8000000000000000, which is not canonical"
    );
    let ring3 = "#GP: selector 0xb (RPL 3) names a segment of DPL 0, which ring 3 may not load into CS";
    assert_eq!(iretq([CODE, 0xb, 2, STACK, 0x13]), ring3);
    let mut lab = Lab::long();
    lab.code(&[0x48, 0xcf]);
    frame(&mut lab, [CODE, 8, 2, STACK, 0x10]);
    lab.state.regs.rflags |= RFlags::NT;
    assert_eq!(said(&lab), "#GP: RFLAGS.NT is set, and there are no task switches in long mode");
    // Two words of the frame lie behind the last page of the stack.
    let mut lab = Lab::long();
    lab.code(&[0x48, 0xcf]);
    lab.write(RAM - 16, &[CODE.to_le_bytes(), 8_u64.to_le_bytes()].concat());
    lab.state.regs.rsp = RAM - 16;
    assert_eq!(said(&lab), "#PF reading 0x200000: the PDE at 0x12008 is not present (P=0)");
    table(
        Lab::long,
        &[
            (
                &[0xc3],
                |lab| lab.write(STACK, &(1_u64 << 63).to_le_bytes()),
                "#GP: it goes to 0x8000000000000000, which is not canonical",
            ),
            (&[0xc3], |lab| lab.write(STACK, &CODE.to_le_bytes()), "runs"),
            (
                &[0xff, 0xe0],
                |lab| lab.state.regs.rax = 1 << 63,
                "#GP: it goes to 0x8000000000000000, which is not canonical",
            ),
            (&[0xff, 0xe0], nothing, "runs"), // what is wrong there is the next instruction's
        ],
    );
}

#[test]
fn software_interrupts() {
    let gates: Set = |lab| lab.idt(&[(3, Gate::interrupt(Gdt::CODE, CODE))]);
    table(
        Lab::long,
        &[
            (&[0xcd, 0x80], gates, "#GP: IDT entry 128 lies beyond the IDT's limit 0x3f"),
            (&[0xcc], gates, "runs"),
            (&[0xcd, 0x02], gates, "#GP: IDT entry 2 at 0x5020 is no interrupt or trap gate (type 0x0)"),
            (
                &[0xcc],
                |lab| {
                    lab.idt(&[(3, Gate::interrupt(Gdt::CODE, CODE))]);
                    lab.ring3();
                },
                "#GP: IDT entry 3 at 0x5030 is for rings up to its DPL 0, and the guest was in ring 3",
            ),
            (
                &[0xcc],
                |lab| {
                    lab.idt(&[(3, Gate::interrupt(Gdt::CODE, CODE))]);
                    lab.write(IDT + 0x35, &[0x0e]);
                },
                "#NP: IDT entry 3 at 0x5030 is not present (P=0)",
            ),
        ],
    );
}

#[test]
fn virtual_8086_mode_is_not_judged() {
    let mut lab = Lab::protected();
    lab.state.regs.rflags |= RFlags::VM;
    assert!(matches!(next(&lab.view()), Next::Unknown(Unknown::Virtual8086)));
}

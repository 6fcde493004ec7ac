use strata_cpu::{Access, Cr0, Cr4, Mapping, PageSize, Segment, Tss64};

use super::*;
use crate::testing::{Lab, RAM};

pub(super) type Set = fn(&mut Lab);

/// What a fault says, `runs`, or why it is not known.
pub(super) fn said(lab: &Lab) -> String {
    match next(&lab.view()) {
        Next::Runs => "runs".into(),
        Next::Raises(fault) => fault.to_string(),
        Next::Perhaps(fault) => format!("perhaps {fault}"),
        Next::NoCode { linear, phys } => format!("no code at {linear:#x}, physical {phys:#x}"),
        Next::Unknown(why) => format!("unknown: {why}"),
    }
}

pub(super) fn table(new: fn() -> Lab, rows: &[(&[u8], Set, &str)]) {
    for (bytes, set, wanted) in rows {
        let mut lab = new();
        set(&mut lab);
        lab.code(bytes);
        let said = said(&lab);
        assert_eq!(said, *wanted, "{bytes:02x?}");
    }
}

pub(super) fn nothing(_: &mut Lab) {}

pub(super) fn page(virt: u64, access: Access) -> Mapping {
    Mapping { virt, phys: 0x9000, len: 0x1000, page: PageSize::Size4K, access }
}

pub(super) const HIGH: u64 = 0xffff_8000_0000_0000;

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
    assert_eq!(said(&lab), "#PF fetching 0x1fffff: there is no RAM at 0xdeadb000, where CR3 points");
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
fn virtual_8086_mode_is_not_judged() {
    let mut lab = Lab::protected();
    lab.state.regs.rflags |= RFlags::VM;
    assert!(matches!(next(&lab.view()), Next::Unknown(Unknown::Virtual8086)));
}

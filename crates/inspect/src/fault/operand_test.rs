use strata_cpu::{Access, Cr0, Efer, Exception, PageEntry, Segment, SegmentKind};
use vm_memory::{Bytes, GuestAddress};

use crate::fault::tests::{HIGH, nothing, page, said, table};
use crate::fault::{Next, next};
use crate::testing::{Lab, RAM};

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
        ],
    );
}

#[test]
fn stacks_and_strings() {
    table(
        Lab::long,
        &[
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
        ],
    );
}

#[test]
fn alignment_and_devices() {
    table(
        Lab::long,
        &[
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

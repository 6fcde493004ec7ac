use strata_cpu::{Cr4, Efer};

use crate::fault::tests::{nothing, table};
use crate::testing::Lab;

#[test]
fn control_registers() {
    let cr0: &[u8] = &[0x0f, 0x22, 0xc0];
    let cr3: &[u8] = &[0x0f, 0x22, 0xd8];
    let cr4: &[u8] = &[0x0f, 0x22, 0xe0];
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
        ],
    );
}

#[test]
fn msrs_and_tables() {
    let wrmsr: &[u8] = &[0x0f, 0x30];
    table(
        Lab::long,
        &[
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
}

#[test]
fn control_registers_before_long_mode() {
    let cr0: &[u8] = &[0x0f, 0x22, 0xc0];
    let cr4: &[u8] = &[0x0f, 0x22, 0xe0];
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

//! Whatever a guest has in its registers and its memory: what looks at it comes to an end and does not panic.
//!
//! Worlds by chance, the same in every run: small memory, in which every address that a register or a table holds is likely
//! to lead somewhere, and numbers beside the ends of their types.

#![allow(missing_docs, reason = "a test")]

use std::io::Cursor;

use strata_cpu::{Cr0, Cr4, Efer, RFlags, Segment, SegmentKind, TableRegister, X86State};
use strata_inspect::explain::{Death, Facts, LastExit, explain};
use strata_inspect::{Map, View, core, disasm, fault};
use strata_vmm::vcpu::ExitRecord;
use strata_vmm::{Budget, Stop};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

/// Marsaglia's xorshift: good enough to be everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    /// A number as an address: in RAM, at an end of something, or any.
    fn number(&mut self) -> u64 {
        let ends =
            [0, 0x1000, 0x8000, 0xffff, 0xffff_ffff, 1 << 32, 1 << 47, u64::MAX << 47, u64::MAX, 1 << 63];
        match self.below(8) {
            0..4 => self.below(RAM + 0x100),
            4 | 5 => {
                let end = ends[usize::try_from(self.below(ends.len() as u64)).unwrap()];
                end.wrapping_add(self.below(64)).wrapping_sub(32)
            }
            6 => self.below(RAM) & !0xfff,
            _ => self.next(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any will do")]
    fn segment(&mut self) -> Segment {
        let base = Segment::data(0);
        Segment {
            selector: self.number() as u16,
            base: self.number(),
            limit: self.number() as u32,
            kind: SegmentKind::from_bits(self.below(3) > 0, self.next() as u8 & 0xf),
            dpl: self.next() as u8 & 3,
            present: self.below(4) > 0,
            long: self.below(2) > 0,
            big: self.below(2) > 0,
            unusable: self.below(4) == 0,
            ..base
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any will do")]
    fn state(&mut self) -> X86State {
        let mut state = match self.below(4) {
            0 => X86State::real_at(0, 0x7c00),
            1 => X86State::protected(0x7c00, 0x500),
            _ => X86State::long(0x7c00, 0x1000, 0x500),
        };
        let regs = &mut state.regs;
        for register in [
            &mut regs.rax,
            &mut regs.rbx,
            &mut regs.rcx,
            &mut regs.rdx,
            &mut regs.rsi,
            &mut regs.rdi,
            &mut regs.rsp,
            &mut regs.rbp,
            &mut regs.r8,
            &mut regs.r15,
            &mut regs.rip,
        ] {
            *register = self.number();
        }
        // Seldom virtual-8086 mode, of which nothing is said.
        let vm = u64::from(self.below(8) > 0) << 17;
        state.regs.rflags = RFlags::from_bits_retain(self.next() & 0x3f_ffff & !vm);
        for _ in 0..self.below(4) {
            let segment = self.segment();
            match self.below(8) {
                0 => state.cs = segment,
                1 => state.ss = segment,
                2 => state.ds = segment,
                3 => state.es = segment,
                4 => state.fs = segment,
                5 => state.gs = segment,
                6 => state.tr = segment,
                _ => state.ldt = segment,
            }
        }
        for _ in 0..self.below(3) {
            match self.below(7) {
                0 => state.cr0 = Cr0::from_bits_retain(self.next()),
                1 => state.cr0 ^= Cr0::PG,
                2 => state.cr4 = Cr4::from_bits_retain(self.next()),
                3 => state.efer = Efer::from_bits_retain(self.next()),
                4 => state.gdt = TableRegister { base: self.number(), limit: self.number() as u16 },
                5 => state.idt = TableRegister { base: self.number(), limit: self.number() as u16 },
                _ => state.cr3 = self.number(),
            }
        }
        state.cr2 = self.number();
        state
    }

    /// Words that are tables, descriptors or code.
    fn memory(&mut self, memory: &GuestMemoryMmap<()>) {
        for at in (0..RAM).step_by(8) {
            let word = match self.below(6) {
                0 => 0,
                1 | 2 => self.below(RAM) & !0xfff | 0x007,
                3 => self.number(),
                4 => 0x00af_9b00_0000_ffff ^ 1 << self.below(64),
                _ => self.next(),
            };
            memory.write_obj(word, GuestAddress(at)).unwrap();
        }
    }
}

const RAM: u64 = 0x8000;

#[test]
fn no_guest_is_too_strange() {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), usize::try_from(RAM).unwrap())]).unwrap();
    let mut chance = Chance(0x5742_7a74_6100_0001);
    let rounds: u32 = std::env::var("STRATA_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        chance.memory(&memory);
        for number in 0..50 {
            // Tables that map everything take their time.
            one(&mut chance, &memory, round == 0 && number < 2);
        }
    }
}

fn one(chance: &mut Chance, memory: &GuestMemoryMmap<()>, all: bool) {
    let state = chance.state();
    let view = View::new(memory, &state);
    let _ = fault::next(&view);
    let _ = fault::touches(&view);
    let _ = disasm::at(&view, chance.number(), None);
    let (port, addr) = (chance.number().to_le_bytes()[0].into(), chance.number());
    let exits = [
        ExitRecord::PioRead { port, width: 1, data: vec![0] },
        ExitRecord::PioWrite { port, width: 2, data: vec![0; 64] },
        ExitRecord::MmioRead { addr, data: vec![0; 8] },
        ExitRecord::MmioWrite { addr, data: vec![0; 4] },
        ExitRecord::Halt,
    ];
    for exit in &exits {
        let _ = disasm::of_exit(&view, &exit.clone().lend(), None);
    }
    let exits: Vec<_> = exits
        .into_iter()
        .cycle()
        .take(40)
        .map(|exit| LastExit { registers: Some(state.regs), exit })
        .collect();
    let trail: Vec<_> = (0..20).map(|_| chance.number()).collect();
    let machine = Facts::default();
    for stop in [
        Stop::TripleFault,
        Stop::Halted,
        Stop::InternalError { suberror: 1, data: vec![1, chance.next(), chance.next()] },
        Stop::MemoryFault { gpa: chance.number(), size: chance.number() },
        Stop::FailEntry { reason: 1, cpu: 0 },
        Stop::Budget(Budget::Exits(1)),
    ] {
        let (vcpu, symbols) = (Some(0), None);
        let death =
            Death { stop: &stop, view, vcpu, symbols, exits: &exits, trail: &trail, machine: &machine };
        let explanation = explain(&death);
        assert!(explanation.to_string().len() < 1 << 16);
    }
    if all {
        let map = Map::new([]).with_view(&view);
        assert!(map.to_string().len() + map.svg().to_string().len() < 1 << 20);
        core::write(&mut Cursor::new(Vec::new()), memory, &[state], core::Addresses::Linear, None).unwrap();
    }
}

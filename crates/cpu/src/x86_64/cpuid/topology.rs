//! How many processors there are, and what they share.
//!
//! One package; processor `n` has APIC id `n`. Caches of levels 1 and 2 belong to a core, higher ones to the package:
//! their sizes are the host's, so that a guest that sizes its work by them is right.

use super::{Cpuid, CpuidError, Feature, Leaf, Register};

/// A guest's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    /// Logical processors, 1 to 255: an APIC id of 8 bits reaches no further, and 255 is the broadcast (SDM 3A 12.4.6).
    pub cpus: u32,
    /// How many of them share a core: 1, 2, 4 or 8, and a divisor of `cpus`.
    pub threads_per_core: u32,
}

/// The kinds of level in leaves 0xb and 0x1f. SDM 2A, "CPUID", leaf 0BH, ECX[15:8].
const SMT: u32 = 1;
const CORE: u32 = 2;
/// The kinds of level in leaf `0x8000_0026`. APM 3, E.4.24, ECX[15:8].
const AMD_CORE: u32 = 1;
const AMD_SOCKET: u32 = 4;

impl Topology {
    /// As many cores of one thread each.
    pub const fn new(cpus: u32) -> Self {
        Self { cpus, threads_per_core: 1 }
    }

    /// Checks that the numbers fit each other.
    ///
    /// # Errors
    ///
    /// [`CpuidError::Cpus`] and [`CpuidError::Threads`].
    pub fn check(self) -> Result<(), CpuidError> {
        let Self { cpus, threads_per_core } = self;
        if !(1..=255).contains(&cpus) {
            return Err(CpuidError::Cpus { cpus });
        }
        if !matches!(threads_per_core, 1 | 2 | 4 | 8) || cpus % threads_per_core != 0 {
            return Err(CpuidError::Threads { cpus, threads_per_core });
        }
        Ok(())
    }

    /// How many low bits of an APIC id tell apart the threads of a core.
    pub const fn thread_bits(self) -> u32 {
        bits(self.threads_per_core)
    }

    /// How many low bits of an APIC id tell apart the threads of the package.
    pub const fn package_bits(self) -> u32 {
        bits(self.cpus)
    }

    /// Writes the topology wherever CPUID reports it; APIC ids are left to [`Cpuid::for_vcpu`].
    pub(super) fn apply_to(self, cpuid: &mut Cpuid) {
        // The host's go, also where the guest gets none.
        cpuid.retain(|leaf| !matches!(leaf.function, 0xb | 0x1f | 0x8000_001e | 0x8000_0026));
        let one = cpuid.get_mut(1, None);
        // EBX[23:16]: how many APIC ids the package takes, valid with HTT; [31:24]: the APIC id.
        one.ebx = one.ebx & 0xffff | self.cpus << 16;
        set(cpuid, "htt", self.cpus > 1);
        self.levels(cpuid, 0xb, [SMT, CORE]);
        let zero = cpuid.get_mut(0, None);
        zero.eax = zero.eax.max(0xb);
        if cpuid.highest(0) >= 0x1f {
            self.levels(cpuid, 0x1f, [SMT, CORE]);
        }
        self.caches(cpuid);
        let amd = cpuid.is_amd();
        set(cpuid, "cmp_legacy", amd && self.cpus > 1);
        if amd {
            self.amd(cpuid);
        }
    }

    /// Subleaves from the thread up: how far to shift an APIC id to reach the next level, and how many processors this one
    /// has. SDM 2A, "CPUID", leaf 0BH; APM 3, E.4.24.
    fn levels(self, cpuid: &mut Cpuid, function: u32, kinds: [u32; 2]) {
        let rows = [(self.thread_bits(), self.threads_per_core), (self.package_bits(), self.cpus)];
        for ((index, kind), (shift, processors)) in (0..).zip(kinds).zip(rows) {
            *cpuid.get_mut(function, Some(index)) = Leaf {
                eax: shift,
                ebx: processors,
                ecx: kind << 8 | index,
                ..Leaf::zero(function, Some(index))
            };
        }
        // The end: a level of kind 0.
        cpuid.get_mut(function, Some(2)).ecx = 2;
    }

    /// EAX of each cache: [7:5] level, [25:14] how many APIC ids share it, less 1. SDM 2A, "CPUID", leaf 04H; APM 3,
    /// E.4.15. Intel has the package's cores beside it: [31:26], less 1.
    fn caches(self, cpuid: &mut Cpuid) {
        let cores = (1_u32 << (self.package_bits() - self.thread_bits())).min(64);
        let caches = cpuid.0.iter_mut().filter(|leaf| matches!(leaf.function, 0x4 | 0x8000_001d));
        for cache in caches.filter(|cache| cache.eax & 0x1f != 0) {
            let level = cache.eax >> 5 & 7;
            let sharing = if level < 3 { self.threads_per_core } else { 1 << self.package_bits() };
            cache.eax = cache.eax & !0x03ff_c000 | (sharing - 1) << 14;
            if cache.function == 4 {
                cache.eax = cache.eax & 0x03ff_ffff | (cores - 1) << 26;
            }
        }
    }

    fn amd(self, cpuid: &mut Cpuid) {
        if cpuid.highest(0x8000_0000) >= 0x8000_0008 {
            // [7:0] processors, less 1; [15:12] bits of the APIC id that number them. APM 3, E.4.7.
            let sizes = cpuid.get_mut(0x8000_0008, None);
            sizes.ecx = sizes.ecx & !0xf0ff | self.package_bits() << 12 | (self.cpus - 1);
        }
        if Feature::named("topoext").is_some_and(|topoext| cpuid.has(topoext)) {
            // EBX[15:8]: threads of a core, less 1. ECX: node 0 of one. APM 3, E.4.16.
            *cpuid.get_mut(0x8000_001e, None) =
                Leaf { ebx: (self.threads_per_core - 1) << 8, ..Leaf::zero(0x8000_001e, None) };
        }
        if cpuid.highest(0x8000_0000) >= 0x8000_0026 {
            self.levels(cpuid, 0x8000_0026, [AMD_CORE, AMD_SOCKET]);
        }
    }
}

/// How many bits number `count` things.
const fn bits(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

/// Sets or clears a named bit.
pub(super) fn set(cpuid: &mut Cpuid, name: &str, to: bool) {
    if let Some(feature) = Feature::named(name) {
        let (mask, word) = (feature.mask(), feature.word);
        let register: Register = word.register;
        let value = cpuid.get_mut(word.function, word.index).register_mut(register);
        *value = if to { *value | mask } else { *value & !mask };
    }
}

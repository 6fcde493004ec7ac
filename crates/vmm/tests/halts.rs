//! Guests that halt for good where `hlt` waits inside KVM, with one vCPU and with many.

#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};

use strata_vmm::devices::{DeviceMut, Effect};
use strata_vmm::memory::vm_memory::{Bytes as _, GuestAddress};
use strata_vmm::{Budget, Config, Machine, MachineBuilder, Outcome, Stop};

/// Where the others of [`START_OTHERS`] begin.
const OTHERS: usize = 0x8000;
/// Where they count themselves.
const COUNTER: u64 = 0x500;

fn builder(cpus: u8, code: &[u8]) -> MachineBuilder {
    let config = Config::from_toml(&format!(
        "mode = \"real16\"\nload_at = 0x7c00\nirqchip = \"kernel\"\ncpus = {cpus}\nmemory.size = \"64K\""
    ));
    Machine::builder(config.unwrap()).image(code)
}

fn run(cpus: u8, code: &[u8]) -> Outcome {
    builder(cpus, code).build().unwrap().run().unwrap()
}

#[test]
fn one_vcpu_that_halts_with_interrupts_disabled_has_halted() {
    if common::kvm("a halt inside KVM").is_none() {
        return;
    }
    // cli; hlt
    let outcome = run(1, b"\xfa\xf4");
    assert_eq!((outcome.stop, outcome.vcpus.len()), (Stop::Halted, 1));
    // The other was never started.
    assert_eq!(run(2, b"\xfa\xf4").stop, Stop::Halted);
}

#[test]
fn one_that_waits_for_an_interrupt_has_not() {
    if common::kvm("an idle guest").is_none() {
        return;
    }
    let config = "mode = \"real16\"\nirqchip = \"kernel\"\nmemory.size = \"64K\"\nbudget.wall = \"2500ms\"";
    // sti; hlt
    let machine = Machine::builder(Config::from_toml(config).unwrap()).image(*b"\xfb\xf4").build().unwrap();
    let stop = machine.run().unwrap().stop;
    assert!(matches!(stop, Stop::Budget(Budget::Wall(_))), "{stop}");
}

/// Halts the first vCPU only after a while without any exit: `mov cx, 0; loop $; cli; hlt`, after an `out` that has been.
#[test]
fn a_halt_long_after_the_last_exit_is_noticed() {
    if common::kvm("a late halt").is_none() {
        return;
    }
    let count = Arc::new(Mutex::new(Count(0)));
    // out 0x10, al; mov dx, 40; next: mov cx, 0; loop $; dec dx; jnz next; cli; hlt
    let code = b"\xe6\x10\xba\x28\x00\xb9\x00\x00\xe2\xfe\x4a\x75\xf8\xfa\xf4";
    let machine = builder(1, code).pio_device(0x10, 1, "count", count.clone()).build().unwrap();
    assert_eq!(machine.run().unwrap().stop, Stop::Halted);
    assert_eq!(count.lock().unwrap().0, 1);
}

struct Count(u32);

impl DeviceMut for Count {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        self.0 += 1;
        Effect::None
    }
}

/// Real-mode code that starts all other vCPUs by INIT and SIPI through the x2APIC's registers (SDM vol. 3A, 10.12), waits
/// until `others` have counted themselves, and halts. The others count themselves and halt.
fn start_others(others: u8) -> Vec<u8> {
    let mut code = Vec::new();
    // cli; mov ecx, 0x1b (IA32_APIC_BASE); rdmsr; or eax, 0xc00 (x2APIC mode); wrmsr
    code.extend(b"\xfa\x66\xb9\x1b\0\0\0\x0f\x32\x66\x0d\0\x0c\0\0\x0f\x30");
    // mov ecx, 0x830 (the interrupt command register); xor edx, edx
    code.extend(b"\x66\xb9\x30\x08\0\0\x66\x31\xd2");
    // mov eax, all but me, INIT; wrmsr; mov eax, all but me, start at page 8; wrmsr
    code.extend(b"\x66\xb8\0\x45\x0c\0\x0f\x30\x66\xb8\x08\x46\x0c\0\x0f\x30");
    // again: cmp byte [0x500], others; jne again; hlt
    code.extend([0x80, 0x3e, 0x00, 0x05, others, 0x75, 0xf9, 0xf4]);
    code.resize(OTHERS - 0x7c00, 0x90);
    // cli; xor ax, ax; mov ds, ax; lock inc byte [0x500]; hlt
    code.extend(b"\xfa\x31\xc0\x8e\xd8\xf0\xfe\x06\0\x05\xf4");
    code
}

#[test]
fn vcpus_that_all_ran_and_all_halted_have_halted_up_to_64_of_them() {
    if common::kvm("many vCPUs").is_none() {
        return;
    }
    for cpus in [2, 8, 64] {
        let outcome = run(cpus, &start_others(cpus - 1));
        assert_eq!((outcome.stop.clone(), outcome.vcpus.len()), (Stop::Halted, usize::from(cpus)));
        let counted: u8 = outcome.ram().memory().read_obj(GuestAddress(COUNTER)).unwrap();
        assert_eq!(counted, cpus - 1);
    }
}

#[test]
fn pinned_vcpus_run() {
    if common::kvm("pinned vCPUs").is_none() {
        return;
    }
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let first: u32 = allowed.split([',', '-']).next().unwrap().parse().unwrap();
    let config = format!(
        "mode = \"real16\"\nload_at = 0x7c00\nirqchip = \"kernel\"\ncpus = 2\npin = [{first}, {first}]\nmemory.size = \"64K\""
    );
    let machine =
        Machine::builder(Config::from_toml(&config).unwrap()).image(start_others(1)).build().unwrap();
    assert_eq!(machine.run().unwrap().stop, Stop::Halted);
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains(allowed), "the calling thread may run where it could before");
}

//! Whole machines through the library.

#![allow(missing_docs, reason = "a test")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_vmm::devices::{DeviceMut, Effect, Stub};
use strata_vmm::event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use strata_vmm::machine::BuildError;
use strata_vmm::{Config, Machine, MachineBuilder, Stop};
use vmm_sys_util::eventfd::EventFd;

fn builder(toml: &str) -> MachineBuilder {
    let config = Config::from_toml(&format!("mode = \"real16\"\n{toml}")).unwrap();
    // jmp $
    Machine::builder(config).image(*b"\xeb\xfe")
}

fn refused(builder: MachineBuilder) -> String {
    match builder.build() {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was built"),
    }
}

fn stub() -> Arc<Mutex<Stub>> {
    Arc::new(Mutex::new(Stub::new([])))
}

#[test]
fn devices_that_would_never_be_reached_are_refused() {
    if common::kvm("building machines").is_none() {
        return;
    }
    let said = refused(builder("memory.size = \"64K\"").mmio_device(0xf000, 0x2000, "mine", stub()));
    assert!(said.contains("mine at 0xf000 lies in the RAM at 0x0"), "{said}");
    let kernel = "irqchip = \"kernel\"\npit = true\nmemory.size = \"64K\"";
    for port in [0x21, 0x42, 0x61, 0xa0] {
        let built = builder(kernel).pio_device(port, 1, "mine", stub()).build();
        assert!(matches!(built, Err(BuildError::Bus(_))), "{port:#x} is the kernel's");
    }
    assert!(builder(kernel).pio_device(0x62, 1, "mine", stub()).build().is_ok(), "0x62 is nobody's");
    let built = builder(kernel).mmio_device(0xfee0_0000, 4, "mine", stub()).build();
    assert!(matches!(built, Err(BuildError::Bus(_))), "the LAPIC is the kernel's");
    // Over read-only RAM a device sees the guest's writes.
    let rom = "[[memory.piece]]\nat = 0\nsize = \"64K\"\n[[memory.piece]]\nat = 0x20000\nsize = \"4K\"\nread_only = true";
    assert!(builder(rom).mmio_device(0x20000, 4, "flash", stub()).build().is_ok());
}

#[test]
fn a_line_without_a_controller_is_refused() {
    if common::kvm("an interrupt line").is_none() {
        return;
    }
    let mut builder = builder("memory.size = \"64K\"");
    let _line = builder.irq_line(5);
    assert!(refused(builder).contains("irqchip"));
}

#[test]
fn flat_images_settings_are_not_silently_ignored_for_elf() {
    let elf = b"\x7fELF\x02\x01\x01".to_vec();
    for setting in
        ["mode = \"real16\"", "load_at = 0x1000", "entry = 0x1000", "[paging]\ntables_at = 0\nmap = []"]
    {
        let config = Config::from_toml(setting).unwrap();
        let said = refused(Machine::builder(config).image(elf.clone()));
        assert!(said.contains("for flat images"), "{setting}: {said}");
    }
}

/// Panics when its eventfd is written.
struct Panics(EventFd);

impl MutEventSubscriber for Panics {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        panic!("an event source that panics");
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        ops.add(Events::new(&self.0, EventSet::IN)).unwrap();
    }
}

#[test]
fn no_thread_outlives_a_panic_of_the_callers() {
    if common::kvm("a panicking event source").is_none() {
        return;
    }
    let event = EventFd::new(0).unwrap();
    event.write(1).unwrap();
    let builder = builder("memory.size = \"64K\"").event_source(Box::new(Panics(event)));
    let control = builder.control();
    let machine = builder.build().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| machine.run())).is_err());
    assert!(control.stopped().is_some(), "the guest does not run on");
    let vcpus = std::fs::read_dir("/proc/self/task").unwrap().filter(|task| {
        let name = std::fs::read_to_string(task.as_ref().unwrap().path().join("comm")).unwrap_or_default();
        name.starts_with("vcpu0") && control.stopped().is_none()
    });
    assert_eq!(vcpus.count(), 0);
}

/// Powers off at the first write, after having stopped the machine by its own handle: the first reason wins.
struct Stops(strata_vmm::Control);

impl DeviceMut for Stops {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        assert!(self.0.stop(Stop::Reset));
        Effect::PowerOff
    }
}

#[test]
fn a_device_may_stop_its_own_machine() {
    if common::kvm("a device that stops its machine").is_none() {
        return;
    }
    let builder = builder("memory.size = \"64K\"").image(*b"\xe6\x10\xf4");
    let stops = Stops(builder.control());
    let outcome =
        builder.pio_device(0x10, 1, "stops", Arc::new(Mutex::new(stops))).build().unwrap().run().unwrap();
    assert_eq!(outcome.stop, Stop::Reset);
}

#[test]
fn a_paused_machine_makes_no_exits() {
    if common::kvm("pausing a machine").is_none() {
        return;
    }
    // out 0x10, al; jmp to it
    let count = Arc::new(Mutex::new(Count(0)));
    let machine = builder("memory.size = \"64K\"")
        .image(*b"\xe6\x10\xeb\xfc")
        .pio_device(0x10, 1, "count", count.clone())
        .build()
        .unwrap();
    let control = machine.control();
    let thread = std::thread::spawn(move || machine.run().unwrap().stop);
    while count.lock().unwrap().0 == 0 {
        std::thread::yield_now();
    }
    assert!(control.pause());
    let before = count.lock().unwrap().0;
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(count.lock().unwrap().0, before);
    control.resume();
    while count.lock().unwrap().0 == before {
        std::thread::yield_now();
    }
    control.stop(Stop::Interrupted);
    assert_eq!(thread.join().unwrap(), Stop::Interrupted);
}

struct Count(u64);

impl DeviceMut for Count {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        self.0 += 1;
        Effect::None
    }
}

#[test]
fn an_entry_state_that_no_processor_takes_is_refused_by_the_rule_it_breaks() {
    if common::kvm("entry states").is_none() {
        return;
    }
    // Bit 1 is what KVM puts right.
    let said = refused(builder("memory.size = \"64K\"\nregisters.rflags = 0x28000"));
    assert_eq!(
        said,
        "the guest cannot be entered: RFLAGS is 0x8000, but bits 63:22, 15, 5 and 3 must be 0 (SDM 3C, checks on guest \
         RIP, RFLAGS and SSP); processors refuse to enter the guest; RFLAGS is 0x28000, but bit 1 is always 1 (SDM 3C, \
         checks on guest RIP, RFLAGS and SSP); KVM lets it pass; RFLAGS.VM is 0x1, but virtual-8086 mode exists in \
         protected mode only: clear RFLAGS.VM (SDM 3C, checks on guest RIP, RFLAGS and SSP); processors refuse to enter \
         the guest"
    );
    let error = builder("memory.size = \"64K\"\nregisters.rflags = 0x28002").build().unwrap_err();
    assert!(!error.is_the_hosts());
    let machine = builder("memory.size = \"64K\"\nregisters.rflags = 0").build().unwrap();
    assert_eq!(machine.entry_warnings().len(), 1);
}

#[test]
fn what_a_guest_will_die_of_can_be_told_beforehand() {
    if common::kvm("entry states").is_none() {
        return;
    }
    assert_eq!(builder("memory.size = \"64K\"").build().unwrap().entry_warnings(), []);
    let config = "
        load_at = 0x10000
        [memory]
        size = \"1M\"
        [paging]
        tables_at = 0x20000
        map = [{ virt = 0, phys = 0, size = \"1M\", access = \"rw\" }]
    ";
    let config = Config::from_toml(config).unwrap();
    let machine = Machine::builder(config).image(*b"\xeb\xfe").build().unwrap();
    let said: Vec<_> = machine.entry_warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["the first instruction, at 0x10000, cannot be fetched: the PTE at 0x23080 forbids execution (NX=1)"]
    );
}

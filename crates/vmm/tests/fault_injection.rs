//! Every KVM call of a boot fails once in turn: each failure has a name, and leaves nothing behind.
//!
//! One test in its own process, since it counts the descriptors, mappings and threads of the whole process.

#![allow(missing_docs, reason = "a test")]

mod common;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use strata_vmm::kvm::{CallRecord, Probe};
use strata_vmm::{Config, Machine, Stop};

/// Fails call number `at`, counted from 0, with `errno`.
struct FailAt {
    at: usize,
    errno: i32,
    calls: AtomicUsize,
}

impl Probe for FailAt {
    fn before(&self, _: &'static str) -> Result<(), i32> {
        if self.calls.fetch_add(1, SeqCst) == self.at { Err(self.errno) } else { Ok(()) }
    }

    fn after(&self, _: &CallRecord) {}
}

/// Notes the names of the calls.
#[derive(Default)]
struct Names(std::sync::Mutex<Vec<&'static str>>);

impl Probe for Names {
    fn before(&self, name: &'static str) -> Result<(), i32> {
        self.0.lock().unwrap().push(name);
        Ok(())
    }

    fn after(&self, _: &CallRecord) {}
}

/// The machine that makes every kind of call that a boot makes: two vCPUs, interrupt controllers, a line of each kind,
/// debugging, dirty log.
fn machine(probe: Arc<dyn Probe>) -> Result<Machine, Box<dyn Error>> {
    let config = Config::from_toml(
        r#"
        mode = "real16"
        cpus = 2
        irqchip = "kernel"
        pit = true
        devices.debug_exit = 0xf4
        debug.breakpoints = [0x9000]
        [memory]
        dirty_log = true
        backing = "memfd"
        [[memory.piece]]
        at = 0
        size = "64K"
        [[memory.piece]]
        at = 0x20000
        size = "4K"
        read_only = true
        [[stub]]
        port = 0x500
        irq = 5
        [[stub]]
        port = 0x501
        irq = 6
        irq_by = "line"
        "#,
    )?;
    // out 0xf4, al
    Ok(Machine::builder(config).image(*b"\xe6\xf4").probe(probe).build()?)
}

fn boot(probe: Arc<dyn Probe>) -> Result<Stop, Box<dyn Error>> {
    let outcome = machine(probe)?.run()?;
    outcome.dirty_pages()?;
    Ok(outcome.stop)
}

/// Descriptors, mappings and threads of this process.
fn resources() -> (usize, usize, usize) {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    // vCPU pages and guest RAM, which is why that is a memfd: it has a name. The heap's own mappings come and go.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("kvm-vcpu") || line.contains("memfd:")).count();
    (entries("/proc/self/fd"), ours, entries("/proc/self/task"))
}

#[test]
fn every_call_fails_once_with_a_name_and_without_a_leak() {
    if common::kvm("failing every call of a boot").is_none() {
        return;
    }
    let names = Arc::new(Names::default());
    let stop = boot(names.clone()).unwrap();
    assert_eq!(stop.kind(), "debug-exit", "{stop}");
    let names = std::mem::take(&mut *names.0.lock().unwrap());
    for call in
        ["open", "KVM_CREATE_VM", "KVM_CREATE_IRQCHIP", "KVM_CREATE_PIT2", "KVM_IRQFD", "KVM_IRQ_LINE"]
    {
        assert!(names.contains(&call), "{call} is not made: {names:?}");
    }
    // Once more, so that what is made once a process (threads' caches, handlers) is there.
    boot(Arc::new(FailAt { at: usize::MAX, errno: 0, calls: AtomicUsize::new(0) })).unwrap();

    let before = resources();
    assert_eq!(before.1, 0, "no machine, no mapping");
    let held = machine(Arc::new(Names::default())).unwrap();
    let (descriptors, mappings, _) = resources();
    assert!(
        descriptors > before.0 && mappings == 4,
        "two vCPUs and two pieces of RAM are counted: {mappings}"
    );
    drop(held);
    let mut named = 0;
    for (at, name) in names.iter().enumerate() {
        for errno in [libc::EINVAL, libc::ENOMEM, libc::EMFILE] {
            let probe = Arc::new(FailAt { at, errno, calls: AtomicUsize::new(0) });
            let described = match boot(probe) {
                Ok(stop) => stop.to_string(),
                Err(error) => chain(&*error),
            };
            // Which vCPU comes first to its KVM_RUN is not ours to say, so the name may be another run's.
            let is_run = *name == "KVM_RUN" || described.contains("KVM_RUN");
            let expected = if *name == "open" { "/dev/kvm" } else { *name };
            // KVM_CHECK_EXTENSION cannot fail: a host that answers nothing lacks the capability.
            // Without TSC-deadline timers, which are asked for where CPUID does not tell, the guest runs as well.
            let capability = *name == "KVM_CHECK_EXTENSION"
                && (described.contains("KVM_CAP_") || described == stop.to_string());
            let version = *name == "KVM_GET_API_VERSION" && described.contains("/dev/kvm");
            assert!(
                is_run || capability || version || described.contains(expected),
                "call {at}, {}: {described}",
                *name
            );
            named += 1;
            assert_eq!(resources(), before, "call {at}, {}, leaves something: {described}", *name);
        }
    }
    assert!(named >= 3 * 20, "{named}");
}

fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

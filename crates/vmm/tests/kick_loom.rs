//! Every interleaving of a kick with a vCPU's run loop, by loom.
//!
//! The protocol is the crate's own source; the kernel is modelled: `KVM_RUN` looks at `immediate_exit`, and a guest that
//! has been entered leaves when the signal comes.

#![allow(missing_docs, reason = "a test")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use loom::thread;

#[path = "../src/kvm/kick_protocol.rs"]
mod protocol;

use protocol::Flag;

impl Flag for AtomicBool {
    fn get(&self) -> bool {
        self.load(SeqCst)
    }

    fn swap(&self, value: bool) -> bool {
        self.swap(value, SeqCst)
    }
}

#[derive(Default)]
struct Vcpu {
    requested: AtomicBool,
    immediate_exit: AtomicBool,
    /// A signal for the vCPU's thread is pending.
    signal: AtomicBool,
}

impl Vcpu {
    fn kick(&self) {
        protocol::request(&self.requested, &self.immediate_exit);
        self.signal.store(true, SeqCst);
    }

    /// `KVM_RUN` of a guest that never exits by itself: returns with `EINTR`, or not at all (`None`: it would still be
    /// in the guest if nothing more happened).
    fn enter(&self) -> Option<()> {
        // A pending signal is delivered before the system call; its handler does nothing.
        self.signal.swap(false, SeqCst);
        if self.immediate_exit.load(SeqCst) {
            return Some(());
        }
        // In the guest: a signal that is pending by now, or comes later, interrupts.
        self.signal.swap(false, SeqCst).then_some(())
    }
}

#[test]
fn no_kick_is_lost_whatever_the_order() {
    loom::model(|| {
        let vcpu = Arc::new(Vcpu::default());
        let kicker = thread::spawn({
            let vcpu = Arc::clone(&vcpu);
            move || vcpu.kick()
        });
        let mut kicks = 0;
        for _ in 0..2 {
            if vcpu.enter().is_some() && protocol::take(&vcpu.requested, &vcpu.immediate_exit) {
                kicks += 1;
            }
        }
        kicker.join().unwrap();
        // The kick is complete. If it has not been seen yet, the next entries see it without anything else happening.
        for _ in 0..2 {
            if vcpu.enter().is_some() && protocol::take(&vcpu.requested, &vcpu.immediate_exit) {
                kicks += 1;
            }
        }
        assert_eq!(kicks, 1, "seen, and seen once");
        assert!(vcpu.enter().is_none(), "and no later run is hit");
    });
}

#[test]
fn completing_io_neither_loses_nor_invents_a_kick() {
    loom::model(|| {
        let vcpu = Arc::new(Vcpu::default());
        let kicker = thread::spawn({
            let vcpu = Arc::clone(&vcpu);
            move || vcpu.kick()
        });
        let entered = protocol::without_entering(&vcpu.requested, &vcpu.immediate_exit, || vcpu.enter());
        assert!(entered.is_some(), "the kernel completes the I/O and returns");
        kicker.join().unwrap();
        let mut kicks = 0;
        for _ in 0..2 {
            if vcpu.enter().is_some() && protocol::take(&vcpu.requested, &vcpu.immediate_exit) {
                kicks += 1;
            }
        }
        assert_eq!(kicks, 1);
    });
}

#[test]
fn two_kicks_may_be_one_but_never_none() {
    // Three threads have too many orders to try all: those with at most three preemptions.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let vcpu = Arc::new(Vcpu::default());
        let kickers: Vec<_> = (0..2)
            .map(|_| {
                let vcpu = Arc::clone(&vcpu);
                thread::spawn(move || vcpu.kick())
            })
            .collect();
        let first = vcpu.enter().is_some() && protocol::take(&vcpu.requested, &vcpu.immediate_exit);
        for kicker in kickers {
            kicker.join().unwrap();
        }
        let mut kicks = u32::from(first);
        for _ in 0..3 {
            if vcpu.enter().is_some() && protocol::take(&vcpu.requested, &vcpu.immediate_exit) {
                kicks += 1;
            }
        }
        assert!((1..=2).contains(&kicks), "{kicks}");
    });
}

//! Kicks against a vCPU that really runs.

#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use strata_vmm::vcpu::{Exit, Vcpu as _};

/// `jmp $`
const SPIN: &[u8] = b"\xeb\xfe";
/// `out 0x80, al` for ever: exits come between kicks.
const STORM: &[u8] = b"\xe6\x80\xeb\xfc";

/// How many kicks: `KICKS` in the environment for more.
fn count() -> u64 {
    std::env::var("KICKS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// Kicks one by one, each after the one before was seen: a lost one would hang, one seen twice would be counted.
fn one_by_one(code: &[u8], what: &str) {
    let Some(kvm) = common::kvm(what) else { return };
    let mut vcpu = common::real_mode(&kvm, code, 0x1000);
    let kicker = vcpu.kicker();
    let kicks = count();
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..kicks {
                kicker.kick();
                while seen.load(SeqCst) == number {
                    std::thread::yield_now();
                }
            }
        });
        while seen.load(SeqCst) < kicks {
            if matches!(vcpu.run().unwrap(), Exit::Kicked) {
                seen.fetch_add(1, SeqCst);
            }
        }
    });
    // All have been seen: nothing is left that would hit the next run.
    kicker.kick();
    let (mut kicked, mut runs) = (0, 0);
    while kicked == 0 || runs < 2 {
        runs += 1;
        kicked += u64::from(matches!(vcpu.run().unwrap(), Exit::Kicked));
        if kicked > 0 {
            break;
        }
    }
    assert_eq!(kicked, 1);
}

#[test]
fn a_guest_that_never_exits_leaves_at_each_kick() {
    one_by_one(SPIN, "kicking a spinning guest");
}

#[test]
fn a_guest_that_exits_all_the_time_loses_no_kick() {
    one_by_one(STORM, "kicking an exiting guest");
}

#[test]
fn kicks_from_many_threads_at_once_end_in_a_quiet_vcpu() {
    let Some(kvm) = common::kvm("kicks from many threads") else { return };
    let mut vcpu = common::real_mode(&kvm, STORM, 0x1000);
    let done = AtomicU64::new(0);
    let threads = 4;
    let mut kicked = 0;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let kicker = vcpu.kicker();
            let done = &done;
            scope.spawn(move || {
                for _ in 0..count() {
                    kicker.kick();
                }
                done.fetch_add(1, SeqCst);
            });
        }
        while done.load(SeqCst) < threads {
            kicked += u64::from(matches!(vcpu.run().unwrap(), Exit::Kicked));
        }
    });
    // At most one kick is left over; after it the guest runs on undisturbed.
    let left = (0..10).filter(|_| matches!(vcpu.run().unwrap(), Exit::Kicked)).count();
    assert!(left <= 1, "{left}");
    assert!(kicked + left as u64 >= 1);
}

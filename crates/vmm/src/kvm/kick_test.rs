use super::*;

fn receiver(byte: &'static AtomicU8) -> KickReceiver {
    // SAFETY: a leaked byte lives for ever and is an atomic.
    unsafe { KickReceiver::new(NonNull::from(byte)) }
}

fn leaked() -> &'static AtomicU8 {
    Box::leak(Box::new(AtomicU8::new(0)))
}

#[test]
fn a_kick_before_the_run_is_seen_by_it_once() {
    let byte = leaked();
    let mut receiver = receiver(byte);
    let kicker = receiver.kicker();
    kicker.kick();
    kicker.clone().kick();
    assert_eq!(byte.load(SeqCst), 1, "KVM_RUN would return at once");
    receiver.bind();
    assert!(receiver.take());
    assert_eq!(byte.load(SeqCst), 0);
    assert!(!receiver.take(), "and no later run is hit");
}

#[test]
fn completing_io_keeps_a_kick_that_comes_meanwhile() {
    let byte = leaked();
    let receiver = receiver(byte);
    let kicker = receiver.kicker();
    receiver.without_entering(|| kicker.kick());
    assert_eq!(byte.load(SeqCst), 1);
    assert!(receiver.take());
    receiver.without_entering(|| assert_eq!(byte.load(SeqCst), 1));
    assert_eq!(byte.load(SeqCst), 0);
}

#[test]
fn kicking_after_the_vcpu_is_gone_touches_nothing() {
    let byte = leaked();
    let receiver = receiver(byte);
    let kicker = receiver.kicker();
    drop(receiver);
    kicker.kick();
    assert_eq!(byte.load(SeqCst), 0);
}

#[test]
fn the_signal_interrupts_a_blocking_call_of_the_bound_thread() {
    let byte = leaked();
    let mut receiver = receiver(byte);
    let kicker = receiver.kicker();
    let (bound, is_bound) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        receiver.bind();
        bound.send(()).unwrap();
        // poll(2) is never restarted after a signal, so it stands in for KVM_RUN. The kick may come before it: the
        // byte says so, as it does to the kernel.
        while byte.load(SeqCst) == 0 {
            // SAFETY: no descriptors, so the null array is not read.
            unsafe { libc::poll(std::ptr::null_mut(), 0, 10) };
        }
        receiver.take()
    });
    is_bound.recv().unwrap();
    kicker.kick();
    assert!(thread.join().unwrap());
}

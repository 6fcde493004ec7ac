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
    let mut receiver = receiver(leaked());
    let kicker = receiver.kicker();
    let (bound, is_bound) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        receiver.bind();
        // As KVM_RUN lets the signal in only while it blocks, so does ppoll(2) with a mask: nothing can be missed, and
        // without the signal this never returns.
        // SAFETY: both sets are initialised before use; no descriptors, so the null array is not read.
        let interrupted = unsafe {
            let (mut kick, mut none): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigemptyset(&raw mut kick);
            libc::sigaddset(&raw mut kick, kick_signal());
            libc::sigemptyset(&raw mut none);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const kick, std::ptr::null_mut());
            bound.send(()).unwrap();
            libc::ppoll(std::ptr::null_mut(), 0, std::ptr::null(), &raw const none)
        };
        assert_eq!((interrupted, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINTR)));
        receiver.take()
    });
    is_bound.recv().unwrap();
    kicker.kick();
    assert!(thread.join().unwrap());
}

use super::*;

#[test]
fn machines_that_run_or_will_are_ended() {
    let interrupt = Interrupt::new();
    let (first, gone, late) = (Control::new(), Control::new(), Control::new());
    let _running = interrupt.enter(first.clone());
    drop(interrupt.enter(gone.clone()));
    assert!(!interrupt.happened());
    interrupt.now();
    assert!(interrupt.happened());
    assert_eq!((first.stopped(), gone.stopped()), (Some(Stop::Interrupted), None));
    let _late = interrupt.enter(late.clone());
    assert_eq!(late.stopped(), Some(Stop::Interrupted));
}

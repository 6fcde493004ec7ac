use super::*;
use crate::conformance;
use crate::testing::{Edges, Full, Output};

#[test]
fn it_answers_byte_by_byte_and_then_ones() {
    let mut stub = Stub::new([1, 2, 3]);
    let mut data = [0; 2];
    stub.read(0, &mut data);
    assert_eq!(data, [1, 2]);
    stub.read(7, &mut data);
    assert_eq!(data, [3, 0xff]);
}

#[test]
fn a_write_is_printed_and_then_interrupts_once() {
    let (out, edges) = (Output::default(), Edges::default());
    let mut stub = Stub::new([]).print_to(Box::new(out.clone())).interrupt_by(Arc::new(edges.clone()));
    assert_eq!(stub.write(0, b"abc"), Effect::None);
    assert_eq!((out.taken(), edges.taken()), (b"abc".to_vec(), 1));
    let _ = stub.write(0, b"");
    assert_eq!((out.taken(), edges.taken()), (Vec::new(), 0));
}

#[test]
fn an_output_that_fails_does_not_hold_the_interrupt_up() {
    let edges = Edges::default();
    let mut stub = Stub::new([]).print_to(Box::new(Full)).interrupt_by(Arc::new(edges.clone()));
    let _ = stub.write(0, b"abc");
    assert_eq!(edges.taken(), 1);
}

#[test]
fn it_conforms() {
    let make = || Stub::new(0..=254).print_to(Box::new(Full));
    conformance::check("stub", 4, || std::sync::Mutex::new(make())).unwrap();
    conformance::check_saveable("stub", 4, make).unwrap();
}

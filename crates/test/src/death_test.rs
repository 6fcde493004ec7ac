use super::*;

#[test]
fn an_end_that_the_guest_chose_is_no_death() {
    assert!(!is_death(&Stop::DebugExit { value: 3 }) && !is_death(&Stop::PowerOff));
    assert!(is_death(&Stop::TripleFault) && is_death(&Stop::Halted));
}

#[test]
fn addresses_in_an_output_are_looked_up() {
    // This very program has symbols, and this function is one of them.
    let address = places as *const () as u64;
    let image = std::env::current_exe().unwrap();
    // It is position-independent: an address as it was linked is far below where it runs, and found by its name.
    let symbols = Symbols::open(&image).unwrap();
    assert!(place(address, &Symbols::default()).is_none());
    let name = |output: &str| places(output.as_bytes(), &image);
    assert_eq!(name("RIP 0x"), "");
    assert_eq!(name("RIP 0xffffffffffffffffff, RIP zero"), "");
    let linked = symbols.address_of("main").unwrap();
    let said = name(&format!("vector 6, RIP {linked:#x}, RSP 0x0"));
    assert!(said.starts_with(&format!("{linked:#x} is main")), "{said}");
}

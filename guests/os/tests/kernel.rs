#![no_std]
#![no_main]

strata_guest::test_main!();

strata_guest::tests! {
    fn passes() {}
    fn fails() { assert_eq!(1 + 1, 3, "arithmetic"); }
    #[should_panic(expected = "this")]
    fn panics() { panic!("with this message"); }
}

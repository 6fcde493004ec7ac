//! A hundred tests that do next to nothing: for `crates/test/benches/hundred.rs`, or `cargo test --release --test hundred`.

#![no_std]
#![no_main]

strata_guest::test_main!();

macro_rules! hundred {
    ($($ten:ident)*) => {
        $(mod $ten {
            strata_guest::tests! {
                fn test_0() {}
                fn test_1() {}
                fn test_2() {}
                fn test_3() {}
                fn test_4() {}
                fn test_5() {}
                fn test_6() {}
                fn test_7() {}
                fn test_8() {}
                fn test_9() {}
            }
        })*
    };
}

hundred!(ten_0 ten_1 ten_2 ten_3 ten_4 ten_5 ten_6 ten_7 ten_8 ten_9);

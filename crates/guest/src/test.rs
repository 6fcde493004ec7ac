//! Tests: how they are declared, found and run.
//!
//! [`tests!`](crate::tests) leaves a record of each test in the section `strata_tests` of the program. `strata-test` lists them
//! by reading that, without a machine; [`test_main!`](crate::test_main) makes the program's entry, which runs the one test that
//! the command line names, as `test=NAME` or `test=NUMBER` in the order of the section. Without that word all are run
//! one after the other, but for ignored ones, until one fails.
//!
//! # The record
//!
//! Six words of 64 bits, little-endian, addresses being the program's:
//!
//! | word | holds |
//! | --- | --- |
//! | 0 | bits 0 to 31: [`VERSION`]; bit 32: ignored; bit 33: it should panic |
//! | 1, 2 | the name: its address and length in bytes, UTF-8, without the crate's name |
//! | 3 | the function |
//! | 4, 5 | what the message of its panic should contain: likewise; 0 if that is all the same |

#![allow(unsafe_code, reason = "reads a section of the program, by the linker's word")]

use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::{Verdict, exit, machine, println};

/// The version of the record.
pub const VERSION: u32 = 1;
const IGNORED: u64 = 1 << 32;
const SHOULD_PANIC: u64 = 1 << 33;

/// The record of a test. [`tests!`](crate::tests) makes it.
#[derive(Debug)]
#[repr(C)]
pub struct Test {
    version_and_flags: u64,
    name: *const u8,
    name_len: usize,
    run: fn(),
    expected: *const u8,
    expected_len: usize,
}

// SAFETY: it leads to constants.
unsafe impl Sync for Test {}

impl Test {
    /// A record; `path` begins with the crate's name.
    #[doc(hidden)]
    pub const fn new(path: &'static str, run: fn()) -> Self {
        let name = without_crate(path);
        Self {
            version_and_flags: VERSION as u64,
            name: name.as_ptr(),
            name_len: name.len(),
            run,
            expected: core::ptr::null(),
            expected_len: 0,
        }
    }

    /// One that is run only if it is asked for.
    #[doc(hidden)]
    #[must_use]
    pub const fn ignored(mut self) -> Self {
        self.version_and_flags |= IGNORED;
        self
    }

    /// One that passes if it panics, with `message` in the message.
    #[doc(hidden)]
    #[must_use]
    pub const fn panics(mut self, message: &'static str) -> Self {
        self.version_and_flags |= SHOULD_PANIC;
        if !message.is_empty() {
            self.expected = message.as_ptr();
            self.expected_len = message.len();
        }
        self
    }

    /// Its name: `module::function`.
    pub fn name(&self) -> &'static str {
        // SAFETY: the parts of a `&'static str`.
        unsafe { core::str::from_utf8_unchecked(core::slice::from_raw_parts(self.name, self.name_len)) }
    }

    /// Whether it is run only if it is asked for.
    pub fn is_ignored(&self) -> bool {
        self.version_and_flags & IGNORED != 0
    }

    /// Whether it passes if it panics.
    pub fn should_panic(&self) -> bool {
        self.version_and_flags & SHOULD_PANIC != 0
    }

    /// What the message of its panic should contain.
    pub fn expected_message(&self) -> Option<&'static str> {
        if self.expected.is_null() {
            return None;
        }
        // SAFETY: the parts of a `&'static str`.
        Some(unsafe {
            core::str::from_utf8_unchecked(core::slice::from_raw_parts(self.expected, self.expected_len))
        })
    }
}

/// What follows the first `::`.
const fn without_crate(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let mut at = 0;
    while at + 2 < bytes.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "the condition above; iterators are not for constants yet"
        )]
        if bytes[at] == b':' && bytes[at + 1] == b':' {
            return path.split_at(at + 2).1;
        }
        at += 1;
    }
    path
}

/// The test that is running.
static RUNNING: AtomicPtr<Test> = AtomicPtr::new(core::ptr::null_mut());

/// The test that is running, if one is.
pub fn running() -> Option<&'static Test> {
    // SAFETY: null, or one of `all`.
    unsafe { RUNNING.load(Relaxed).as_ref() }
}

/// All tests of the program.
#[cfg(target_os = "none")]
pub fn all() -> &'static [Test] {
    unsafe extern "C" {
        /// `start.s`: the section's first byte and the one behind its last.
        safe static strata_tests_bounds: [usize; 2];
    }
    let [start, end] = strata_tests_bounds;
    let count = (end - start) / size_of::<Test>();
    if count == 0 {
        return &[];
    }
    // SAFETY: the linker has put the records one behind the other.
    unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start), count) }
}

/// A program of an operating system has tests of its own.
#[cfg(not(target_os = "none"))]
pub fn all() -> &'static [Test] {
    &[]
}

/// Runs what the command line asks for, and ends the machine with the verdict. [`test_main!`](crate::test_main) calls it.
pub fn main() -> ! {
    let tests = all();
    match machine::argument("test") {
        Some(which) => match chosen(tests, which) {
            Some(test) => run(test),
            None => println!("there is no test {which:?} among the {} of this program", tests.len()),
        },
        None => run_all(tests),
    }
    exit(Verdict::Failure)
}

/// A test by its number or its name.
fn chosen<'a>(tests: &'a [Test], which: &str) -> Option<&'a Test> {
    match which.parse::<usize>() {
        Ok(number) => tests.get(number),
        Err(_) => tests.iter().find(|test| test.name() == which),
    }
}

/// Runs one test; returns if it did not panic but should have.
fn run(test: &'static Test) {
    RUNNING.store(core::ptr::from_ref(test).cast_mut(), Relaxed);
    (test.run)();
    if !test.should_panic() {
        exit(Verdict::Success);
    }
    println!("note: test did not panic as expected");
}

/// Runs all tests, for whoever has no `strata-test`. A panic ends the machine: those that should panic are left out.
fn run_all(tests: &'static [Test]) {
    println!("running {} tests", tests.len());
    for test in tests {
        if test.is_ignored() || test.should_panic() {
            println!("test {} ... ignored", test.name());
            continue;
        }
        crate::print!("test {} ... ", test.name());
        RUNNING.store(core::ptr::from_ref(test).cast_mut(), Relaxed);
        (test.run)();
        println!("ok");
    }
    exit(Verdict::Success);
}

/// Makes a program of `main`: a function without arguments. When it returns, the machine ends with
/// [`Verdict::Success`](crate::Verdict::Success).
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        const _: () = {
            #[cfg_attr(target_os = "none", unsafe(export_name = "strata_guest_main"))]
            #[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "a system has its own entry"))]
            fn strata_guest_main() -> ! {
                #[allow(unreachable_code, reason = "`main` may be one that never returns")]
                {
                    $main();
                    $crate::exit($crate::Verdict::Success)
                }
            }
        };
    };
}

/// Makes a program of the [`tests!`](crate::tests) in it: once in each.
#[macro_export]
macro_rules! test_main {
    () => {
        $crate::entry!($crate::test::main);

        const _: () = {
            // The section is there without tests too: else the runner would take the program for one test.
            #[used]
            #[cfg_attr(target_os = "none", unsafe(link_section = "strata_tests"))]
            static NO_TEST: [$crate::test::Test; 0] = [];
        };
    };
}

/// Declares tests.
///
/// They are functions without arguments, and may have the attributes that Rust's own tests have: `#[should_panic]`, with
/// `expected` too, `#[ignore]`, `#[cfg(..)]`. It may be used in several modules of a program.
///
/// ```
/// strata_guest::tests! {
///     fn two_and_two_are_four() {
///         assert_eq!(2 + 2, 4);
///     }
///
///     #[should_panic(expected = "overflow")]
///     fn too_much() {
///         let zero: u8 = "0".parse().unwrap();
///         let _ = zero - 1;
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! tests {
    ($($(#[$($attribute:tt)*])* fn $name:ident() $body:block)*) => {
        $($crate::__test!([$([$($attribute)*])*] [] [] fn $name() $body);)*
    };
}

/// One attribute after the other: those of tests become calls, in the second brackets; the others stay, in the third.
#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ([[should_panic] $($rest:tt)*] [$($calls:tt)*] $kept:tt $($function:tt)*) => {
        $crate::__test!([$($rest)*] [$($calls)* .panics("")] $kept $($function)*);
    };
    ([[should_panic = $message:literal] $($rest:tt)*] [$($calls:tt)*] $kept:tt $($function:tt)*) => {
        $crate::__test!([$($rest)*] [$($calls)* .panics($message)] $kept $($function)*);
    };
    ([[should_panic(expected = $message:literal $(,)?)] $($rest:tt)*] [$($calls:tt)*] $kept:tt $($function:tt)*) => {
        $crate::__test!([$($rest)*] [$($calls)* .panics($message)] $kept $($function)*);
    };
    ([[ignore $(= $why:literal)?] $($rest:tt)*] [$($calls:tt)*] $kept:tt $($function:tt)*) => {
        $crate::__test!([$($rest)*] [$($calls)* .ignored()] $kept $($function)*);
    };
    // Out of habit.
    ([[test] $($rest:tt)*] $calls:tt $kept:tt $($function:tt)*) => {
        $crate::__test!([$($rest)*] $calls $kept $($function)*);
    };
    ([[$($other:tt)*] $($rest:tt)*] $calls:tt [$($kept:tt)*] $($function:tt)*) => {
        $crate::__test!([$($rest)*] $calls [$($kept)* #[$($other)*]] $($function)*);
    };
    ([] [$($calls:tt)*] [$($kept:tt)*] fn $name:ident() $body:block) => {
        $($kept)*
        fn $name() $body

        #[allow(unused_doc_comments)]
        $($kept)*
        const _: () = {
            #[used]
            #[cfg_attr(target_os = "none", unsafe(link_section = "strata_tests"))]
            static TEST: $crate::test::Test =
                $crate::test::Test::new(concat!(module_path!(), "::", stringify!($name)), $name)$($calls)*;
        };
    };
}

#[cfg(test)]
#[path = "test_test.rs"]
mod tests;

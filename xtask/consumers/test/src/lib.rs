//! For a runner of one's own: `strata-test` as a library.

use std::io::Write;
use std::path::Path;

use clap::Parser as _;
use strata_test::cli::{Harness, Options};
use strata_test::image::Image;
use strata_test::interrupt::Interrupt;
use strata_test::report::Style;
use strata_test::settings::Settings;
use strata_test::suite::run_suite;

/// Runs a kernel's tests, with five seconds for each; says how many have failed.
pub fn run(kernel: &Path, out: &mut dyn Write) -> Result<usize, Box<dyn std::error::Error>> {
    let options =
        Options::try_parse_from(["strata-test".as_ref(), "--timeout=5s".as_ref(), kernel.as_os_str()])?;
    let image = Image::read(options.program())?;
    let settings = Settings::new(&options, None)?;
    let counts =
        run_suite(&image, &settings, &Harness::default(), Style::default(), (&Interrupt::new(), out))?;
    Ok(counts.failed)
}

#[cfg(test)]
mod tests {
    use strata_test::expect::Expect;

    use super::*;

    #[test]
    fn what_is_no_file_is_an_error_that_names_it() {
        let error = run(Path::new("/nowhere/kernel"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/kernel"), "{error}");
    }

    #[test]
    fn a_line_can_be_expected() {
        let expect = Expect::new("^tick [2-9]$").unwrap();
        assert!(expect.is_in(b"tick 2") && !expect.is_in(b"tick 1"));
    }
}

//! `docs/performance.md`: written from the figures, and read again to compare with them.

use std::fmt::Write as _;

use super::figures::{FIGURES, Values};

/// Where a measurement was made, as the document says.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    pub(super) date: String,
    pub(super) command: String,
    pub(super) host: String,
    pub(super) qemu: String,
    pub(super) l1: String,
}

const BEGIN: &str = "<!-- measured, for `cargo xtask bench --check`\n";
const END: &str = "-->\n";
/// What follows it in the document is left as it is.
const BY_HAND: &str = "<!-- written by hand from here on -->\n";

const HEAD: &str = "\
# Performance

`cargo xtask bench` writes this page, except for the remarks at its end. Nothing here is a timed test.

Times are virtual: they are measured in the rig (`cargo xtask rig --icount`), an emulated host whose clock counts
instructions, 1 ns each. They repeat to 0.01 % on any computer, and are blind to caches and TLBs. A *floor* is a
program of raw system calls that does the same for the same guest (`crates/vmm/benches`, `crates/cpu/benches`),
measured in the same boot.
";

/// The whole page. What `old` has after the mark is kept.
pub(super) fn write(values: &Values, at: &Circumstances, old: &str) -> String {
    let Circumstances { date, command, host, qemu, l1 } = at;
    let mut text = format!(
        "{HEAD}\n- Date: {date}\n- Command: `{command}`\n- Host: {host}\n- Emulator: {qemu}\n- Kernel in the rig: {l1}\n\n"
    );
    text.push_str("| figure | limit | measured | |\n| --- | --- | --- | --- |\n");
    for figure in FIGURES {
        let row = figure.row(values);
        let met = match row.is_met {
            Some(true) => "ok",
            Some(false) => "**not met**",
            None => "not measured",
        };
        let _ = writeln!(text, "| {} | {} | {} | {met} |", row.what, row.limit, row.measured);
    }
    text.push('\n');
    text.push_str(BEGIN);
    for (name, value) in values {
        let _ = writeln!(text, "{name} = {value}");
    }
    text.push_str(END);
    text.push('\n');
    text.push_str(BY_HAND);
    text.push_str(old.split_once(BY_HAND).map_or("", |(_, kept)| kept));
    text
}

/// The values that a page records; None if it records none.
pub(super) fn read(page: &str) -> Option<Values> {
    let (_, rest) = page.split_once(BEGIN)?;
    let (lines, _) = rest.split_once(END)?;
    lines
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(" = ")?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_remarks_stay() {
        let values: Values =
            [("exit.pio.floor".to_owned(), 3021.5), ("calls.strata".to_owned(), 44.0)].into();
        let first = write(&values, &Circumstances::default(), "");
        let second = write(&values, &Circumstances::default(), &(first + "\nA remark.\n"));
        assert_eq!(read(&second), Some(values));
        assert!(second.ends_with("here on -->\n\nA remark.\n"), "{second}");
        assert_eq!(read("# Performance\n"), None);
    }
}

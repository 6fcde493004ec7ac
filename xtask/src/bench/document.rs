//! `docs/performance.md`: written from the figures, and read again to compare with them.

use std::fmt::{self, Write as _};

use super::figures::{FIGURES, Figure, LINUX, OF_LINUX, OF_VIRTIO, Row, VIRTIO, Values};

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

const LINUX_TITLE: &str = "## Linux\n";
const LINUX_HEAD: &str = "
`cargo xtask bench linux` writes this part. Each VMM is given the same work: Debian's cloud kernel 6.1, one vCPU, 256 MiB,
an initramfs with one static program of under 1 kB that prints a line and restarts the machine, and the command line
`console=ttyS0 reboot=k panic=1 quiet nokaslr` with what the VMM itself needs besides. The emulated host has 2 GiB, one
CPU and no randomised addresses; standard input and output are a pseudo-terminal. Times are the median of three boots
after one that warms caches. Page faults are those that KVM takes to fill in its page tables.
";

const VIRTIO_TITLE: &str = "## Virtio devices\n";
const VIRTIO_HEAD: &str = "
`cargo xtask bench virtio` writes this part. Round trips are made by one program without a guest
(`crates/backends/benches/virtio`): its main thread fills a ring, rings the doorbell's eventfd and waits for the
interrupt's, one request at a time; the other side is Strata's device with its worker on a thread, or a floor: a thread
that takes the request by raw pointers, moves the bytes with one system call and signals. The file is in the page cache.
Both sides' round trips have the driver's own calls in them. Exits are those of a Linux guest whose reads are 32 at a
time, page faults not among them; a device's memory is what a machine with an idle Linux guest has more with it, the
program's own pages included.
";

/// What is measured anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Rest,
    Linux,
    Virtio,
}

impl Part {
    /// The part that a value belongs to.
    pub(super) fn of(name: &str) -> Self {
        if name.starts_with(OF_LINUX) {
            Self::Linux
        } else if OF_VIRTIO.iter().any(|prefix| name.starts_with(prefix)) {
            Self::Virtio
        } else {
            Self::Rest
        }
    }
}

/// The parts of a page up to its recorded values, in their order.
fn parts(page: &str) -> [&str; 3] {
    let generated = page.split_once(BEGIN).map_or("", |(generated, _)| generated);
    let cut = |text: &'_ str, title| text.find(title).unwrap_or(text.len());
    let (rest, virtio) = generated.split_at(cut(generated, VIRTIO_TITLE));
    let (rest, linux) = rest.split_at(cut(rest, LINUX_TITLE));
    [rest, linux, virtio]
}

fn table(text: &mut String, figures: &[Figure], values: &Values) {
    text.push_str("| figure | limit | measured | |\n| --- | --- | --- | --- |\n");
    for figure in figures {
        let row = figure.row(values);
        let _ = writeln!(text, "| {} | {} | {} | {} |", row.what, row.limit, row.measured, verdict(&row));
    }
    text.push('\n');
}

/// The whole page: `part` is new, the others and what follows the last mark are kept from `old`.
pub(super) fn write(values: &Values, part: Part, at: &Circumstances, old: &str) -> String {
    let [rest, linux, virtio] = parts(old);
    let mut text = String::new();
    if part == Part::Rest || rest.is_empty() {
        text.push_str(HEAD);
        text.push_str(&at.to_string());
        table(&mut text, FIGURES, values);
    } else {
        text.push_str(rest);
    }
    if part == Part::Linux {
        text.push_str(LINUX_TITLE);
        text.push_str(LINUX_HEAD);
        text.push_str(&at.to_string());
        text.push_str("| figure | peers | limit | measured | |\n| --- | --- | --- | --- | --- |\n");
        for (figure, peers) in LINUX {
            let row = figure.row(values);
            let met = verdict(&row);
            let _ = writeln!(text, "| {} | {peers} | {} | {} | {met} |", row.what, row.limit, row.measured);
        }
        text.push('\n');
    } else {
        text.push_str(linux);
    }
    if part == Part::Virtio {
        text.push_str(VIRTIO_TITLE);
        text.push_str(VIRTIO_HEAD);
        text.push_str(&at.to_string());
        table(&mut text, VIRTIO, values);
    } else {
        text.push_str(virtio);
    }
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

fn verdict(row: &Row) -> &'static str {
    match row.is_met {
        Some(true) => "ok",
        Some(false) => "**not met**",
        None => "not measured",
    }
}

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, command, host, qemu, l1 } = self;
        write!(
            f,
            "\n- Date: {date}\n- Command: `{command}`\n- Host: {host}\n- Emulator: {qemu}\n- Kernel in the rig: {l1}\n\n"
        )
    }
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
        let at = |date: &str| Circumstances { date: date.into(), ..Circumstances::default() };
        let first = write(&values, Part::Rest, &at("first"), "");
        let virtio = write(&values, Part::Virtio, &at("virtio"), &(first + "\nA remark.\n"));
        let linux = write(&values, Part::Linux, &at("linux"), &virtio);
        let second = write(&values, Part::Rest, &at("second"), &linux);
        assert_eq!(read(&second), Some(values));
        let has = |date: &str| second.contains(&format!("- Date: {date}\n"));
        assert!(!has("first") && has("linux") && has("virtio") && has("second"), "{second}");
        assert_eq!((second.matches(LINUX_TITLE).count(), second.matches(VIRTIO_TITLE).count()), (1, 1));
        assert!(second.ends_with("here on -->\n\nA remark.\n"), "{second}");
        assert_eq!(read("# Performance\n"), None);
    }
}

//! Compilers other than the one that runs us, as rustup has them.

use std::process::Command;

use crate::process::capture;

/// A toolchain that rustup has installed.
#[derive(Debug)]
pub(super) struct Toolchain(String);

impl Toolchain {
    /// The installed toolchain of this name: a version such as `1.88`, or a channel. None without rustup, too.
    pub(super) fn find(name: &str) -> Option<Self> {
        let mut list = Command::new("rustup");
        list.args(["toolchain", "list"]);
        let done = capture(list).ok().filter(|done| done.status.success())?;
        pick(&done.output, name).map(|toolchain| Self(toolchain.to_owned()))
    }

    /// A command of this toolchain.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", &self.0, program]);
        // The toolchain that runs us must not shine through.
        command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTDOC");
        command
    }
}

/// Picks from the lines of `rustup toolchain list`, such as `1.88.0-x86_64-unknown-linux-gnu (default)`.
fn pick<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let of_line = |line: &'a str| line.split_whitespace().next();
    let fits =
        |toolchain: &&str| toolchain.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-']));
    list.lines().filter_map(of_line).find(fits)
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn a_version_is_any_of_its_patches_and_nothing_else() {
        let list = "stable-x86_64 (active, default)\n1.8.0-x86_64\n1.88.1-x86_64\nnightly-x86_64\n";
        assert_eq!(pick(list, "1.88"), Some("1.88.1-x86_64"));
        assert_eq!(pick(list, "nightly"), Some("nightly-x86_64"));
        assert_eq!(pick(list, "1.9"), None);
        assert_eq!(pick("1.88-x86_64", "1.88"), Some("1.88-x86_64"));
        assert_eq!(pick("no installed toolchains", "1.88"), None);
    }
}

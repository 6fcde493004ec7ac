//! The notation of exits, as strata reports them and as headers expect them: a line an exit, with two shorthands.
//!
//! - `3 * hlt` stands for three times `hlt`, `vcpu1: 3 * hlt` for three times `vcpu1: hlt`;
//! - `out 0x3f8/1 <- "Hi\n"` for an exit per byte of the text: `out 0x3f8/1 <- 48` and so on. Escapes are JSON's.

/// How often in a row, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) count: u64,
    pub(crate) exit: String,
}

/// The exits that `lines` stand for, as the longest possible runs: two lists of lines mean the same exactly if their
/// runs are equal.
pub(crate) fn runs(lines: &[String]) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for line in lines {
        let (vcpu, line) = split_vcpu(line);
        let repeated = line.split_once(" * ").and_then(|(count, exit)| Some((count.parse().ok()?, exit)));
        let (count, exit) = repeated.unwrap_or((1, line));
        match bytewise(exit) {
            None => push(&mut all, count, format!("{vcpu}{exit}")),
            Some(exits) => {
                for exit in (0..count).flat_map(|_| exits.clone()) {
                    push(&mut all, 1, format!("{vcpu}{exit}"));
                }
            }
        }
    }
    all
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (vcpu, exit) = split_vcpu(&self.exit);
        if self.count == 1 { f.write_str(&self.exit) } else { write!(f, "{vcpu}{} * {exit}", self.count) }
    }
}

/// The name of the vCPU that goes before everything, with its colon; the first one has none.
fn split_vcpu(line: &str) -> (&str, &str) {
    line.split_at(line.find(": ").filter(|_| line.starts_with("vcpu")).map_or(0, |at| at + 2))
}

fn push(all: &mut Vec<Run>, count: u64, exit: String) {
    match all.last_mut() {
        Some(last) if last.exit == exit => last.count = last.count.saturating_add(count),
        _ if count == 0 => {}
        _ => all.push(Run { count, exit }),
    }
}

/// The exits that one with a text stands for.
fn bytewise(exit: &str) -> Option<Vec<String>> {
    let at = exit.find('"')?;
    let (access, text) = exit.split_at(at);
    let text: String = serde_json::from_str(text).ok()?;
    Some(text.bytes().map(|byte| format!("{access}{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::runs;

    fn means(lines: &[&str]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        runs(&lines).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_neighbours_are_one_run_however_they_are_written() {
        assert_eq!(means(&["hlt", "hlt", "out 0x80/1 <- 00", "hlt"]), ["2 * hlt", "out 0x80/1 <- 00", "hlt"]);
        assert_eq!(means(&["2 * hlt", "0 * shutdown", "hlt"]), ["3 * hlt"]);
        assert_eq!(means(&["1000000000000 * hlt"]), ["1000000000000 * hlt"]);
    }

    #[test]
    fn a_text_is_an_exit_per_byte() {
        assert_eq!(
            means(&[r#"out 0x3f8/1 <- "Hi\n""#]),
            ["48", "69", "0a"].map(|byte| format!("out 0x3f8/1 <- {byte}"))
        );
        assert_eq!(
            means(&[r#"vcpu1: in 0x3f8/1 -> "aab""#]),
            ["vcpu1: 2 * in 0x3f8/1 -> 61", "vcpu1: in 0x3f8/1 -> 62"]
        );
        assert_eq!(means(&[r#"2 * out 0x80/1 <- "\"""#]), ["2 * out 0x80/1 <- 22"]);
    }

    #[test]
    fn what_is_no_shorthand_stays_as_it_is() {
        assert_eq!(means(&["a * b", "2 * x * y", "out \"open"]), ["a * b", "2 * x * y", "out \"open"]);
    }
}

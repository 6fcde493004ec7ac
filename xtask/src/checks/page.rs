//! The page that shows what its own commands print (docs/inspection.md): they are run again, and have to print it.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use super::{Context, Report};
use crate::host::Host;
use crate::process::capture;
use crate::tally::Tally;

const PAGE: &str = "docs/inspection.md";
/// What the commands work on, and where the pictures are that they made.
const FOLDER: &str = "docs/inspection";
const SOURCE: &str = "kernel.asm";

pub(super) fn check(context: &Context, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let root = &context.workspace.root;
    if let Err(why) = Host::detect(Path::new("/sys"), Path::new("/dev")).kvm {
        report.tally += Tally::SKIPPED;
        report.notes.push(format!("not run: the commands of {PAGE}: {why}"));
        return Ok(());
    }
    let strata = context.workspace.build_strata()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = strata.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(folders)?;
    let scratch = context.workspace.target.join("inspection");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    fs::copy(root.join(FOLDER).join(SOURCE), scratch.join(SOURCE))?;
    for Block { line, script, shown } in blocks(&fs::read_to_string(root.join(PAGE))?) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(&scratch).env("PATH", &path);
        let done = capture(shell)?;
        // The shell's word for a program that is not there.
        if done.status.code() == Some(127) {
            report.tally += Tally::SKIPPED;
            report.notes.push(format!("not run: {PAGE}:{line}: {}", done.output.trim()));
            continue;
        }
        let (said, shown) = (masked(&done.output), shown.map(|text| masked(&text)));
        report.add(match shown {
            Some(shown) if shown != said => Err(format!("{PAGE}:{line}: now it prints\n{}", done.output)),
            _ => Ok(()),
        });
    }
    for entry in fs::read_dir(root.join(FOLDER))? {
        let (old, name) = (entry.as_ref().map_err(ToString::to_string)?.path(), entry?.file_name());
        if old.extension().is_some_and(|ending| ending == "svg") {
            let new = fs::read_to_string(scratch.join(&name)).unwrap_or_default();
            let same = drawn(&fs::read_to_string(&old)?) == drawn(&new);
            let why = format!("{FOLDER}/{} is not what the commands of {PAGE} draw", name.display());
            report.add(if same { Ok(()) } else { Err(why) });
        }
    }
    Ok(())
}

/// Commands, and what the page shows of their output, if anything.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    script: String,
    shown: Option<String>,
}

/// The blocks of `sh`, each with the block of `text` that follows it.
fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut fence: Option<(usize, &str, String)> = None;
    for (index, line) in page.lines().enumerate() {
        match (&mut fence, line.strip_prefix("```")) {
            (None, Some(language)) => fence = Some((index + 1, language, String::new())),
            (None, None) => {}
            (Some((.., text)), None) => text.extend([line, "\n"]),
            (Some(_), Some(_)) => match fence.take() {
                Some((line, "sh", script)) => found.push(Block { line, script, shown: None }),
                Some((.., "text", text)) => {
                    if let Some(last) = found.last_mut() {
                        last.shown = Some(text);
                    }
                }
                _ => {}
            },
        }
    }
    found
}

/// Output without what no run repeats: times, and what a shutdown leaves of the registers, which is up to the host.
fn masked(output: &str) -> Vec<String> {
    output.lines().map(masked_line).filter(|line| !line.is_empty()).collect()
}

fn masked_line(line: &str) -> String {
    // RFLAGS.RF and CR2: a host that keeps nothing of a dead processor shows what they were before the fault, another after it.
    if line.contains("  cr2 ") {
        return "rip, cr2, cr3, rflags".into();
    }
    if line.contains("shutdown") {
        return "shutdown".into();
    }
    // JSON's times.
    let mut words: Vec<String> = line.split("_ns\":").map(str::to_owned).collect();
    for word in words.iter_mut().skip(1) {
        *word = word.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    }
    let line = words.join("_ns\":");
    let is_time = |word: &&str| word.contains('.') && word.parse::<f64>().is_ok();
    let words = line.split_whitespace().map(|word| if is_time(&word) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// What a picture shows. The colours of a flame graph are drawn by lot, and where the last exit comes from is up to the host:
/// of one, its topmost frames with names of devices.
fn drawn(svg: &str) -> String {
    let titles: Vec<&str> =
        svg.split("<title>").skip(1).filter_map(|rest| rest.split("</title>").next()).collect();
    let of_devices = |title: &&&str| title.starts_with("[in ") || title.starts_with("[out ");
    let leaves: Vec<&str> = titles.iter().filter(of_devices).copied().collect();
    if leaves.is_empty() { svg.to_owned() } else { leaves.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_belongs_to_the_commands_above_it() {
        let page =
            "```text\nnobody's\n```\n```sh\na\nb\n```\n```toml\nc\n```\n```text\nd\n```\n```sh\ne\n```\n";
        let block = |line, script: &str, shown: Option<&str>| Block {
            line,
            script: script.into(),
            shown: shown.map(Into::into),
        };
        assert_eq!(blocks(page), [block(4, "a\nb\n", Some("d\n")), block(14, "e\n", None)]);
    }

    #[test]
    fn times_are_masked_and_nothing_else() {
        assert_eq!(masked("  0.007 0 12.5  putc+0xb in 0x3fd\n\n"), ["# 0 # putc+0xb in 0x3fd"]);
        assert_eq!(
            masked("{\"time_ns\":12,\"host_ns\":3,\"line\":4}"),
            ["{\"time_ns\":,\"host_ns\":,\"line\":4}"]
        );
        assert_eq!(masked("0xfff0 shutdown rax=0x0"), masked("clear+0x10 shutdown"));
        assert_ne!(masked("#PF at 0x10"), masked("#PF at 0x11"));
    }

    #[test]
    fn pictures_are_compared_by_what_they_show() {
        let graph = |colour, exits| {
            format!("<g fill={colour}><title>[in com1] ({exits})</title><title>main</title></g>")
        };
        assert_eq!(drawn(&graph("red", 3)), drawn(&graph("blue", 3)));
        assert_ne!(drawn(&graph("red", 3)), drawn(&graph("red", 4)));
        assert_ne!(drawn("<svg>1</svg>"), drawn("<svg>2</svg>"));
    }
}

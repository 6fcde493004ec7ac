//! The tables of guests/README.md say what the guests' headers say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Finding;
use crate::guest::{BROKEN, Guest, Header};
use crate::process::chain;

pub(crate) fn check(folder: &Path) -> Vec<Finding> {
    let page = folder.join("README.md");
    let mut found = Vec::new();
    let guests = match Guest::all(folder) {
        Ok(guests) => guests,
        Err(error) => return vec![Finding::new(folder, None, chain(&error))],
    };
    let mut missing: BTreeMap<_, _> = guests.into_iter().map(|it| (it.name.clone(), cells(it))).collect();
    for (index, line) in fs::read_to_string(&page).unwrap_or_default().lines().enumerate() {
        let Some((name, about)) = row(line) else { continue };
        let message = match missing.remove(name) {
            Some(own) if own == about => continue,
            Some(own) => format!("of `{name}` its header says: {own}"),
            None => format!("`{name}` is no guest, or listed above already"),
        };
        found.push(Finding::new(&page, Some(index + 1), message));
    }
    found.extend(
        missing.keys().map(|name| Finding::new(&page, None, format!("does not list the guest `{name}`"))),
    );
    found
}

/// What a guest's row says of it: what must be seen; of a broken one its mistake, and the first sentence that must be said
/// of it.
fn cells(guest: Guest) -> String {
    let Header { about, expect, .. } = guest.header;
    match expect.explain.unwrap_or_default().first() {
        Some(sentence) if guest.name.starts_with(BROKEN) => format!("{about} | `{sentence}`"),
        _ => about,
    }
}

/// Reads a row ``| [`name`](name.asm) | what must be seen |``, or, of a broken one, ``| .. | mistake | `sentence` |``.
fn row(line: &str) -> Option<(&str, &str)> {
    let (link, about) = line.strip_prefix("| [`")?.strip_suffix(" |")?.split_once(" | ")?;
    let (name, file) = link.strip_suffix(".asm)")?.split_once("`](")?;
    (name == file).then_some((name, about))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    const TABLE: &str = "| guest | what must be seen |\n| --- | --- |\n";

    fn found(rows: &str) -> Vec<String> {
        let folder = Folder::new();
        for name in ["one", "two"] {
            let header = format!("; ---\n; about = \"shows {name}\"\n; [expect]\n; stop = \"halted\"\n");
            folder.file(&format!("{name}.asm"), &format!("{header}; exits = []\n; ---\n"));
        }
        folder.file("README.md", &format!("{TABLE}{rows}"));
        let root = format!("{}/", folder.path().display());
        check(folder.path()).iter().map(|finding| finding.to_string().replace(&root, "")).collect()
    }

    const ONE: &str = "| [`one`](one.asm) | shows one |\n";

    #[test]
    fn a_table_of_all_guests_is_right_in_any_order_and_in_parts() {
        assert_eq!(found(&format!("| [`two`](two.asm) | shows two |\n\n## More\n\n{TABLE}{ONE}")), [""; 0]);
    }

    #[test]
    fn what_differs_is_found() {
        let two = |rest: &str| found(&format!("{ONE}| [`two`]{rest} |\n"));
        assert_eq!(two("(two.asm) | shows 2"), ["README.md:4: of `two` its header says: shows two"]);
        assert_eq!(two("(one.asm) | shows two"), ["README.md: does not list the guest `two`"]);
        let twice = found(&format!("{ONE}{ONE}| [`two`](two.asm) | shows two |"));
        assert_eq!(twice, ["README.md:4: `one` is no guest, or listed above already"]);
        let unknown = found(&format!("{ONE}| [`two`](two.asm) | shows two |\n| [`six`](six.asm) | - |"));
        assert_eq!(unknown, ["README.md:5: `six` is no guest, or listed above already"]);
    }

    #[test]
    fn a_broken_guest_comes_with_its_sentence() {
        let folder = Folder::new();
        let header = "; ---\n; about = \"jumps\"\n; [expect]\n; stop = \"halted\"\n; exits = []\n";
        folder.file("broken/one.asm", &format!("{header}; explain = [\"#PF at 0x1\", \"more\"]\n; ---\n"));
        let found = |row: &str| {
            folder.file("README.md", &format!("{TABLE}{row}\n"));
            check(folder.path()).len()
        };
        assert_eq!(found("| [`broken/one`](broken/one.asm) | jumps | `#PF at 0x1` |"), 0);
        assert_eq!(found("| [`broken/one`](broken/one.asm) | jumps | `#UD at 0x1` |"), 1);
        assert_eq!(found("| [`broken/one`](broken/one.asm) | jumps |"), 1);
    }

    #[test]
    fn a_page_that_is_not_there_lists_nothing() {
        let folder = Folder::new();
        folder.file(
            "one.asm",
            "; ---\n; about = \"a\"\n; [expect]\n; stop = \"halted\"\n; exits = []\n; ---\n",
        );
        assert_eq!(check(folder.path()).len(), 1);
    }
}

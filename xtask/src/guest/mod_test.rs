use super::*;
use crate::testing::Folder;

const HEADER: &str = "; ---\n; about = \"a\"\n; [expect]\n; stop = \"halted\"\n; exits = [\"hlt\"]\n; ---\n";

fn guests(names: &[&str]) -> Folder {
    let folder = Folder::new();
    for name in names {
        folder.file(&format!("{name}.asm"), HEADER);
    }
    folder.file("include/serial.asm", "no header: this is no guest");
    folder.file("notes.txt", "nor is this");
    folder
}

#[test]
fn all_guests_are_found_by_name_and_nothing_else() {
    let folder = guests(&["sum", "hello", "nx"]);
    let names: Vec<String> = Guest::all(folder.path()).unwrap().into_iter().map(|guest| guest.name).collect();
    assert_eq!(names, ["hello", "nx", "sum"]);
}

#[test]
fn broken_guests_come_last_and_are_named_with_their_folder() {
    let folder = guests(&["sum", "broken/null", "broken/loop"]);
    let names: Vec<String> = Guest::all(folder.path()).unwrap().into_iter().map(|guest| guest.name).collect();
    assert_eq!(names, ["sum", "broken/loop", "broken/null"]);
    assert_eq!(Guest::named(folder.path(), "broken/null").unwrap().name, "broken/null");
    let error = Guest::named(folder.path(), "null").unwrap_err().to_string();
    assert!(error.contains("did you mean broken/null?"), "{error}");
}

#[test]
fn a_guest_is_named_by_its_name_or_by_a_path() {
    let folder = guests(&["hello"]);
    assert_eq!(Guest::named(folder.path(), "hello").unwrap().name, "hello");
    let elsewhere = folder.path().join("hello.asm");
    let by_path = Guest::named(Path::new("/nowhere"), elsewhere.to_str().unwrap()).unwrap();
    assert_eq!(by_path.name, "hello");
}

#[test]
fn an_unknown_name_is_an_error_with_near_ones() {
    let folder = guests(&["hello", "triple-fault", "long-mode-2m"]);
    let error = |word| Guest::named(folder.path(), word).unwrap_err().to_string();
    assert!(error("helo").contains("did you mean hello?"), "{}", error("helo"));
    assert!(error("fault").contains("did you mean triple-fault?"), "{}", error("fault"));
    assert!(!error("qqqqq").contains("did you mean"), "{}", error("qqqqq"));
    assert!(error("qqqqq").contains("--list"), "{}", error("qqqqq"));
}

#[test]
fn a_bad_header_is_an_error_with_file_and_line() {
    let folder = guests(&[]);
    let path = folder.file("bad.asm", &HEADER.replace("; [expect]", "; colour = 1\n; [expect]"));
    let error = Guest::all(folder.path()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:3: ", path.display())) && error.contains("colour"), "{error}");
}

#[test]
fn edit_distance() {
    for (a, b, distance) in
        [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "ac", 1), ("", "xy", 2)]
    {
        assert_eq!((edits(a, b), edits(b, a)), (distance, distance), "{a} {b}");
    }
}

use super::*;
use crate::testing::Folder;

fn file(content: &str) -> Member {
    Member::File { executable: false, content: content.into() }
}

#[test]
fn what_comes_back_is_written_below_the_folder() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let program = Member::File { executable: true, content: Vec::new() };
    let members = [
        (".", Member::Folder),
        ("a", Member::Folder),
        ("a/b", file("x")),
        ("../../up", file("y")),
        ("p", program),
    ];
    extract(members.map(|(name, member)| (name.into(), member)).into(), &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("a/b")).unwrap(), "x");
    assert_eq!(fs::read_to_string(out.join("up")).unwrap(), "y");
    let mode = |name| fs::metadata(out.join(name)).unwrap().permissions().mode();
    assert_eq!((mode("p") & 0o100, mode("a/b") & 0o111), (0o100, 0));
}

#[test]
fn nothing_is_written_through_a_link() {
    let folder = Folder::new();
    let (out, safe) = (folder.path().join("out"), folder.file("safe", "untouched"));
    let members = [("l", Member::Link(safe.clone())), ("l", file("new"))];
    extract(members.clone().map(|(name, member)| (name.into(), member)).into(), &out).unwrap();
    // Nor through one that an earlier run left.
    extract([("l".into(), file("new"))].into(), &out).unwrap();
    assert_eq!(fs::read_to_string(safe).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(out.join("l")).unwrap(), "new");
}

#[test]
fn the_first_two_blobs_are_the_streams() {
    let blobs = vec![Some(b"o".to_vec()), Some(b"e".to_vec()), None, Some(b"f".to_vec())];
    let finished = Finished::from(Ended { code: 1, time: Duration::ZERO, blobs });
    assert_eq!((finished.output, finished.error), (b"o".to_vec(), b"e".to_vec()));
    assert_eq!(finished.files, [None, Some(b"f".to_vec())]);
}

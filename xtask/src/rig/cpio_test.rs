use std::process::{Command, Stdio};

use super::*;

fn file(content: &[u8]) -> Member {
    Member::File { executable: false, content: content.to_vec() }
}

fn archive(members: &[(&str, Member)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, member) in members {
        writer.add(Path::new(name), member).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_member_is_laid_out_as_the_kernel_documents() {
    let bytes = archive(&[("/a/b", file(b"hello"))]);
    let header = "070701\
        00000001000081a40000000000000000\
        0000000100000000000000050000000000000000\
        000000000000000000000004\
        00000000";
    assert_eq!(bytes[..HEADER], *header.as_bytes());
    // 110 bytes of header and 4 of name, two of padding; then 5 of content and three of padding.
    assert_eq!(bytes[HEADER..HEADER + 14], *b"a/b\0\0\0hello\0\0\0");
    let trailer = &bytes[HEADER + 14..];
    assert!(trailer.starts_with(MAGIC) && trailer[HEADER..].starts_with(b"TRAILER!!!\0"));
    assert_eq!(bytes.len() % 4, 0);
}

#[test]
fn every_length_of_name_and_content_comes_back() {
    for name in ["a", "ab", "abc", "abcd", "abcde"] {
        for length in 0..5 {
            let members = [(name, file(&vec![7; length])), ("z", Member::Link("/else".into()))];
            let read = read(&mut archive(&members).as_slice()).unwrap();
            assert_eq!(read, members.map(|(name, member)| (PathBuf::from(name), member)));
        }
    }
}

#[test]
fn executables_and_folders_come_back() {
    let members = [("d", Member::Folder), ("d/x", Member::File { executable: true, content: b"x".to_vec() })];
    let read = read(&mut archive(&members).as_slice()).unwrap();
    assert_eq!(read, members.map(|(name, member)| (PathBuf::from(name), member)));
}

#[test]
fn a_damaged_archive_is_an_error() {
    let good = archive(&[("a", file(b"hello"))]);
    for length in 0..good.len() {
        assert!(read(&mut &good[..length]).is_err(), "cut to {length}");
    }
    for at in [0, 54, 94] {
        let mut bad = good.clone();
        bad[at] = b'g';
        assert!(matches!(read(&mut bad.as_slice()), Err(ReadError::Malformed)), "byte {at}");
    }
    let mut huge = good;
    huge[54..62].copy_from_slice(b"ffffffff");
    assert!(matches!(read(&mut huge.as_slice()), Err(ReadError::Malformed)));
}

#[test]
fn another_program_reads_what_we_write() {
    let members = [("d", Member::Folder), ("d/x", file(b"one\0two")), ("l", Member::Link("d/x".into()))];
    let Ok(mut child) = Command::new("cpio")
        .arg("-itv")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
    else {
        eprintln!("not run: comparison with another implementation: no cpio is installed");
        return;
    };
    child.stdin.take().unwrap().write_all(&archive(&members)).unwrap();
    let done = child.wait_with_output().unwrap();
    let listed = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(done.status.success());
    assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with(" d"), "{listed}");
    assert!(lines[1].starts_with("-rw-r--r--") && lines[1].ends_with(" d/x"), "{listed}");
    assert!(lines[2].starts_with("lrwxrwxrwx") && lines[2].ends_with(" l -> d/x"), "{listed}");
}

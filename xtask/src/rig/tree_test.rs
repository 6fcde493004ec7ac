use super::*;
use crate::rig::cpio;
use crate::testing::Folder;

/// The names in the archive.
fn names(tree: &Tree) -> Vec<String> {
    let mut archive = Vec::new();
    tree.write(&mut archive).unwrap();
    let members = cpio::read(&mut archive.as_slice()).unwrap();
    members.into_iter().map(|(name, _)| name.into_os_string().into_string().unwrap()).collect()
}

#[test]
fn folders_come_before_what_is_in_them() {
    let mut tree = Tree::default();
    tree.file("/b/c/d", false, Vec::new());
    tree.file("/b-a", false, Vec::new());
    tree.folder(Path::new("/a/b/"));
    assert_eq!(names(&tree), ["a", "a/b", "b", "b/c", "b/c/d", "b-a"]);
}

#[test]
fn a_folder_is_brought_without_caches_and_version_control() {
    let ours = Folder::new();
    for name in ["a.txt", "sub/b.txt", ".git/config", "target/CACHEDIR.TAG", "target/debug/x"] {
        ours.file(name, name);
    }
    std::os::unix::fs::symlink("sub", ours.path().join("link")).unwrap();
    std::os::unix::fs::symlink("a.txt", ours.path().join("same")).unwrap();
    let mut tree = Tree::default();
    tree.bring(ours.path(), Path::new("/x")).unwrap();
    assert_eq!(names(&tree), ["x", "x/a.txt", "x/link", "x/same", "x/sub", "x/sub/b.txt"]);
}

#[test]
fn a_program_brings_its_libraries() {
    let mut tree = Tree::default();
    tree.bring(&std::env::current_exe().unwrap(), Path::new("/bin/me")).unwrap();
    let names = names(&tree);
    assert!(names.iter().any(|name| name == "bin/me"));
    assert!(names.iter().any(|name| name.contains("ld-")), "no loader among {names:?}");
}

#[test]
fn what_is_not_there_is_named() {
    let error = Tree::default().bring(Path::new("/not/there"), Path::new("/x")).unwrap_err();
    assert!(error.to_string().contains("/not/there"), "{error}");
}

#[test]
fn of_what_ldd_says_only_paths_count() {
    let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\
        \tlibz.so.1 => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tstatically linked\n";
    assert_eq!(listed(output), ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
}

#[test]
fn paths_lose_their_dots() {
    for (path, expected) in [("/a/./b/../c", "/a/c"), ("/..", "/"), ("a", "/a"), ("/a/", "/a")] {
        assert_eq!(normal(Path::new(path)), Path::new(expected));
    }
}

#[test]
fn programs_named_in_a_program_are_found() {
    let naming = b"\x7fELF\xff\xfe/t/debug/strata\0more";
    let found = named_in(naming, ["/t/debug/strata".into(), "/t/debug/xtask".into()]);
    assert_eq!(found, [PathBuf::from("/t/debug/strata")]);
}

use std::fs;
use std::process::Command;

use super::*;
use crate::testing::Folder;

fn tools() -> Tools {
    Tools::of_this_process(false)
}

#[test]
fn the_newest_kernel_of_a_tree_is_found() {
    let tree = Folder::new();
    assert!(matches!(Found::below(tree.path()), Err(KernelError::NoImage { .. })));
    let in_modules = tree.file("lib/modules/6.1/vmlinuz", "");
    assert_eq!(Found::below(tree.path()).unwrap().image, in_modules);
    let tree = Folder::new();
    tree.file("boot/vmlinuz-6.1.0-1", "");
    tree.file("boot/config-7", "");
    let newer = tree.file("boot/vmlinuz-6.1.0-2", "");
    assert_eq!(Found::below(tree.path()).unwrap().image, newer);
}

#[test]
fn a_kernel_with_its_modules_is_prepared() {
    let tree = Folder::new();
    let image = tree.file("lib/modules/6.1/vmlinux", "\x7fELF");
    tree.file("lib/modules/6.1/kernel/kvm-amd.ko", "\0depends=kvm\0");
    tree.file("lib/modules/6.1/kernel/kvm.ko", "");
    let new = Folder::new();
    Found { roots: roots(&image), image }.prepare(new.path(), &tools()).unwrap();
    assert_eq!(fs::read(new.path().join("kernel")).unwrap(), b"\x7fELF");
    let archive = fs::read(new.path().join("modules.cpio")).unwrap();
    let members = super::super::cpio::read(&mut archive.as_slice()).unwrap();
    let names: Vec<&str> = members.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!(names, ["rig", "rig/modules", "rig/modules/00-kvm.ko", "rig/modules/01-kvm_amd.ko"]);
    assert_eq!(fs::read_dir(new.path()).unwrap().count(), 5, "something is left over");
}

#[test]
fn what_is_no_kernel_is_refused() {
    let tree = Folder::new();
    let image = tree.file("boot/vmlinuz", "hello");
    let error = Found { image, roots: Vec::new() }.prepare(tree.path(), &tools()).unwrap_err();
    assert!(matches!(error, KernelError::Image { source: ImageError::NotLinux, .. }), "{error}");
}

#[test]
fn every_compression_is_unpacked() {
    let scratch = Folder::new();
    let text = scratch.file("text", &"some text ".repeat(1000));
    let unpacker = Unpacker { tools: &tools(), scratch: scratch.path().join("packed") };
    // As the kernel's build calls them.
    for words in ["gzip -nc", "xz --check=crc32 --x86 --lzma2 -c", "lz4 -lc", "zstd -qc"] {
        let mut program = words.split(' ');
        let made = Command::new(program.next().unwrap()).args(program).arg(&text).output();
        let Ok(made) = made.map_err(|_| eprintln!("not run: unpacking: no {words}")) else { continue };
        assert!(made.status.success(), "{words}");
        match unpacker.unpack(made.stdout, &text) {
            Ok(unpacked) => assert!(unpacked == fs::read(&text).unwrap(), "{words}"),
            Err(KernelError::Tool(error)) => eprintln!("not run: unpacking: {error}"),
            Err(error) => panic!("{words}: {error}"),
        }
    }
}

#[test]
fn damaged_content_is_refused() {
    let scratch = Folder::new();
    let unpacker = Unpacker { tools: &tools(), scratch: scratch.path().join("packed") };
    match unpacker.unpack(b"\x1f\x8bnothing".to_vec(), Path::new("/k")) {
        Err(KernelError::Tool(error)) => eprintln!("not run: unpacking: {error}"),
        result => assert!(matches!(result, Err(KernelError::Unpack { .. })), "{result:?}"),
    }
}

#[test]
fn a_changed_file_has_another_key() {
    let folder = Folder::new();
    let file = folder.file("k", "one");
    let before = key(&file).unwrap();
    assert_eq!(key(&file).unwrap(), before);
    folder.file("k", "three");
    assert_ne!(key(&file).unwrap(), before);
    assert!(key(Path::new("/not/there")).is_err());
}

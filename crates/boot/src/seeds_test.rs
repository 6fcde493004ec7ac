//! The seeds of the fuzz targets: good images, made here and compared with what lies in `fuzz/corpus`.

use std::path::Path;

use crate::testing::{KERNEL_RAM, Segment, bzimage, elf, elf32, kernel_options, multiboot_header, note, ram};
use crate::{elf as elf_loader, flat, linux, multiboot, pvh};

const AT: u64 = 0x10_0000;
const AT32: u32 = 0x10_0000;

fn segments(more: Vec<Segment>) -> Vec<Segment> {
    let data = Segment::at(AT + 0x2000, b"data").memory_size(0x1100);
    [vec![Segment::at(AT, b"code"), data], more].concat()
}

/// Target, name, image.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let high = 0xffff_ffff_8000_0000;
    let multiboot = [multiboot_header(3, None), b"code".to_vec()].concat();
    let addresses = [AT32, AT32, AT32 + 36, AT32 + 0x1000, AT32 + 32];
    let by_header = [multiboot_header(0x1_0003, Some(addresses)), b"code".to_vec()].concat();
    let flat =
        |mode: u8, at: u64| [vec![mode], at.to_le_bytes().to_vec(), vec![0], b"code".to_vec()].concat();
    #[cfg(feature = "unpack")]
    let packed = linux::packed_kernels();
    #[cfg(not(feature = "unpack"))]
    let packed = Vec::<(&str, Vec<u8>)>::new();
    let seeds = [
        ("flat", "real16", flat(0, 0)),
        ("flat", "protected32", flat(1, AT)),
        ("flat", "long64", flat(2, 0x1_0000)),
        ("elf", "low", elf(AT, &segments(vec![]))),
        ("elf", "high", elf(high, &[Segment::at(AT, b"code").virt(high)])),
        ("linux", "vmlinux", elf(AT, &segments(vec![note("Linux", 0x101, &[0; 4])]))),
        ("pvh", "elf64", elf(AT, &segments(vec![note("Xen", 18, &AT.to_le_bytes())]))),
        ("pvh", "elf32", elf32(AT32, &segments(vec![note("Xen", 18, &AT32.to_le_bytes())]))),
        ("multiboot", "elf32", elf32(AT32 + 12, &[Segment::at(AT, &multiboot)])),
        ("multiboot", "by-header", by_header),
        ("bzimage", "bare", bzimage(&[7; 0x300], (0, 0))),
    ];
    seeds.into_iter().chain(packed.into_iter().map(|(name, image)| ("bzimage", name, image))).collect()
}

#[test]
fn every_seed_is_a_good_image() {
    for (target, name, image) in seeds() {
        let (memory, options) = (ram(KERNEL_RAM), kernel_options(None));
        let error = match target {
            "flat" => flat::load(&memory, &image[10..], &flat::FlatOptions::new(strata_cpu::Mode::Real16))
                .err()
                .map(|error| error.to_string()),
            "elf" => elf_loader::load(&memory, &image, &elf_loader::ElfOptions::default())
                .err()
                .map(|error| error.to_string()),
            "pvh" => pvh::load(&memory, &image, &options).err().map(|error| error.to_string()),
            "multiboot" => multiboot::load(&memory, &image, &options).err().map(|error| error.to_string()),
            _ => linux::load(&memory, &image, &options).err().map(|error| error.to_string()),
        };
        assert_eq!(error, None, "{target}/{name}");
    }
}

#[test]
fn the_corpus_holds_the_seeds() {
    let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"));
    if !fuzz.exists() {
        eprintln!("not run: comparing the fuzz targets' corpus: the published crate has none");
        return;
    }
    for (target, name, image) in seeds() {
        let path = fuzz.join("corpus").join(target).join(format!("seed-{name}"));
        if std::env::var_os("STRATA_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &image).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == image, "{}: write it anew, see fuzz/README.md", path.display());
    }
}

use super::sample::{AT, GLOBAL_FUNC, LOCAL_LABEL, Sample, line_program_4};
use super::*;

fn read(image: &[u8]) -> Symbols {
    Symbols::read(image).unwrap()
}

fn show(symbols: &Symbols, addr: u64) -> String {
    symbols.find(addr).map(|symbol| symbol.to_string()).unwrap_or_default()
}

fn line(symbols: &Symbols, addr: u64) -> String {
    symbols.line(addr).map(|line| line.to_string()).unwrap_or_default()
}

#[test]
fn an_address_is_named_by_what_it_lies_in() {
    let symbols = read(&Sample::kernel().build());
    let table = [
        (AT - 1, ""),
        (AT, "kmain"),
        (AT + 0x1c, "kmain+0x1c"),
        (AT + 0x3f, "kmain+0x3f"),
        (AT + 0x40, "kernel::panic"),
        (AT + 0x60, ""),
        (AT + 0x80, "label"),
        (AT + 0xff, "label+0x7f"),
        (AT + 0x100, ""),
        (u64::MAX, ""),
    ];
    for (addr, expected) in table {
        assert_eq!(show(&symbols, addr), expected, "{addr:#x}");
    }
    assert_eq!(symbols.address_of("kernel::panic"), Some(AT + 0x40));
    assert_eq!(symbols.address_of("kernel"), None);
}

#[test]
fn code_that_runs_where_it_was_loaded_has_its_names() {
    let symbols = read(&Sample::kernel().build());
    assert_eq!(show(&symbols, 0x10_001c), "kmain+0x1c");
    assert_eq!(line(&symbols, 0x10_0004), "src/main.rs:11");
    assert_eq!(show(&symbols, 0x10_0100), "");

    let moved = symbols.with_bias(0x2000_0000);
    assert_eq!(show(&moved, AT + 0x2000_001c), "kmain+0x1c");
    assert_eq!(line(&moved, AT + 0x2000_0004), "src/main.rs:11");
    assert_eq!(moved.address_of("kmain"), Some(AT + 0x2000_0000));
    assert_eq!(show(&moved, AT), "");
    // A bias may be negative.
    let down = moved.with_bias(0u64.wrapping_sub(AT));
    assert_eq!(show(&down, 0x41), "kernel::panic+0x1");
}

#[test]
fn line_tables_of_both_shapes_are_read() {
    for (sample, file) in [(Sample::kernel(), "src/main.rs"), (Sample::protected(), "src/main.rs")] {
        let (symbols, at) = (read(&sample.build()), sample.at);
        let table = [(0, 10), (3, 10), (4, 11), (0x3f, 11)];
        for (offset, number) in table {
            assert_eq!(line(&symbols, at + offset), format!("{file}:{number}"), "{offset:#x}");
        }
        assert_eq!((line(&symbols, at - 1), line(&symbols, at + 0x40)), (String::new(), String::new()));
    }
    let symbols = read(&Sample::protected().build());
    assert_eq!(
        (show(&symbols, 0x10_003f), show(&symbols, 0x10_0061)),
        ("start+0x3f".into(), "end+0x1".into())
    );
}

#[test]
fn of_several_symbols_the_telling_one_is_shown() {
    let entry = |name: &[u8], addr, size, info| (name.to_vec(), AT + addr, size, info, 1);
    let symbols = vec![
        entry(b"outer", 0, 0x80, GLOBAL_FUNC),
        entry(b"outer.loop", 0x10, 0, LOCAL_LABEL),
        entry(b"inner", 0x20, 0x10, GLOBAL_FUNC),
        entry(b"local_alias", 0x80, 0x10, 2),
        entry(b"alias", 0x80, 0x10, GLOBAL_FUNC),
        entry(b"weak_alias", 0x80, 0x10, 0x22),
        entry(b"huge", 0xa0, u64::MAX, GLOBAL_FUNC),
        // A section, a file, thread-local, an absolute one, one of no section, nameless, outside of its section.
        entry(b"section", 0x98, 8, 3),
        entry(b"file", 0x98, 8, 4),
        entry(b"tls", 0x98, 8, 6),
        (b"absolute".to_vec(), AT + 0x98, 8, GLOBAL_FUNC, 0xfff1),
        (b"undefined".to_vec(), AT + 0x98, 8, GLOBAL_FUNC, 0),
        (b"missing".to_vec(), AT + 0x98, 8, GLOBAL_FUNC, 77),
        entry(b"", 0x98, 8, GLOBAL_FUNC),
        entry(b"beyond", 0x4000, 8, GLOBAL_FUNC),
        (b"before".to_vec(), 0x98, 8, GLOBAL_FUNC, 1),
    ];
    let symbols = read(&Sample { symbols, ..Sample::kernel() }.build());
    let table = [
        (0x14, "outer+0x14"),
        (0x20, "inner"),
        (0x2f, "inner+0xf"),
        (0x30, "outer+0x30"),
        (0x88, "alias+0x8"),
        (0x98, ""),
        (0xff, "huge+0x5f"),
        (0x100, ""),
        (0x4000, ""),
    ];
    for (offset, expected) in table {
        assert_eq!(show(&symbols, AT + offset), expected, "{offset:#x}");
    }
    assert_eq!(show(&symbols, 0x98), "");
}

#[test]
fn names_are_fit_for_a_terminal() {
    let long = vec![b'a'; 5000];
    let names: [(&[u8], &str); 5] = [
        (b"clear\x1b[2J\n", r"clear\u{1b}[2J\u{a}"),
        ("left\u{202e}right".as_bytes(), r"left\u{202e}right"),
        (b"not\xffutf8", "not\u{fffd}utf8"),
        (&long, &("a".repeat(256) + "...")),
        (b"_RNvCs_6kernel4main", "kernel::main"),
    ];
    for (raw, shown) in names {
        let symbols = vec![(raw.to_vec(), AT, 8, GLOBAL_FUNC, 1)];
        let symbols = read(&Sample { symbols, ..Sample::kernel() }.build());
        assert_eq!(symbols.find(AT).unwrap().name, shown);
    }
}

#[test]
fn what_nm_prints_is_read() {
    let map =
        b"0000000000000000 A absolute\nffffffff81000000 T _text\n\nffffffff81000040 t helper\t[module]\n\
        ffffffff81000040 T public\nnonsense\n                 U undefined\n\
        ffffffff81000080 0000000000000010 T sized\r\nffffffff81000100 D <core::Str as Debug>::fmt";
    let symbols = read(map);
    let table = [
        (0, ""),
        (0xffff_ffff_8100_003f, "_text+0x3f"),
        (0xffff_ffff_8100_0048, "public+0x8"),
        (0xffff_ffff_8100_008f, "sized+0xf"),
        (0xffff_ffff_8100_0090, ""),
        (0xffff_ffff_8100_0108, "<core::Str as Debug>::fmt+0x8"),
        (0xffff_ffff_8200_0000, ""),
    ];
    for (addr, expected) in table {
        assert_eq!(show(&symbols, addr), expected, "{addr:#x}");
    }
    let hidden = Symbols::read(b"0000000000000000 T one\n0000000000000000 t two\n");
    assert!(matches!(hidden, Err(SymbolError::Hidden)), "{hidden:?}");
}

#[test]
fn an_image_without_symbols_has_none() {
    let stripped = Sample { symbols: vec![], more: vec![], ..Sample::kernel() };
    let text = b"Linux is a kernel.\n0000000000001000 T name\n";
    for image in [&[][..], b"\x31\xc0\xf4", b"\0\n\n", text, &stripped.build()] {
        let symbols = read(image);
        assert!(symbols.is_empty());
        assert_eq!((symbols.find(0x1000), symbols.line(0x1000)), (None, None));
    }
    assert!(!read(&Sample::kernel().build()).is_empty());
}

#[test]
fn what_cannot_be_read_is_said() {
    let good = Sample::kernel().build();
    let with = |at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Symbols::read(&image).map(|_| ()).map_err(|error| error.to_string())
    };
    let table: [(usize, &[u8], &str); 7] = [
        (5, &[2], "header is wrong"),
        (4, &[9], "header is wrong"),
        (16, &[1, 0], "link it"),
        (40, &[0xff; 8], "section table is wrong"),
        (58, &[3], "section table is wrong"),
        (60, &[0xff, 0xff], "section table is wrong"),
        (62, &[0xff, 0xff], ""),
    ];
    for (at, bytes, expected) in table {
        let found = with(at, bytes).err().unwrap_or_default();
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{at}: {found}");
    }
    let cut = Symbols::read(&good[..20]).unwrap_err();
    assert!(matches!(cut, SymbolError::Header(_)), "{cut}");
    let many = vec![(b"x".to_vec(), AT, 1, GLOBAL_FUNC, 1); MAX_SYMBOLS + 1];
    let many = Symbols::read(&Sample { symbols: many, ..Sample::kernel() }.build()).unwrap_err();
    assert!(matches!(many, SymbolError::TooMany), "{many}");
}

/// Every image that is cut or has one byte changed is read or refused.
#[test]
fn damage_is_survived() {
    for good in [Sample::kernel().build(), Sample::protected().build()] {
        for at in 0..good.len() {
            let _ = Symbols::read(&good[..at]);
            for value in [0, 0x7f, 0xff, good[at] ^ 1, good[at].wrapping_add(1)] {
                let mut image = good.clone();
                image[at] = value;
                if let Ok(symbols) = Symbols::read(&image) {
                    let _ = (symbols.line(AT), symbols.line(0x10_0004), symbols.find(AT));
                }
            }
        }
    }
}

#[test]
fn hostile_line_tables_have_no_lines() {
    let good = line_program_4(AT);
    let lines = |table: Vec<u8>| {
        let more = vec![(".debug_line", table)];
        line(&read(&Sample { more, ..Sample::kernel() }.build()), AT)
    };
    assert_eq!(lines(good.clone()), "src/main.rs:10");
    // A header that claims to be long, and one that claims to be longer than the section.
    for length in [[0, 0, 0x20, 0], [0xff; 4]] {
        let mut claims = good.clone();
        claims[6..10].copy_from_slice(&length);
        claims.resize(0x20_0100, 0);
        let whole = u32::try_from(claims.len() - 4).unwrap();
        claims[..4].copy_from_slice(&whole.to_le_bytes());
        assert_eq!(lines(claims), "");
    }
    // A good program behind one that is damaged, and behind one that is too long to be run.
    let mut damaged = good.clone();
    damaged[4] = 77;
    assert_eq!(lines([damaged, good.clone()].concat()), "src/main.rs:10");
    let long = [&(9u32 << 20).to_le_bytes()[..], &vec![0; 9 << 20], &good].concat();
    assert_eq!(lines(long), "src/main.rs:10");
}

#[inline(never)]
fn landmark() -> u32 {
    line!()
}

/// A real image, by a real compiler and linker: this test. It is position-independent.
#[test]
fn a_real_image_is_read() {
    let symbols = Symbols::open(&std::env::current_exe().unwrap()).unwrap();
    let name = format!("{}::landmark", module_path!());
    let here = landmark as fn() -> u32 as usize as u64;
    let linked = symbols.address_of(&name).expect("rustc names its functions");
    let symbols = symbols.with_bias(here.wrapping_sub(linked));
    assert_eq!(show(&symbols, here), name);
    let line = symbols.line(here).expect("tests are compiled with line tables");
    assert!(line.file.ends_with("symbols_test.rs"), "{line}");
    // Its head, its body or its end, as the compiler sees it.
    assert!((landmark() - 1..=landmark() + 1).contains(&line.line), "{line}");
}

/// What `nasm -g` writes of its last label.
#[test]
fn a_data_size_in_code_is_no_size() {
    let object = |name: &[u8], addr| (name.to_vec(), AT + addr, 1, 0x11, 1);
    let symbols = vec![object(b"f", 0), (b"g".to_vec(), AT + 0x20, 0, LOCAL_LABEL, 1), object(b"h", 0x30)];
    let symbols = read(&Sample { symbols, ..Sample::kernel() }.build());
    let table =
        [(0x4, "f+0x4"), (0x1f, "f+0x1f"), (0x24, "g+0x4"), (0x34, "h+0x4"), (0xff, "h+0xcf"), (0x100, "")];
    for (offset, expected) in table {
        assert_eq!(show(&symbols, AT + offset), expected, "{offset:#x}");
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = std::env::temp_dir();
    let found = Symbols::open(&folder).unwrap_err();
    assert!(matches!(&found, SymbolError::NoFile(path) if *path == folder), "{found}");
    let found = Symbols::open(Path::new("/dev/null")).unwrap_err();
    assert_eq!(found.to_string(), "/dev/null is no regular file; write the symbols to one");
}

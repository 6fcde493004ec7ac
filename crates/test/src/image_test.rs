use super::*;

/// Where the file's only segment is to lie, and how far its content is behind the headers.
const BASE: u64 = 0x20_0000;
const HEADERS: u64 = 64 + 56;
/// `ET_EXEC` and `ET_DYN`.
const FIXED: u16 = 2;
const ANYWHERE: u16 = 3;

fn record(flags: u64, name: u64, len: u64) -> Vec<u8> {
    [flags, name, len, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An executable whose segment holds `names`, and behind them the section `strata_tests` (gABI 4 and 5).
fn elf(file_type: u16, names: &[u8], records: &[u8]) -> Vec<u8> {
    let strings = b"\0strata_tests\0.shstrtab\0";
    let records_at = HEADERS + names.len() as u64;
    let strings_at = records_at + records.len() as u64;
    let sections_at = strings_at + strings.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, values: &[u64]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    halves(&mut file, &[file_type, 62]);
    words(&mut file, &[1]);
    longs(&mut file, &[BASE, 64, sections_at]);
    words(&mut file, &[0]);
    halves(&mut file, &[64, 56, 1, 64, 3, 2]);
    // PT_LOAD, R.
    words(&mut file, &[1, 4]);
    longs(&mut file, &[0, BASE, BASE, strings_at, strings_at, 0x1000]);
    file.extend_from_slice(names);
    file.extend_from_slice(records);
    file.extend_from_slice(strings);
    file.extend([0; 64]);
    let mut section = |name: u32, kind: u32, address: u64, at: u64, len: u64| {
        words(&mut file, &[name, kind]);
        longs(&mut file, &[0, address, at, len]);
        words(&mut file, &[0, 0]);
        longs(&mut file, &[1, 0]);
    };
    section(1, 1, BASE + records_at, records_at, records.len() as u64);
    section(14, 3, 0, strings_at, strings.len() as u64);
    file
}

fn read(file: &[u8]) -> Result<Option<Vec<GuestTest>>, ImageError> {
    records(Path::new("x"), file)
}

#[test]
fn the_records_are_read_in_their_order() {
    let names = b"a::firstsecond";
    let at = BASE + HEADERS;
    let both = [record(1, at, 8), record(1 | IGNORED | SHOULD_PANIC, at + 8, 6)].concat();
    let found = read(&elf(FIXED, names, &both)).unwrap().unwrap();
    let second = GuestTest { name: "second".into(), ignored: true, should_panic: true };
    assert_eq!(found, [GuestTest { name: "a::first".into(), ignored: false, should_panic: false }, second]);
}

#[test]
fn what_has_no_records_is_a_program() {
    assert_eq!(read(b"\xf4").unwrap(), None);
    assert_eq!(read(b"\x7fELF\x01").unwrap(), None);
    let mut file = elf(FIXED, b"", b"");
    let at = file.windows(12).position(|part| part == b"strata_tests").unwrap();
    file[at] = b'x';
    assert_eq!(read(&file).unwrap(), None);
}

#[test]
fn a_position_independent_program_is_refused_with_advice() {
    let error = read(&elf(ANYWHERE, b"", b"")).unwrap_err();
    assert!(error.to_string().contains("relocation-model=static"), "{error}");
}

#[test]
fn records_of_another_version_are_refused() {
    let error = read(&elf(FIXED, b"t", &record(2, BASE + HEADERS, 1))).unwrap_err();
    assert!(matches!(error, ImageError::Version { version: 2, .. }), "{error}");
}

#[test]
fn damaged_records_are_refused() {
    let at = BASE + HEADERS;
    for records in [
        record(1, at - 0x10_0000, 1),
        record(1, at, u64::MAX),
        record(1, u64::MAX, 2),
        record(1, at, 2), // not UTF-8
        vec![1, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let error = read(&elf(FIXED, b"\xff\xff", &records)).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_name_that_would_steer_the_terminal_is_damaged() {
    let names = b"a\x1b[2Ja\na::b";
    for (at, len) in [(1, 4), (0, 5), (5, 2)] {
        let error = read(&elf(FIXED, names, &record(1, BASE + HEADERS + at, len))).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
    }
    assert!(read(&elf(FIXED, names, &record(1, BASE + HEADERS + 7, 4))).is_ok());
}

#[test]
fn every_cut_is_an_error_or_a_program() {
    let file = elf(FIXED, b"name", &record(1, BASE + HEADERS, 4));
    for len in 0..file.len() {
        // None of them panics; a file without its sections has no records.
        if let Ok(Some(tests)) = read(&file[..len]) {
            panic!("{len} bytes of {} have {tests:?}", file.len());
        }
    }
}

#[test]
fn a_program_is_named_without_cargos_hash() {
    let image = |path: &str| Image { path: path.into(), tests: None };
    assert_eq!(image("/t/deps/my-kernel-0123456789abcdef").name(), "my-kernel");
    assert_eq!(image("/t/my-kernel").name(), "my-kernel");
    assert!(image("/t/deps/k-0123456789abcdef").is_test());
    assert!(!image("/t/debug/k").is_test());
}

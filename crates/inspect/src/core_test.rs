use std::{fs, io::Cursor, path::PathBuf, process::Command};

use strata_cpu::{Access, Mapping, PageSize, PageTables, X86State};
use vm_memory::GuestMemoryMmap;

use super::*;

const HIGH: u64 = 0xffff_ffff_8000_0000;

/// Two processors; 2 MiB of RAM and 64 KiB above 4 GiB; physical 1 MiB is mapped at the top, and a pointer to a text.
fn guest() -> (GuestMemoryMmap<()>, [X86State; 2]) {
    let ranges = [(GuestAddress(0), 0x20_0000), (GuestAddress(1 << 32), 0x1_0000)];
    let memory = GuestMemoryMmap::from_ranges(&ranges).unwrap();
    let mut tables = PageTables::new(0x8000);
    let access = Access::RW;
    tables
        .map(Mapping { virt: HIGH, phys: 0x10_0000, len: 0x1_0000, page: PageSize::Size4K, access })
        .unwrap();
    tables
        .map(Mapping { virt: HIGH + 0x10_0000, phys: 1 << 32, len: 0x1000, page: PageSize::Size4K, access })
        .unwrap();
    let tables = tables.build();
    tables.write_to(&memory).unwrap();
    memory.write_slice(b"a low text\0", GuestAddress(0x10_1000)).unwrap();
    memory.write_slice(b"a text above 4 GiB\0", GuestAddress(1 << 32)).unwrap();
    memory.write_slice(&(HIGH + 0x10_0000).to_le_bytes(), GuestAddress(0x10_2000)).unwrap();
    let mut state = X86State::long(HIGH + 0x1234, tables.cr3(), 0x500);
    state.regs.rsp = HIGH + 0x2000;
    state.regs.r15 = 0x1515;
    state.fs.base = 0xf5f5;
    let mut second = state;
    second.regs.rip = HIGH + 0x5678;
    second.regs.rax = 0xaaaa_0002;
    (memory, [state, second])
}

fn dump(addresses: Addresses) -> (Vec<u8>, Written) {
    let (memory, cpus) = guest();
    let mut out = Cursor::new(Vec::new());
    let written = write(&mut out, &memory, &cpus, addresses, None).unwrap();
    (out.into_inner(), written)
}

fn field(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// `PT_LOAD`s as virtual address, physical address, length, place in the file.
fn loads(bytes: &[u8]) -> Vec<(u64, u64, u64, usize)> {
    let count = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    (1..count)
        .map(|n| 64 + n * 56)
        .map(|at| {
            assert_eq!(bytes[at], 1);
            let at_file = usize::try_from(field(bytes, at + 8)).unwrap();
            (field(bytes, at + 16), field(bytes, at + 24), field(bytes, at + 32), at_file)
        })
        .collect()
}

#[test]
fn every_piece_of_ram_is_a_segment() {
    let (bytes, written) = dump(Addresses::Physical);
    assert_eq!(written.len, bytes.len() as u64);
    assert!(written.data < 0x1_0000, "{written:?}: zeros were written");
    let found = loads(&bytes);
    let addresses: Vec<_> = found.iter().map(|load| (load.0, load.1, load.2)).collect();
    assert_eq!(addresses, [(0, 0, 0x20_0000), (1 << 32, 1 << 32, 0x1_0000)]);
    assert!(bytes[found[0].3 + 0x10_1000..].starts_with(b"a low text\0"));
    assert!(bytes[found[1].3..].starts_with(b"a text above 4 GiB\0"));
}

#[test]
fn linear_addresses_are_those_of_the_page_tables() {
    let (bytes, written) = dump(Addresses::Linear);
    assert_eq!(written.truncated_at, None);
    let found = loads(&bytes);
    let addresses: Vec<_> = found.iter().map(|load| (load.0, load.1, load.2)).collect();
    let expected = [
        (PHYSICAL_WINDOW, 0, 0x20_0000),
        (PHYSICAL_WINDOW | 1 << 32, 1 << 32, 0x1_0000),
        (HIGH, 0x10_0000, 0x1_0000),
        (HIGH + 0x10_0000, 1 << 32, 0x1000),
    ];
    assert_eq!(addresses, expected);
    // The same bytes of the file.
    assert_eq!(found[2].3, found[0].3 + 0x10_0000);
    assert_eq!(found[3].3, found[1].3);
    // Without paging there are no others than the physical ones.
    let (memory, _) = guest();
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &memory, &[X86State::real(0)], Addresses::Linear, None).unwrap();
    assert_eq!(loads(out.get_ref())[0].0, 0);
}

#[test]
fn notes_have_the_registers_where_tools_look_for_them() {
    let (bytes, _) = dump(Addresses::Physical);
    let mut at = usize::try_from(field(&bytes, 64 + 8)).unwrap();
    let end = at + usize::try_from(field(&bytes, 64 + 32)).unwrap();
    let mut notes = Vec::new();
    while at < end {
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let (name, desc) = (word(at), word(at + 4));
        let start = at + 12 + name.next_multiple_of(4);
        notes.push((
            word(at + 8),
            bytes[at + 12..at + 11 + name].to_vec(),
            bytes[start..start + desc].to_vec(),
        ));
        at = start + desc.next_multiple_of(4);
    }
    let kinds: Vec<_> = notes.iter().map(|(kind, name, desc)| (*kind, &name[..], desc.len())).collect();
    let (core, qemu) = (&b"CORE"[..], &b"QEMU"[..]);
    assert_eq!(kinds, [(1, core, 336), (3, core, 136), (1, core, 336), (0, qemu, 440), (0, qemu, 440)]);
    let (_, [state, second]) = guest();
    assert_eq!((notes[0].2[32], notes[2].2[32]), (1, 2));
    assert_eq!(field(&notes[2].2, 112 + 10 * 8), second.regs.rax);
    assert_eq!(field(&notes[0].2, 112 + 16 * 8), state.regs.rip);
    // CS: selector 8, flat, 64-bit code; CR0, CR3 and CR4 after ten segments.
    let cpu = &notes[3].2;
    assert_eq!(field(cpu, 8 + 16 * 8), state.regs.rip);
    assert_eq!(field(cpu, 152), 0xffff_ffff_0000_0008);
    assert_eq!(field(cpu, 160), 0x00a0_9b00);
    let control: Vec<_> = (0..6).map(|n| field(cpu, 392 + n * 8)).collect();
    assert_eq!(control, [state.cr0.bits(), 0, 0, state.cr3, state.cr4.bits(), 0]);
}

/// Full after some bytes, as a disk.
struct Full(Cursor<Vec<u8>>, usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.get_ref().len() + bytes.len() > self.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Full {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let (memory, cpus) = guest();
    for room in [0, 100, 0x8000, 0x10_2000] {
        let error =
            write(&mut Full(Cursor::default(), room), &memory, &cpus, Addresses::Physical, None).unwrap_err();
        assert!(
            matches!(&error, CoreError::Io(error) if error.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
    }
    let error = write(&mut Cursor::new(vec![]), &memory, &[], Addresses::Physical, None).unwrap_err();
    assert!(matches!(error, CoreError::NoProcessor), "{error}");
}

/// A folder of the test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("strata-inspect-core-{name}-{}", process_id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn process_id() -> u32 {
    std::process::id()
}

#[test]
fn a_file_is_whole_or_absent() {
    let folder = Folder::new("whole");
    let (memory, cpus) = guest();
    let path = folder.0.join("core");
    fs::write(&path, "what was there").unwrap();
    let error = save(&path, &memory, &[], Addresses::Physical, None).unwrap_err();
    assert!(matches!(error, SaveError::Core(CoreError::NoProcessor)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
    let written = save(&path, &memory, &cpus, Addresses::Physical, None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), written.len);
    assert_eq!(fs::read(&path).unwrap(), dump(Addresses::Physical).0);
    // A folder stands in the way: nothing is left behind.
    let blocked = folder.0.join("blocked");
    fs::create_dir(&blocked).unwrap();
    let error = save(&blocked, &memory, &cpus, Addresses::Physical, None).unwrap_err();
    assert!(matches!(error, SaveError::File { .. }), "{error}");
    let missing = folder.0.join("missing/core");
    let error = save(&missing, &memory, &cpus, Addresses::Physical, None).unwrap_err().to_string();
    assert!(error.contains("missing/core"), "{error}");
    let mut left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["blocked", "core"]);
}

/// What a tool prints about a dump; `None` where it is not installed.
fn tool(name: &str, arguments: &[&str], core: &std::path::Path) -> Option<String> {
    let output = match Command::new(name).args(arguments).arg(core).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("not run: opening a core dump with {name}: {error}");
            return None;
        }
    };
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn gdb_opens_it() {
    let folder = Folder::new("gdb");
    let (memory, cpus) = guest();
    let path = folder.0.join("core");
    save(&path, &memory, &cpus, Addresses::Linear, Some("kernel")).unwrap();
    let commands = [
        "info threads",
        "thread 2",
        "info registers",
        "x/s 0xffffffff80001000",
        "x/s *(char **)0xffffffff80002000",
        "x/s 0x8000000000101000",
        "thread 1",
        "p/x $r15",
        "x/gx 0x123",
    ];
    let mut arguments = vec!["-nx", "-batch"];
    arguments.extend(commands.iter().flat_map(|command| ["-ex", command]));
    // Behind the file's name come gdb's commands as before it.
    arguments.push("-core");
    let Some(text) = tool("gdb", &arguments, &path) else { return };
    for expected in [
        "Thread 2",
        "Thread 1",
        "0xaaaa0002",
        "0xffffffff80005678",
        "0xffffffff80001000:\t\"a low text\"",
        "0xffffffff80100000:\t\"a text above 4 GiB\"",
        "0x8000000000101000:\t\"a low text\"",
        "$1 = 0x1515",
        "Cannot access memory at address 0x123",
    ] {
        assert!(
            text.contains(&expected.replace("Thread", "LWP")) || text.contains(expected),
            "{expected}:\n{text}"
        );
    }
}

#[test]
fn readelf_has_nothing_to_complain_of() {
    let folder = Folder::new("readelf");
    let (memory, cpus) = guest();
    let path = folder.0.join("core");
    for name in ["readelf", "eu-readelf"] {
        for addresses in [Addresses::Physical, Addresses::Linear] {
            save(&path, &memory, &cpus, addresses, None).unwrap();
            let Some(text) = tool(name, &["-a"], &path) else { continue };
            assert!(text.contains("CORE (Core file)") && text.contains("QEMU"), "{text}");
            assert!(
                !text.to_lowercase().contains("warning") && !text.to_lowercase().contains("error"),
                "{text}"
            );
        }
    }
}

#[test]
fn it_is_named_after_the_image() {
    let (memory, cpus) = guest();
    let names = [
        (None, "guest"),
        (Some("kernel.elf"), "kernel.elf"),
        (Some("a-name-that-is-too-long"), "a-name-that-is-"),
        (Some("\x1b[m"), "[m"),
    ];
    for (name, expected) in names {
        let mut out = Cursor::new(Vec::new());
        write(&mut out, &memory, &cpus, Addresses::Physical, name).unwrap();
        let bytes = out.into_inner();
        // `pr_psargs` is 16 bytes behind `pr_fname`.
        let at = bytes.windows(17).position(|window| window == b"a guest of Strata").unwrap() - 16;
        let found = bytes[at..at + 16].split(|byte| *byte == 0).next().unwrap();
        assert_eq!(str::from_utf8(found).unwrap(), expected);
    }
}

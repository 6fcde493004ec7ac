//! Kernels of a few instructions through whole machines: entered as their protocols say, handed what they are to be
//! handed, and ended by the devices that ACPI tells of.

#![allow(missing_docs, reason = "a test")]

mod common;
#[path = "common/kernels.rs"]
mod kernels;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kernels::{AT, Segment, load, vmlinux, vmlinux_of};
use strata_vmm::cpu::Mode;
use strata_vmm::devices::{DeviceMut, Effect};
use strata_vmm::file_fault::FileState;
use strata_vmm::memory::layout::{BOOT_INFO, CMDLINE, RSDP, ZERO_PAGE};
use strata_vmm::vm_memory::{Bytes as _, GuestAddress};
use strata_vmm::{Config, Machine, MachineBuilder, Outcome, Stop};

/// `mov dx, 0x600; mov al, 0x34; out dx, al; hlt`: S5 into the sleep control register. The same in 32- and 64-bit code.
const POWER_OFF: &[u8] = b"\x66\xba\x00\x06\xb0\x34\xee\xf4";
/// `mov dx, 0x602; mov al, 1; out dx, al; hlt`: the reset register.
const RESET: &[u8] = b"\x66\xba\x02\x06\xb0\x01\xee\xf4";
/// `mov dx, 0x505; mov al, 1; out dx, al; hlt`: pvpanic.
const PANIC: &[u8] = b"\x66\xba\x05\x05\xb0\x01\xee\xf4";

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kernels-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file, of long ago: every later change shows, however coarse the file system's clock.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        let long_ago = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::options().write(true).open(&path).unwrap().set_times(long_ago).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A machine of 16 MiB with this kernel and these other settings.
fn builder(kernel: &Path, settings: &str) -> MachineBuilder {
    let memory = if settings.contains("memory.piece") { "" } else { "memory.size = \"16M\"" };
    let text = format!("image = '{}'\nbudget.exits = 1000\n{memory}\n{settings}", kernel.display());
    Machine::builder(Config::from_toml(&text).unwrap())
}

/// Keeps what is written, and does something at the first write.
#[derive(Default)]
struct Port {
    written: Vec<u8>,
    at_first: Option<Box<dyn FnOnce() + Send>>,
}

impl DeviceMut for Port {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _: u64, data: &[u8]) -> Effect {
        self.written.extend_from_slice(data);
        if let Some(act) = self.at_first.take() {
            act();
        }
        Effect::None
    }
}

/// Runs with a [`Port`] at 0x10; how it ended, and what was written there.
fn run(builder: MachineBuilder, at_first: impl FnOnce() + Send + 'static) -> (Outcome, Vec<u8>) {
    let port = Arc::new(Mutex::new(Port { written: Vec::new(), at_first: Some(Box::new(at_first)) }));
    let outcome = builder.pio_device(0x10, 4, "port", port.clone()).build().unwrap().run().unwrap();
    let written = std::mem::take(&mut port.lock().unwrap().written);
    (outcome, written)
}

fn bytes(machine: &Machine, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    machine.ram().memory().read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn word(machine: &Machine, at: u64) -> u64 {
    machine.ram().memory().read_obj::<u32>(GuestAddress(at)).unwrap().into()
}

/// What the kernel of a protocol sees.
struct Protocol {
    name: &'static str,
    kernel: Vec<u8>,
    settings: &'static str,
    mode: Mode,
    /// RIP, RAX, RBX and RSI.
    registers: [u64; 4],
    cmdline: &'static [u8],
    /// The initrd's start and end, by what it is told.
    initrd: fn(&Machine) -> (u64, u64),
    /// What it writes to port 0x10 of what its registers lead to.
    writes: &'static [u8],
}

fn protocols() -> Vec<Protocol> {
    // mov eax, [rsi + 0x202]; out 0x10, eax; mov esi, [rsi + 0x228]; mov eax, [rsi]; out 0x10, eax
    let linux = [b"\x8b\x86\x02\x02\0\0\xe7\x10\x8b\xb6\x28\x02\0\0\x8b\x06\xe7\x10", POWER_OFF].concat();
    // mov eax, [ebx]; out 0x10, eax; mov eax, [ebx + 12]; out 0x10, eax
    let pvh = [b"\x8b\x03\xe7\x10\x8b\x43\x0c\xe7\x10", POWER_OFF].concat();
    // out 0x10, eax; mov eax, [ebx + 20]; out 0x10, eax
    let multiboot = [b"\xe7\x10\x8b\x43\x14\xe7\x10", POWER_OFF].concat();
    // So small that, packed, it is unpacked in memory: a test has no business in its user's cache.
    let kernel = vmlinux(&linux);
    let in_zero_page = |machine: &Machine| {
        let start = word(machine, ZERO_PAGE + 0x218);
        (start, start + word(machine, ZERO_PAGE + 0x21c))
    };
    let linux_protocol = |name, kernel, settings, rip| Protocol {
        name,
        kernel,
        settings,
        mode: Mode::Long64,
        registers: [rip, 0, 0, ZERO_PAGE],
        cmdline: b"quiet pci=conf1,noearly\0",
        initrd: in_zero_page,
        writes: b"HdrSquie",
    };
    vec![
        linux_protocol("vmlinux", kernel.clone(), "", AT),
        linux_protocol("packed", kernels::packed(&kernel), "", AT),
        linux_protocol("packed, by its other name", kernels::packed(&kernel), "format = \"linux\"", AT),
        linux_protocol("classic", kernels::classic(&linux), "", AT + 0x200),
        linux_protocol(
            "classic, if asked",
            kernels::bzimage(&[&[0; 0x200], linux.as_slice(), &[0; 0x100]].concat(), (0x220, 0x80)),
            "boot_protocol = \"classic\"",
            AT + 0x200,
        ),
        Protocol {
            name: "pvh",
            kernel: kernels::pvh(&pvh),
            settings: "",
            mode: Mode::Protected32,
            registers: [AT, 0, BOOT_INFO, 0],
            cmdline: b"quiet\0",
            initrd: |machine| {
                let start = word(machine, BOOT_INFO + 0x40);
                (start, start + word(machine, BOOT_INFO + 0x48))
            },
            writes: &[0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0],
        },
        Protocol {
            name: "multiboot",
            kernel: kernels::multiboot(&multiboot),
            settings: "",
            mode: Mode::Protected32,
            registers: [AT + 0x20, 0x2bad_b002, BOOT_INFO, 0],
            cmdline: b"quiet\0",
            initrd: |machine| {
                let module = word(machine, BOOT_INFO + 24);
                (word(machine, module), word(machine, module + 4))
            },
            writes: &[0x02, 0xb0, 0xad, 0x2b, 1, 0, 0, 0],
        },
    ]
}

/// What can lie behind 16 MiB of RAM here.
fn backings() -> Vec<&'static str> {
    let free = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let mut backings = vec!["anonymous", "memfd"];
    if free.ok().and_then(|free| free.trim().parse::<u32>().ok()).is_some_and(|free| free >= 8) {
        backings.push("hugetlb-2m");
    } else {
        eprintln!("not run: kernels in huge pages: this host has none free");
    }
    backings
}

#[test]
fn each_protocol_hands_over_what_it_promises() {
    if common::kvm("the boot protocols").is_none() {
        return;
    }
    let folder = Folder::new("protocols");
    // Read at once; mapped, but for its last bytes.
    for len in [1000_usize, (300 << 10) + 123] {
        let initrd: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(len).collect();
        let initrd_file = folder.file("initrd", &initrd);
        for backing in backings() {
            for it in protocols() {
                let what = format!("{}, {backing}, initrd of {len} bytes", it.name);
                let settings = format!(
                    "cmdline = \"quiet\"\ninitrd = '{}'\nmemory.backing = {backing:?}\n{}",
                    initrd_file.display(),
                    it.settings
                );
                let port = Arc::new(Mutex::new(Port::default()));
                let mut machine = builder(&folder.file("kernel", &it.kernel), &settings)
                    .pio_device(0x10, 4, "port", port.clone())
                    .build()
                    .unwrap();
                let state = machine.states().unwrap().remove(0);
                let regs = &state.regs;
                assert_eq!(state.mode(), it.mode, "{what}");
                assert_eq!([regs.rip, regs.rax, regs.rbx, regs.rsi], it.registers, "{what}");
                assert_eq!(bytes(&machine, CMDLINE, it.cmdline.len()), it.cmdline, "{what}");
                assert_eq!(bytes(&machine, RSDP, 8), b"RSD PTR ", "{what}");
                let (start, end) = (it.initrd)(&machine);
                assert_eq!(start % 0x1000, 0, "{what}");
                assert!(bytes(&machine, start, usize::try_from(end - start).unwrap()) == initrd, "{what}");
                // The rest of its last page is nobody's.
                let rest = usize::try_from(end.next_multiple_of(0x1000) - end).unwrap();
                assert_eq!(bytes(&machine, end, rest), vec![0; rest], "{what}");

                let outcome = machine.run().unwrap();
                assert_eq!((&outcome.stop, outcome.files()), (&Stop::PowerOff, FileState::Intact), "{what}");
                assert_eq!(port.lock().unwrap().written, it.writes, "{what}");
            }
        }
    }
}

#[test]
fn what_acpi_tells_of_ends_the_machine() {
    if common::kvm("ACPI's registers").is_none() {
        return;
    }
    let folder = Folder::new("endings");
    for (code, stop, exit_code) in
        [(POWER_OFF, Stop::PowerOff, 0), (RESET, Stop::Reset, 12), (PANIC, Stop::Panicked, 30)]
    {
        let all = [vmlinux(code), kernels::pvh(code), kernels::multiboot(code), kernels::classic(code)];
        for kernel in all {
            let ended = run(builder(&folder.file("kernel", &kernel), ""), || {}).0.stop;
            assert_eq!((ended.exit_code(), &ended), (exit_code, &stop));
        }
        // An image without a boot protocol has them if it asks.
        let settings = "acpi = true\nirqchip = \"kernel\"";
        let machine = builder(&folder.file("flat", code), settings).build().unwrap();
        assert_eq!(bytes(&machine, RSDP, 8), b"RSD PTR ");
        assert_eq!(machine.run().unwrap().stop, stop);
    }
    // Without ACPI nobody is there, and the guest is not told that there is.
    let machine = builder(&folder.file("kernel", &vmlinux(POWER_OFF)), "irqchip = \"none\"").build().unwrap();
    assert_eq!((bytes(&machine, RSDP, 8), word(&machine, ZERO_PAGE + 0x70)), (vec![0; 8], 0));
    assert_eq!(machine.run().unwrap().stop, Stop::Halted);
}

#[test]
fn the_power_button_interrupts_and_says_that_it_was_it() {
    if common::kvm("the power button").is_none() {
        return;
    }
    let folder = Folder::new("button");
    // Everything is polled: no handler is needed, and no interrupt gets lost.
    let code = [
        b"\xbf\x00\x00\xe0\xfe".as_slice(), // mov edi, 0xfee00000: the local APIC
        b"\xc7\x87\xf0\x00\x00\x00\xff\x01\x00\x00", // mov dword [rdi + 0xf0], 0x1ff: on
        b"\xbf\x00\x00\xc0\xfe",            // mov edi, 0xfec00000: the I/O APIC
        b"\xc7\x07\x23\x00\x00\x00\xc7\x47\x10\x00\x00\x00\x00", // line 9, upper half: to APIC 0
        b"\xc7\x07\x22\x00\x00\x00\xc7\x47\x10\x40\x00\x00\x00", // lower half: an edge is vector 0x40
        b"\xe6\x10",                        // out 0x10, al: somebody presses the button
        b"\xbf\x00\x00\xe0\xfe",            // mov edi, 0xfee00000
        b"\x8b\x87\x20\x02\x00\x00\xa8\x01\x74\xf6", // until bit 0 of [rdi + 0x220]: requested
        b"\x66\xba\x03\x06\xec\xe6\x10\xec\xe6\x10", // in al, 0x603; out 0x10, al; and again
        POWER_OFF,
    ]
    .concat();
    let builder = builder(&folder.file("kernel", &vmlinux(&code)), "");
    let button = builder.power_button();
    assert!(!button.press(), "there is no machine yet");
    let pressed = button.clone();
    let (outcome, written) = run(builder, move || assert!(pressed.press()));
    assert_eq!(outcome.stop, Stop::PowerOff);
    assert_eq!(written[1..], [1, 0], "the event register, which reading clears");
}

/// A kernel of 512 KiB whose pages a file lends: it writes to port 0x10 and goes on at [`FAR`] in it, where it powers off.
fn large() -> Vec<u8> {
    let mut code = vec![0xf4; 512 << 10];
    // out 0x10, al; mov eax, AT + FAR; jmp rax
    let start =
        [b"\xe6\x10\xb8".as_slice(), &u32::try_from(AT + FAR).unwrap().to_le_bytes(), b"\xff\xe0"].concat();
    code[..start.len()].copy_from_slice(&start);
    let far = usize::try_from(FAR).unwrap();
    code[far..far + POWER_OFF.len()].copy_from_slice(POWER_OFF);
    vmlinux(&code)
}

const FAR: u64 = 0x4_0000;
/// Where the code is in the file: behind the headers and the note, a page each.
const CODE_IN_FILE: u64 = 0x2000;

#[test]
fn a_kernel_that_changes_under_its_guest_ends_it_decently() {
    if common::kvm("changing a running kernel").is_none() {
        return;
    }
    let folder = Folder::new("changes");
    let run_while = |settings: &str, meddle: fn(&File)| {
        let path = folder.file("kernel", &large());
        let file = File::options().write(true).open(&path).unwrap();
        let outcome = run(builder(&path, settings), move || meddle(&file)).0;
        (outcome.stop.clone(), outcome.files())
    };
    let nothing: fn(&File) = |_| {};
    assert_eq!(run_while("", nothing), (Stop::PowerOff, FileState::Intact));
    let write: fn(&File) = |file| file.write_all_at(RESET, CODE_IN_FILE + FAR).unwrap();
    assert_eq!(run_while("", write), (Stop::Reset, FileState::Changed));
    let cut: fn(&File) = |file| file.set_len(CODE_IN_FILE + 0x1000).unwrap();
    let (stop, files) = run_while("", cut);
    assert!(
        matches!(
            stop,
            Stop::VcpuFailed { vcpu: 0, call: "KVM_RUN", errno: libc::EFAULT }
                | Stop::MemoryFault { .. }
                | Stop::InternalError { .. }
        ),
        "{stop:?}"
    );
    assert_eq!(files, FileState::Shrunk);
    // What has no boot protocol is mapped as well.
    let elf64 = "format = \"elf64\"\nacpi = true\nirqchip = \"kernel\"";
    assert_eq!(run_while(elf64, write), (Stop::Reset, FileState::Changed));
    // Shared memory cannot map another file: it has a copy.
    for meddle in [write, cut] {
        assert_eq!(run_while("memory.backing = \"memfd\"", meddle), (Stop::PowerOff, FileState::Intact));
    }
}

#[test]
fn an_initrd_that_changes_under_its_guest_is_seen() {
    if common::kvm("changing a mapped initrd").is_none() {
        return;
    }
    let folder = Folder::new("initrd-changes");
    let kernel = folder.file("kernel", &vmlinux(&[b"\xe6\x10", POWER_OFF].concat()));
    // The first is too small to be worth mapping.
    for (len, state) in [(60 << 10, FileState::Intact), (600 << 10, FileState::Shrunk)] {
        let initrd = folder.file("initrd", &vec![7; len]);
        let file = File::options().write(true).open(&initrd).unwrap();
        let builder = builder(&kernel, &format!("initrd = '{}'", initrd.display()));
        let outcome = run(builder, move || file.set_len(0).unwrap()).0;
        assert_eq!((&outcome.stop, outcome.files()), (&Stop::PowerOff, state));
    }
}

#[test]
fn a_kernel_may_be_its_own_initrd() {
    if common::kvm("one file twice").is_none() {
        return;
    }
    let folder = Folder::new("twice");
    let image = large();
    let path = folder.file("kernel", &image);
    let machine = builder(&path, &format!("initrd = '{}'", path.display())).build().unwrap();
    let start = word(&machine, ZERO_PAGE + 0x218);
    assert!(bytes(&machine, start, image.len()) == image);
    // What the guest writes to one of them is not in the other, nor in the file.
    machine.ram().memory().write_obj(0x55_u8, GuestAddress(AT + 0x2_0000)).unwrap();
    assert!(bytes(&machine, start, image.len()) == image && fs::read(&path).unwrap() == image);
    assert_eq!(run_of(machine), Stop::PowerOff);
}

fn run_of(machine: Machine) -> Stop {
    machine.run().unwrap().stop
}

#[test]
fn mapped_segments_have_their_edges_and_zeros() {
    if common::kvm("the edges of mapped segments").is_none() {
        return;
    }
    let folder = Folder::new("edges");
    // A segment that is mapped, begins and ends inside a page, and has zeros behind it; then one in the page after those.
    let pattern: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(0x6_0123).collect();
    let (start, end) = (AT + 0x10_0800, AT + 0x16_1000);
    let data = Segment { memory_size: end - start, ..load(start, &pattern) };
    let path = folder.file("kernel", &vmlinux_of(&[load(AT, POWER_OFF), data, load(end, b"next")]));
    let machine = builder(&path, "").build().unwrap();
    assert_eq!(bytes(&machine, start - 0x800, 0x800), [0; 0x800]);
    assert!(bytes(&machine, start, pattern.len()) == pattern);
    assert_eq!(bytes(&machine, start + 0x6_0123, 0x6dd), [0; 0x6dd]);
    assert_eq!(bytes(&machine, end, 5), b"next\0");
    // It was mapped indeed.
    File::options().write(true).open(&path).unwrap().set_len(0x2000).unwrap();
    let outcome = machine.run().unwrap();
    assert_eq!((&outcome.stop, outcome.files()), (&Stop::PowerOff, FileState::Shrunk));
}

#[test]
fn ram_may_be_placed_piece_by_piece() {
    if common::kvm("a kernel in pieces of RAM").is_none() {
        return;
    }
    let folder = Folder::new("pieces");
    let kernel = folder.file("kernel", &vmlinux(POWER_OFF));
    let initrd = folder.file("initrd", &[7; 0x2000]);
    let pieces = "[[memory.piece]]\nat = 0\nsize = \"640K\"\n\
         [[memory.piece]]\nat = 0xe0000\nsize = \"128K\"\nread_only = true\n\
         [[memory.piece]]\nat = 0x200000\nsize = \"64K\"\n\
         [[memory.piece]]\nat = 0x800000\nsize = \"64K\"\n";
    let machine = builder(&kernel, &format!("initrd = '{}'\n{pieces}", initrd.display())).build().unwrap();
    let map: Vec<(u64, u64, u64)> = (0..word(&machine, ZERO_PAGE + 0x1e8) & 0xff)
        .map(|entry| ZERO_PAGE + 0x2d0 + 20 * entry)
        .map(|at| (word(&machine, at), word(&machine, at + 8), word(&machine, at + 16)))
        .collect();
    let expected =
        [(0, 0x9_fc00, 1), (0x9_fc00, 0x6_0400, 2), (0x20_0000, 0x1_0000, 1), (0x80_0000, 0x1_0000, 1)];
    assert_eq!(map, expected);
    assert_eq!(word(&machine, ZERO_PAGE + 0x218), 0x80_e000, "as high as there is RAM");
    assert_eq!(run_of(machine), Stop::PowerOff);
}

#[test]
fn a_segment_across_two_pieces_of_ram_is_copied() {
    if common::kvm("a segment in two pieces of RAM").is_none() {
        return;
    }
    let folder = Folder::new("across");
    let path = folder.file("kernel", &large());
    let pieces = "[[memory.piece]]\nat = 0\nsize = \"1M\"\n\
         [[memory.piece]]\nat = 0x200000\nsize = \"256K\"\n\
         [[memory.piece]]\nat = 0x240000\nsize = \"1M\"\n";
    let file = File::options().write(true).open(&path).unwrap();
    let outcome = run(builder(&path, pieces), move || file.set_len(0).unwrap()).0;
    assert_eq!((&outcome.stop, outcome.files()), (&Stop::PowerOff, FileState::Intact));
}

#[test]
fn as_many_vcpus_as_can_be_asked_for() {
    let Some(kvm) = common::kvm("many vCPUs") else { return };
    let folder = Folder::new("many");
    let kernel = folder.file("kernel", &vmlinux(POWER_OFF));
    let most = kvm.capability(strata_vmm::kvm::Capability::MAX_VCPUS);
    for cpus in [64, 65, 255] {
        let built = builder(&kernel, &format!("cpus = {cpus}")).build();
        if cpus > most {
            let said = built.unwrap_err().to_string();
            assert!(said.contains("room for so many vCPUs"), "{said}");
        } else {
            let mut machine = built.unwrap();
            assert_eq!(machine.states().unwrap().len(), usize::try_from(cpus).unwrap());
            assert_eq!(run_of(machine), Stop::PowerOff, "{cpus}");
        }
    }
}

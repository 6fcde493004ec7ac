//! Guests that run on a mapped file which somebody shortens or changes under them.

#![allow(missing_docs, reason = "a test")]

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use strata_vmm::devices::{DeviceMut, Effect};
use strata_vmm::file_fault::{FileMapping, FileState, map_file};
use strata_vmm::vm_memory::{Bytes as _, GuestAddress};
use strata_vmm::{Config, Machine, Outcome, Stop};

/// Where the file is mapped in the guest.
const PAGE: u64 = 0x4000;

fn file(name: &str, bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("strata-mapped-{}-{name}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    // Long ago, so that every later change shows, however coarse the clock.
    file.set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
    file
}

/// Does something to the file at the guest's first write to it.
struct Meddler {
    file: File,
    meddle: Option<fn(&File)>,
}

impl DeviceMut for Meddler {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Effect {
        if let Some(meddle) = self.meddle.take() {
            meddle(&self.file);
        }
        Effect::None
    }
}

/// Runs `code` with `page` mapped from a file at [`PAGE`]; whatever it writes to port 0x10 makes somebody meddle with that.
fn run(name: &str, code: &[u8], page: &[u8], meddle: fn(&File)) -> Option<(Outcome, FileMapping)> {
    common::kvm(name)?;
    let file = file(name, page);
    let meddler = Meddler { file: file.try_clone().unwrap(), meddle: Some(meddle) };
    let toml = "mode = \"real16\"\nmemory.size = \"64K\"\nbudget.exits = 100\nregisters.rsp = 0x3000";
    let machine = Machine::builder(Config::from_toml(toml).unwrap())
        .image(code)
        .pio_device(0x10, 1, "meddler", Arc::new(Mutex::new(meddler)))
        .build()
        .unwrap();
    let mapped = map_file(machine.ram(), GuestAddress(PAGE), &file, 0, 0x1000).unwrap();
    Some((machine.run().unwrap(), mapped))
}

/// mov ax, PAGE; call ax; out 0x10, al; call ax; hlt
const CALLS_TWICE: &[u8] = b"\xb8\x00\x40\xff\xd0\xe6\x10\xff\xd0\xf4";
const RET: u8 = 0xc3;

#[test]
fn code_runs_from_a_mapped_file() {
    let Some((outcome, mapped)) = run("running mapped code", CALLS_TWICE, &[RET; 0x1000], |_| {}) else {
        return;
    };
    assert_eq!(outcome.stop, Stop::Halted);
    assert_eq!((mapped.state(), mapped.missing_pages()), (FileState::Intact, 0));
}

#[test]
fn a_guest_whose_code_is_cut_off_ends_with_a_typed_stop() {
    let cut = |file: &File| file.set_len(0).unwrap();
    let Some((outcome, mapped)) = run("cutting off mapped code", CALLS_TWICE, &[RET; 0x1000], cut) else {
        return;
    };
    // Hardware takes the fault to KVM_RUN's caller; a KVM that emulates real mode cannot fetch the instruction; a newer
    // one describes the fault.
    assert!(
        matches!(
            outcome.stop,
            Stop::VcpuFailed { vcpu: 0, call: "KVM_RUN", errno: libc::EFAULT }
                | Stop::MemoryFault { .. }
                | Stop::InternalError { .. }
        ),
        "{:?}",
        outcome.stop
    );
    assert_eq!((mapped.state(), mapped.missing_pages()), (FileState::Shrunk, 0));
    // The RAM that is left can be read as ever, by a dump for instance.
    let byte: u8 = outcome.ram().memory().read_obj(GuestAddress(PAGE)).unwrap();
    assert_eq!((byte, mapped.missing_pages()), (0, 1));
}

#[test]
fn a_guest_sees_what_is_written_into_its_file_and_goes_on() {
    let write = |file: &File| file.write_all_at(&[9], 0).unwrap();
    // again: mov al, [PAGE]; out 0x10, al; cmp al, 9; jne again; hlt
    let code = b"\xa0\x00\x40\xe6\x10\x3c\x09\x75\xf7\xf4";
    let Some((outcome, mapped)) = run("changing a mapped file", code, &[5; 0x1000], write) else {
        return;
    };
    assert_eq!(outcome.stop, Stop::Halted);
    assert_eq!((mapped.state(), mapped.missing_pages()), (FileState::Changed, 0));
}

#[test]
fn what_a_guest_has_written_is_its_own() {
    let write = |file: &File| file.write_all_at(&[9; 0x1000], 0).unwrap();
    // mov byte [PAGE], 7; out 0x10, al; hlt
    let code = b"\xc6\x06\x00\x40\x07\xe6\x10\xf4";
    let Some((outcome, mapped)) = run("writing mapped pages", code, &[5; 0x1000], write) else {
        return;
    };
    assert_eq!(outcome.stop, Stop::Halted);
    let bytes: [u8; 2] = outcome.ram().memory().read_obj(GuestAddress(PAGE)).unwrap();
    assert_eq!(bytes, [7, 5], "the page is the guest's since it wrote, whatever the file says");
    assert_eq!(mapped.state(), FileState::Changed);
}

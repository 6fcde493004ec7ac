//! What the monitor has said of the machine: the command line and the memory map.
//!
//! Both come by PVH's start info (Xen, xen/include/public/arch-x86/hvm/start_info.h).

#![allow(unsafe_code, reason = "reads what the monitor has put into memory")]

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// "xEn3" with the last letter's high bit set.
const MAGIC: u32 = 0x336e_c578;

/// `struct hvm_start_info`.
#[derive(Debug)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    // From version 1 on:
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// One range of the memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// The physical address of its first byte.
    pub start: u64,
    /// Its size in bytes.
    pub len: u64,
    /// What it is, in e820's numbers (ACPI 6.5, table 15.3): 1 is RAM.
    pub kind: u32,
    reserved: u32,
}

impl Region {
    /// Whether it is RAM that may be used. The program itself lies in some of it: up to [`image_end`].
    pub fn is_usable(&self) -> bool {
        self.kind == 1
    }

    /// One past its last byte.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Where the start info lies; 0 if there is none.
static START_INFO: AtomicUsize = AtomicUsize::new(0);

/// Remembers where the start info lies.
///
/// # Safety
///
/// There is one at `address`, whose lists stay as they are; or what is there does not begin with its magic number.
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "a program of an operating system has none"))]
pub(crate) unsafe fn begin(address: usize) {
    let magic = core::ptr::with_exposed_provenance::<u32>(address);
    // SAFETY: the caller promises that it can be read.
    if !magic.is_null() && magic.is_aligned() && unsafe { magic.read() } == MAGIC {
        START_INFO.store(address, Relaxed);
    }
    #[cfg(target_os = "none")]
    take_out_first_page();
}

/// Makes null pointers lead nowhere: takes the first page out of the page tables. QEMU has lists there that its start info
/// leads to; it stays then.
#[cfg(target_os = "none")]
fn take_out_first_page() {
    unsafe extern "C" {
        /// `start.s`: what maps the first 8 MiB.
        static mut strata_page_tables: [u64; 2048];
    }
    let is_used = |info: &StartInfo| {
        let lists = [info.command_line, info.memory_map, info.module_list];
        lists.iter().any(|&address| (1..0x1000).contains(&address))
    };
    if start_info().is_some_and(is_used) {
        return;
    }
    // SAFETY: nothing of Rust's lies in the first page, and nobody else changes the tables now. The processor may have
    // kept the entry (SDM vol. 3A 5.10.4).
    unsafe {
        (&raw mut strata_page_tables).cast::<u64>().write_volatile(0);
        core::arch::asm!("invlpg [{}]", in(reg) 0_u64, options(nostack, preserves_flags));
    }
}

fn start_info() -> Option<&'static StartInfo> {
    let info = core::ptr::with_exposed_provenance::<StartInfo>(START_INFO.load(Relaxed));
    // SAFETY: null, or what `begin` was promised.
    unsafe { info.as_ref() }
}

/// What lies at a physical address: the start's page tables map the first 4 GiB at their own.
#[expect(clippy::cast_possible_truncation, reason = "a pointer has 64 bits here")]
fn at<T>(address: u64) -> *const T {
    core::ptr::with_exposed_provenance(address as usize)
}

/// The command line; empty if there is none, or if it is not UTF-8.
pub fn command_line() -> &'static str {
    let address = start_info().map_or(0, |info| info.command_line);
    if address == 0 {
        return "";
    }
    // SAFETY: the start info leads to a text that ends in a NUL and stays as it is.
    let text = unsafe { CStr::from_ptr(at(address)) };
    text.to_str().unwrap_or_default()
}

/// The value of a word `name=value` on the command line.
pub fn argument(name: &str) -> Option<&'static str> {
    value_of(command_line(), name)
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// The memory map; empty if the monitor gave none.
pub fn memory_map() -> &'static [Region] {
    let Some(info) = start_info().filter(|info| info.version >= 1 && info.memory_map != 0) else {
        return &[];
    };
    let first = at::<Region>(info.memory_map);
    // SAFETY: the start info leads to a list of that length, which stays as it is.
    unsafe { core::slice::from_raw_parts(first, info.memory_map_entries as usize) }
}

/// The physical address of the ACPI RSDP, if there is one.
pub fn rsdp() -> Option<u64> {
    start_info().map(|info| info.rsdp).filter(|&address| address != 0)
}

/// One past the last byte of the program, its stack and its zeros: from here on RAM is free. (0 in a program of an operating
/// system.)
pub fn image_end() -> u64 {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            /// The linker's.
            safe static _end: u8;
        }
        (&raw const _end).addr() as u64
    }
    #[cfg(not(target_os = "none"))]
    0
}

#[cfg(test)]
#[path = "machine_test.rs"]
mod tests;

//! KVM calls in the notation of strace(1), so that our own view can be held against the real one.
//!
//! Structures are shortened exactly as strace shortens them without `-v`. Requests whose argument strace shows
//! as a bare address (`KVM_IRQFD`, `KVM_GET_MP_STATE` ..) are shown with `...` in its place.

use std::fmt::Write as _;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use kvm_bindings::{
    CpuId, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_regs, kvm_sregs, kvm_userspace_memory_region,
};
use strata_memory::Mapping;

use super::calls::{CallRecord, Probe};

/// A [`Probe`] that writes every call as one line, as strace would.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use strata_vmm::kvm::StraceLog;
/// use strata_vmm::{Config, Machine};
/// let builder = Machine::builder(Config::default()).probe(Arc::new(StraceLog::new(std::io::stderr())));
/// # drop(builder);
/// # Ok::<(), strata_vmm::BuildError>(())
/// ```
#[derive(Debug)]
pub struct StraceLog<W>(Mutex<W>);

impl<W: Write + Send> StraceLog<W> {
    /// Writes to `out`; lines that `out` refuses are lost, the guest goes on.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W: Write + Send> Probe for StraceLog<W> {
    fn after(&self, record: &CallRecord) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written is no reason to stop a guest.
        let _ = writeln!(out, "{}", line(record));
    }
}

/// One call as strace prints it: the result starts in column 40.
fn line(record: &CallRecord) -> String {
    let name = if record.name.starts_with("KVM_") { "ioctl" } else { record.name };
    let call = format!("{name}({})", record.arguments);
    match record.result {
        Ok(value) if record.name == "mmap" => format!("{call:<39} = {value:#x}"),
        Ok(value) => format!("{call:<39} = {value}"),
        Err(errno) => {
            let said = std::io::Error::from_raw_os_error(errno).to_string();
            let words = said.split(" (os error").next().unwrap_or_default();
            format!("{call:<39} = -1 {} ({words})", errno_name(errno))
        }
    }
}

/// The symbolic name of the error numbers that KVM and `mmap` use.
fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::ENXIO => "ENXIO",
        libc::E2BIG => "E2BIG",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::ENODEV => "ENODEV",
        libc::EINVAL => "EINVAL",
        libc::ENFILE => "ENFILE",
        libc::EMFILE => "EMFILE",
        libc::ENOTTY => "ENOTTY",
        libc::ENOSPC => "ENOSPC",
        libc::ENOSYS => "ENOSYS",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EHWPOISON => "EHWPOISON",
        other => return format!("E{other}"),
    };
    name.to_owned()
}

/// `fd, NAME, argument`.
pub(super) fn ioctl(fd: &impl AsRawFd, name: &str, argument: &str) -> String {
    format!("{}, {name}, {argument}", fd.as_raw_fd())
}

/// The arguments of the `mmap` that made a mapping.
pub(super) fn mmap(mapping: &Mapping) -> String {
    let Mapping { asked_addr, len, prot, flags, fd, offset, .. } = *mapping;
    let address = hex_or(asked_addr, "NULL");
    let prot = flag_names(
        prot,
        &[(libc::PROT_READ, "PROT_READ"), (libc::PROT_WRITE, "PROT_WRITE"), (libc::PROT_EXEC, "PROT_EXEC")],
        "PROT_NONE",
    );
    // MAP_SHARED and MAP_PRIVATE are a field of two values, not bits of their own; the others are bits.
    let flags = flag_names(
        flags,
        &[
            (libc::MAP_SHARED, "MAP_SHARED"),
            (libc::MAP_PRIVATE, "MAP_PRIVATE"),
            (libc::MAP_FIXED, "MAP_FIXED"),
            (libc::MAP_ANONYMOUS, "MAP_ANONYMOUS"),
            (libc::MAP_NORESERVE, "MAP_NORESERVE"),
            (libc::MAP_POPULATE, "MAP_POPULATE"),
            (libc::MAP_HUGETLB, "MAP_HUGETLB"),
        ],
        "0",
    );
    format!("{address}, {len}, {prot}, {flags}, {fd}, {}", hex_or(offset, "0"))
}

/// The names of the bits set in `value`, joined by `|`; bits without a name as one hexadecimal rest.
fn flag_names(value: i32, names: &[(i32, &str)], none: &str) -> String {
    let mut rest = value;
    let mut shown: Vec<String> = Vec::new();
    for &(bit, name) in names {
        if rest & bit == bit {
            shown.push(name.to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        shown.push(format!("{rest:#x}"));
    }
    if shown.is_empty() { none.to_owned() } else { shown.join("|") }
}

/// strace prints zero without a prefix (or as a name of its own) and everything else in hexadecimal.
fn hex_or(value: u64, zero: &str) -> String {
    if value == 0 { zero.to_owned() } else { format!("{value:#x}") }
}

/// The argument of `KVM_SET_USER_MEMORY_REGION`.
pub(super) fn memory_region(region: &kvm_userspace_memory_region) -> String {
    let flags = flag_names(
        region.flags.cast_signed(),
        &[
            (KVM_MEM_LOG_DIRTY_PAGES.cast_signed(), "KVM_MEM_LOG_DIRTY_PAGES"),
            (KVM_MEM_READONLY.cast_signed(), "KVM_MEM_READONLY"),
        ],
        "0",
    );
    format!(
        "{{slot={}, flags={flags}, guest_phys_addr={}, memory_size={}, userspace_addr={}}}",
        region.slot,
        hex_or(region.guest_phys_addr, "0"),
        region.memory_size,
        hex_or(region.userspace_addr, "NULL"),
    )
}

/// The argument of `KVM_GET_REGS` and `KVM_SET_REGS`.
pub(super) fn regs(regs: Option<&kvm_regs>) -> String {
    let Some(r) = regs else { return "...".to_owned() };
    let hex = |value| hex_or(value, "0");
    format!(
        "{{rax={}, ..., rsp={}, rbp={}, ..., rip={}, rflags={}}}",
        hex(r.rax),
        hex(r.rsp),
        hex(r.rbp),
        hex(r.rip),
        hex(r.rflags)
    )
}

/// The argument of `KVM_GET_SREGS` and `KVM_SET_SREGS`.
pub(super) fn sregs(sregs: Option<&kvm_sregs>) -> String {
    let Some(kvm_sregs { cs, .. }) = sregs else { return "...".to_owned() };
    let mut text =
        format!("{{cs={{base={}, limit={}, selector={}", hex_or(cs.base, "0"), cs.limit, cs.selector);
    for (name, value) in [
        ("type", cs.type_),
        ("present", cs.present),
        ("dpl", cs.dpl),
        ("db", cs.db),
        ("s", cs.s),
        ("l", cs.l),
        ("g", cs.g),
        ("avl", cs.avl),
    ] {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ", {name}={value}");
    }
    text + "}, ...}"
}

/// The argument of `KVM_GET_SUPPORTED_CPUID` and `KVM_SET_CPUID2`.
pub(super) fn cpuid(cpuid: Option<&CpuId>) -> String {
    cpuid.map_or("...".to_owned(), |cpuid| format!("{{nent={}, entries=[...]}}", cpuid.as_slice().len()))
}

#[cfg(test)]
#[path = "strace_test.rs"]
mod tests;

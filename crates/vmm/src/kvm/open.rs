//! `/dev/kvm`: opening it, and telling a person what to do when that fails.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use strata_cpu::Cpuid;

use super::calls::{CallError, Calls};
use super::vm::Vm;
use super::{cpuid, strace};

/// The only version of the KVM API that was ever made stable (`KVM_GET_API_VERSION`, api.rst 4.1).
pub const API_VERSION: i32 = 12;

/// Why KVM cannot be used. Each message names its remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such device node.
    #[error(
        "{} does not exist: this machine offers no KVM. Load it with `sudo modprobe kvm_intel` (or `kvm_amd`); \
         if that fails, enable VT-x or SVM in the firmware, or nested virtualisation where this is itself a virtual machine",
        path.display()
    )]
    Missing {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The node is there, but no driver is behind it.
    #[error(
        "{} is there, but nothing answers behind it: load KVM with `sudo modprobe kvm_intel` (or `kvm_amd`), and see what \
         `dmesg | grep -i kvm` says if that fails",
        path.display()
    )]
    NoDriver {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The system forbids it, whoever asks.
    #[error(
        "the system forbids opening {}: in a container, pass the device in (for docker and podman `--device {}`); \
         elsewhere, look at the security policy",
        path.display(), path.display()
    )]
    Forbidden {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The node is there, but this user may not open it.
    #[error(
        "no permission to open {}: join the group that owns it (usually with `sudo usermod -aG kvm $USER`; `ls -l {}` \
         names it) and log in again; for this session only: `sudo setfacl -m u:$USER:rw {}`",
        path.display(), path.display(), path.display()
    )]
    Permission {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The file can be opened, but is not KVM.
    #[error("{} is not a KVM device: give the node that the kvm module made, usually /dev/kvm", path.display())]
    NotKvm {
        /// The path that was tried.
        path: PathBuf,
    },
    /// KVM speaks another version of its API.
    #[error(
        "KVM speaks API version {found}, Strata needs {API_VERSION} (the only stable one, since Linux 2.6.22): \
         update the kernel, or unload the out-of-tree kvm module that answers so"
    )]
    ApiVersion {
        /// What `KVM_GET_API_VERSION` answered.
        found: i32,
    },
    /// Anything else that `open` says.
    #[error("cannot open {}", path.display())]
    Other {
        /// The path that was tried.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl OpenError {
    /// The error for an `open(path)` or `KVM_GET_API_VERSION` that failed with `errno`.
    pub(crate) fn from_errno(path: &Path, errno: i32) -> Self {
        let path = path.to_owned();
        match errno {
            libc::ENOENT => Self::Missing { path },
            libc::ENODEV | libc::ENXIO => Self::NoDriver { path },
            libc::EPERM => Self::Forbidden { path },
            libc::EACCES => Self::Permission { path },
            libc::ENOTTY | libc::EISDIR => Self::NotKvm { path },
            _ => Self::Other { path, source: io::Error::from_raw_os_error(errno) },
        }
    }

    /// Checks what `KVM_GET_API_VERSION` answered.
    pub(crate) fn check_version(found: i32) -> Result<(), Self> {
        if found == API_VERSION { Ok(()) } else { Err(Self::ApiVersion { found }) }
    }
}

/// An open `/dev/kvm`.
#[derive(Debug)]
pub struct Kvm {
    pub(super) fd: kvm_ioctls::Kvm,
    pub(super) calls: Calls,
}

impl Kvm {
    /// Opens `path` (usually `/dev/kvm`) and checks that it speaks [`API_VERSION`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]: one case for each thing a person can do about it.
    pub fn open(path: &Path, calls: Calls) -> Result<Self, OpenError> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| OpenError::from_errno(path, libc::ENOENT))?;
        let raw = calls
            .make(
                "open",
                || kvm_ioctls::Kvm::open_with_cloexec_at(&name, true),
                |fd| {
                    (
                        format!("{:?}, O_RDWR|O_CLOEXEC", path.display().to_string()),
                        fd.copied().unwrap_or(-1).into(),
                    )
                },
            )
            .map_err(|e| OpenError::from_errno(path, e.source.raw_os_error().unwrap_or(0)))?;
        #[allow(unsafe_code, reason = "kvm-ioctls takes a descriptor only as a raw one")]
        // SAFETY: `open_with_cloexec_at` has just made this descriptor and handed over its ownership.
        let fd = unsafe { kvm_ioctls::Kvm::from_raw_fd(raw) };
        let version = calls
            .make(
                "KVM_GET_API_VERSION",
                || match fd.get_api_version() {
                    -1 => Err(kvm_ioctls::Error::last()),
                    version => Ok(version),
                },
                |version| {
                    (strace::ioctl(&fd, "KVM_GET_API_VERSION", "0"), version.copied().unwrap_or(-1).into())
                },
            )
            .map_err(|e| OpenError::from_errno(path, e.source.raw_os_error().unwrap_or(0)))?;
        OpenError::check_version(version)?;
        Ok(Self { fd, calls })
    }

    /// The CPUID leaves that this host can give a guest (`KVM_GET_SUPPORTED_CPUID`, api.rst 4.46).
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn supported_cpuid(&self) -> Result<Cpuid, CallError> {
        let supported = self.calls.make(
            "KVM_GET_SUPPORTED_CPUID",
            || self.fd.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES),
            |cpuid| (strace::ioctl(&self.fd, "KVM_GET_SUPPORTED_CPUID", &strace::cpuid(cpuid)), 0),
        )?;
        Ok(cpuid::from_kvm(&supported))
    }

    /// Linux lets a signal interrupt this call; a machine that is being built is no reason to fail.
    fn create_vm_uninterrupted(&self) -> Result<kvm_ioctls::VmFd, kvm_ioctls::Error> {
        loop {
            match self.fd.create_vm() {
                Err(error) if error.errno() == libc::EINTR => {}
                result => return result,
            }
        }
    }

    /// Makes an empty virtual machine (`KVM_CREATE_VM`, api.rst 4.2).
    ///
    /// # Errors
    ///
    /// What the kernel answered; `ENOMEM` where the host has no memory for another one.
    pub fn create_vm(&self) -> Result<Vm, CallError> {
        let vm = self.calls.make(
            "KVM_CREATE_VM",
            || self.create_vm_uninterrupted(),
            |vm| (strace::ioctl(&self.fd, "KVM_CREATE_VM", "0"), vm.map_or(-1, |vm| vm.as_raw_fd().into())),
        )?;
        // kvm-ioctls asks for the size of `kvm_run` in the same step.
        self.calls.show("KVM_GET_VCPU_MMAP_SIZE", || {
            (
                strace::ioctl(&self.fd, "KVM_GET_VCPU_MMAP_SIZE", "0"),
                i64::try_from(vm.run_size()).unwrap_or(i64::MAX),
            )
        });
        Ok(Vm::new(vm, self.calls.clone()))
    }
}

#[cfg(test)]
#[path = "open_test.rs"]
mod tests;

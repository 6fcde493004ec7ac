//! A kernel, for the emulated host or for a guest: found, unpacked, and kept in the cache.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::{io, process};

use super::cache::{Cache, CacheError};
use super::image::{self, Compression, ImageError};
use super::modules::Modules;
use super::package::{self, NEWEST, PackageError};
use super::tree::{Tree, WriteError};
use crate::tools::{BUSYBOX, LZ4, ToolError, Tools, XZ, ZSTD};

/// The modules to load, with what they depend on: KVM on AMD, disks for the files that come back, networks for guests.
const WANTED: &[&str] = &["kvm_amd", "nvme", "tun"];
/// The modules to load besides in an emulated host with a network.
const WANTED_FOR_NETWORK: &[&str] = &["virtio_pci", "virtio_net"];
/// The modules that a guest may load: what tells the VMM of a panic, virtio devices, and what stands on these.
///
/// In this order: on 6.1, `virtio` needs nothing of `virtio_ring`, but does not work before it.
const WANTED_BY_GUEST: &[&str] = &[
    "pvpanic_mmio",
    "virtio_ring",
    "virtio_mmio",
    "virtio_rng",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "vmw_vsock_virtio_transport",
    "virtiofs",
    "crc32c_generic",
    "ext4",
];
/// Changes with what is kept in the cache.
const FORMAT: &str = "rig-6";

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A package of the distribution.
    Package(String),
    /// A folder with `boot/vmlinuz-RELEASE` and `lib/modules/RELEASE`: a package unpacked, or a whole system.
    Folder(PathBuf),
    /// A Debian package, a bzImage or a vmlinux. For a bzImage, modules are looked for where its release has them.
    File(PathBuf),
}

/// What was given is none of the three.
#[derive(Debug, thiserror::Error)]
#[error("no file or folder of this name; a package's name has no slash")]
pub(crate) struct SourceError;

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let path = PathBuf::from(text);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Self::Folder(path)),
            Ok(_) => Ok(Self::File(path)),
            Err(_) if !text.is_empty() && !text.contains('/') => Ok(Self::Package(text.to_owned())),
            Err(_) => Err(SourceError),
        }
    }
}

/// A kernel ready to be booted.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// Uncompressed, to be entered by PVH; or a bzImage, where that has no such entry.
    pub(crate) image: PathBuf,
    /// As it came: a bzImage, if it was not an ELF file already.
    pub(crate) vmlinuz: PathBuf,
    /// The emulated host's modules as an archive.
    pub(super) modules: PathBuf,
    /// Those besides for a network.
    pub(super) network_modules: PathBuf,
    /// As an archive, the modules that a guest may load, in `/modules`, to be loaded in the order of their names.
    pub(crate) guest_modules: PathBuf,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("there is no kernel in {}: neither boot/vmlinuz* nor lib/modules/*/vmlinuz", folder.display())]
    NoImage { folder: PathBuf },
    #[error("could not use the kernel {}", path.display())]
    Image { path: PathBuf, source: ImageError },
    #[error("could not read or write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("`{program}` could not unpack {}", path.display())]
    Unpack { program: String, path: PathBuf },
    #[error("could not write the kernel's modules to the cache")]
    Modules(#[from] WriteError),
}

/// Finds the kernel in the cache, or puts it there. Without a `source` it is the distribution's newest.
pub(super) fn prepare(source: Option<&Source>, cache: &Cache, tools: &Tools) -> Result<Kernel, KernelError> {
    let folder = match source {
        None => from_package(&NEWEST, cache, tools)?,
        Some(Source::Package(name)) => from_package(&[name], cache, tools)?,
        Some(Source::Folder(folder)) => {
            let found = Found::below(folder)?;
            cache.get(&key(&found.image)?, |new| found.prepare(new, tools))?
        }
        Some(Source::File(file)) => cache.get(&key(file)?, |new| {
            if file.extension() == Some(OsStr::new("deb")) {
                unpacked(new, tools, |tree| package::unpack(file, tree))
            } else {
                Found { image: file.clone(), roots: roots(file) }.prepare(new, tools)
            }
        })?,
    };
    Ok(Kernel {
        image: folder.join("kernel"),
        vmlinuz: folder.join("vmlinuz"),
        modules: folder.join("modules.cpio"),
        network_modules: folder.join("network.cpio"),
        guest_modules: folder.join("guest.cpio"),
    })
}

fn from_package(names: &[&str], cache: &Cache, tools: &Tools) -> Result<PathBuf, KernelError> {
    let key = |name: &str| format!("{FORMAT}-{name}");
    // Any of them will do, and to ask the package manager for the right one would take a second.
    if let Some(found) = names.iter().map(|name| cache.folder().join(key(name))).find(|path| path.is_dir()) {
        return Ok(found);
    }
    let first = names.first().copied().unwrap_or_default();
    cache.get(&key(first), |new| unpacked(new, tools, |tree| package::fetch(names, tools, tree)))
}

/// Prepares into `new` what `unpack` unpacks.
fn unpacked(
    new: &Path,
    tools: &Tools,
    unpack: impl FnOnce(&Path) -> Result<(), PackageError>,
) -> Result<(), KernelError> {
    let tree = new.join("tree");
    let failed = |source| KernelError::File { path: tree.clone(), source };
    fs::create_dir(&tree).map_err(failed)?;
    unpack(&tree)?;
    Found::below(&tree)?.prepare(new, tools)?;
    fs::remove_dir_all(&tree).map_err(failed)
}

/// A name for what is made of a file of the user's: another one when the file has changed.
fn key(image: &Path) -> Result<String, KernelError> {
    let failed = |source| KernelError::File { path: image.to_owned(), source };
    let path = image.canonicalize().map_err(failed)?;
    let state = fs::metadata(&path).map_err(failed)?;
    let mut hasher = DefaultHasher::new();
    (path, state.len(), state.modified().map_err(failed)?).hash(&mut hasher);
    Ok(format!("{FORMAT}-file-{:016x}", hasher.finish()))
}

/// Folders that may have `lib/modules` for this image: `/boot/vmlinuz` is in `/`, `/lib/modules/x/vmlinuz` too.
fn roots(image: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(image).unwrap_or_else(|_| image.to_owned());
    absolute.ancestors().skip(1).map(Path::to_owned).collect()
}

/// A kernel's image, and where its modules may be.
#[derive(Debug)]
struct Found {
    image: PathBuf,
    roots: Vec<PathBuf>,
}

impl Found {
    /// The newest kernel of a system's tree.
    fn below(folder: &Path) -> Result<Self, KernelError> {
        let mut images = Vec::new();
        let mut add = |image: PathBuf| {
            let name = image.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if name.starts_with("vmlinuz") && image.is_file() {
                images.push(image);
            }
        };
        entries(&folder.join("boot")).for_each(&mut add);
        for modules in ["lib/modules", "usr/lib/modules"] {
            entries(&folder.join(modules)).for_each(|release| add(release.join("vmlinuz")));
        }
        let image = images.into_iter().max().ok_or_else(|| KernelError::NoImage { folder: folder.into() })?;
        Ok(Self { image, roots: vec![folder.to_owned()] })
    }

    /// Writes the files of a [`Kernel`] into the folder `new`.
    fn prepare(&self, new: &Path, tools: &Tools) -> Result<(), KernelError> {
        let path = &self.image;
        let bytes = fs::read(path).map_err(|source| KernelError::File { path: path.clone(), source })?;
        let unpacker = Unpacker { tools, scratch: new.join("packed") };
        let plain = if image::is_elf(&bytes) {
            Some(bytes.clone())
        } else {
            let bad = |source| KernelError::Image { path: path.clone(), source };
            unpacker.unpack(image::payload(&bytes).map_err(bad)?.to_vec(), path).map(Some)?
        };
        let plain = plain.filter(|plain| image::has_pvh_entry(plain));
        if plain.is_none() {
            eprintln!("rig: {} has no PVH entry that could be used; it boots the slow way", path.display());
        }
        write(&new.join("kernel"), plain.as_deref().unwrap_or(&bytes))?;
        write(&new.join("vmlinuz"), &bytes)?;
        for (archive, at, wanted) in [
            ("modules.cpio", "/rig/modules", WANTED),
            ("network.cpio", "/rig/network", WANTED_FOR_NETWORK),
            ("guest.cpio", "/modules", WANTED_BY_GUEST),
        ] {
            let mut tree = Tree::default();
            for (index, (name, content)) in self.modules(&bytes, wanted, &unpacker)?.into_iter().enumerate() {
                // A shell lists them in the order of their names.
                tree.file(format!("{at}/{index:02}-{name}.ko"), false, content);
            }
            tree.write(create(&new.join(archive))?)?;
        }
        remove(&unpacker.scratch)
    }

    /// The modules that `wanted` need and these themselves, in the order of loading.
    fn modules(
        &self,
        image: &[u8],
        wanted: &[&str],
        unpacker: &Unpacker<'_>,
    ) -> Result<Vec<(String, Vec<u8>)>, KernelError> {
        let release = image::release(image).or_else(|| self.image.parent()?.file_name()?.to_str());
        let places = self.roots.iter().flat_map(|root| [root.join("lib"), root.join("usr/lib")]);
        let folder = release.and_then(|release| {
            places.map(|lib| lib.join("modules").join(release)).find(|path| path.is_dir())
        });
        let Some(folder) = folder else {
            // A kernel with everything built in needs none. If that is not so, the emulated host will say it.
            return Ok(Vec::new());
        };
        let read = |path: &Path| {
            let failed = |source| KernelError::File { path: path.to_owned(), source };
            unpacker.unpack(fs::read(path).map_err(failed)?, path)
        };
        let modules = Modules::below(&folder).map_err(|source| KernelError::File { path: folder, source })?;
        modules.load_order(wanted, read)
    }
}

/// Unpacks by other programs: they are on nearly every system, and xtask stays quick to build without crates for four
/// formats.
#[derive(Debug)]
struct Unpacker<'a> {
    tools: &'a Tools,
    scratch: PathBuf,
}

impl Unpacker<'_> {
    /// What `bytes`, from the file `origin`, are when unpacked: the same if they are not packed.
    fn unpack(&self, bytes: Vec<u8>, origin: &Path) -> Result<Vec<u8>, KernelError> {
        let (tool, arguments): (_, &[&str]) = match Compression::of(&bytes) {
            None => return Ok(bytes),
            Some(Compression::Gzip) => (&BUSYBOX, &["gzip", "-dc"]),
            // Busybox' own does not know the filter for machine code that the kernel's build uses.
            Some(Compression::Xz) => (&XZ, &["-dc"]),
            Some(Compression::Lz4) => (&LZ4, &["-dc"]),
            Some(Compression::Zstd) => (&ZSTD, &["-dc"]),
        };
        let program = self.tools.ensure(tool)?;
        write(&self.scratch, &bytes)?;
        let failed = |source| KernelError::File { path: self.scratch.clone(), source };
        let packed = File::open(&self.scratch).map_err(failed)?;
        let mut command = process::Command::new(&program);
        command.args(arguments).stdin(packed).stderr(Stdio::inherit());
        let done = command.output().map_err(|source| KernelError::File { path: program.clone(), source })?;
        if done.status.success() {
            Ok(done.stdout)
        } else {
            let program = program.display().to_string();
            Err(KernelError::Unpack { program, path: origin.to_owned() })
        }
    }
}

/// The paths in a folder; none if it can't be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KernelError> {
    fs::write(path, bytes).map_err(|source| KernelError::File { path: path.to_owned(), source })
}

fn create(path: &Path) -> Result<io::BufWriter<File>, KernelError> {
    let file = File::create(path).map_err(|source| KernelError::File { path: path.to_owned(), source })?;
    Ok(io::BufWriter::new(file))
}

fn remove(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "kernel_test.rs"]
mod tests;

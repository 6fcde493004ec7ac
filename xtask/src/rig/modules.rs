//! The kernel modules that KVM consists of, and those that they depend on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// All modules of a kernel: names as the kernel has them, with `_` where files may have `-`.
#[derive(Debug, Default)]
pub(super) struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Those below `folder`, which is `lib/modules/RELEASE`.
    pub(super) fn below(folder: &Path) -> io::Result<Self> {
        let mut modules = Self::default();
        modules.collect(folder)?;
        Ok(modules)
    }

    fn collect(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.collect(&entry.path())?;
            } else if let Some(name) = name_of(&entry.file_name()) {
                self.files.insert(name, entry.path());
            }
        }
        Ok(())
    }

    /// Names and contents of the modules that `wanted` need and of these themselves, in the order of loading.
    ///
    /// `read` reads a module's file and unpacks it. A module that does not exist is taken to be built into the kernel.
    pub(super) fn load_order<E>(
        &self,
        wanted: &[&str],
        mut read: impl FnMut(&Path) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<(String, Vec<u8>)>, E> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(name, &mut order, &mut read)?;
        }
        Ok(order)
    }

    fn visit<E>(
        &self,
        name: &str,
        order: &mut Vec<(String, Vec<u8>)>,
        read: &mut dyn FnMut(&Path) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let Some(file) = self.files.get(name).filter(|_| order.iter().all(|(known, _)| known != name)) else {
            return Ok(());
        };
        let content = read(file)?;
        for dependency in dependencies(&content) {
            self.visit(&dependency, order, read)?;
        }
        order.push((name.to_owned(), content));
        Ok(())
    }
}

/// `kvm-amd.ko.xz` is the module `kvm_amd`.
fn name_of(file: &OsStr) -> Option<String> {
    let (name, ending) = file.to_str()?.split_once(".ko")?;
    matches!(ending, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// What a module says it depends on: in its section `.modinfo` of strings `KEY=VALUE`, each ended by NUL.
fn dependencies(module: &[u8]) -> Vec<String> {
    let value = module.split(|&byte| byte == 0).find_map(|string| string.strip_prefix(b"depends="));
    let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let kernel = Folder::new();
        for (file, depends) in [
            ("x/kvm-amd.ko", "kvm,ccp"),
            ("y/kvm.ko.xz", "irqbypass"),
            ("ccp.ko", "irqbypass"),
            ("irqbypass.ko", ""),
        ] {
            kernel.file(file, &format!("\x7fELF\0license=GPL\0depends={depends}\0retpoline=Y\0"));
        }
        kernel.file("modules.order", "no module");
        let modules = Modules::below(kernel.path()).unwrap();
        let order = modules.load_order(&["kvm_amd", "built_in"], |path| fs::read(path)).unwrap();
        let names: Vec<&str> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["irqbypass", "kvm", "ccp", "kvm_amd"]);
    }

    #[test]
    fn only_modules_are_modules() {
        assert_eq!(name_of(OsStr::new("kvm-amd.ko.zst")).as_deref(), Some("kvm_amd"));
        assert_eq!(name_of(OsStr::new("kvm-amd.ko.old")), None);
        assert_eq!(name_of(OsStr::new("modules.dep")), None);
    }

    #[test]
    fn a_module_that_cannot_be_read_is_an_error() {
        let kernel = Folder::new();
        kernel.file("kvm.ko", "");
        let modules = Modules::below(kernel.path()).unwrap();
        let result = modules.load_order(&["kvm"], |_| Err(io::Error::from(io::ErrorKind::InvalidData)));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

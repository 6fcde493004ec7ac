use std::fs;

use proptest::prelude::*;
use strata_boot::PlaceError;
use strata_boot::linux::LinuxError;
use strata_memory::RamSpec;

use super::super::kernels;
use super::super::load::load;
use super::*;
use crate::kvm::Calls;

/// A file of its own, gone at the end.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("strata-payload-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn config(&self) -> Config {
        Config { image: self.0.clone(), ..Config::default() }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// More than is read at once.
const LARGE: usize = 0x2_0000;

fn ram() -> Ram {
    RamSpec::new(16 << 20).build().unwrap()
}

fn format(config: &Config, image: &[u8]) -> Format {
    Payload::open(config, Some(image.to_vec())).unwrap().format
}

#[test]
fn either_file_of_linux_is_called_linux() {
    let kernel = kernels::vmlinux(b"\xf4");
    let packed = kernels::packed(&kernel);
    let named = |format| Config { format, ..Config::default() };
    assert_eq!(format(&named(None), &packed), Format::BzImage);
    assert_eq!(format(&named(Some(Format::Linux)), &packed), Format::BzImage);
    assert_eq!(format(&named(Some(Format::BzImage)), &packed), Format::BzImage);
    assert_eq!(format(&named(Some(Format::Linux)), &kernel), Format::Linux);
    assert_eq!(format(&named(Some(Format::Flat)), &packed), Format::Flat, "what is asked for");
}

#[cfg(feature = "unpack")]
#[test]
fn what_cannot_be_unpacked_here_unpacks_itself() {
    let complete = |image: Vec<u8>| {
        let config = Config::default();
        let payload = Payload::open(&config, Some(image)).unwrap().complete(&config, &ram()).unwrap();
        (payload.format, payload.image.len())
    };
    let kernel = kernels::vmlinux(b"\xf4");
    assert_eq!(complete(kernels::packed(&kernel)), (Format::Linux, kernel.len() as u64));
    // No payload, one that is compressed in no known way, one in a way that is known but not unpacked here, and one that
    // is no ELF file.
    let lzo = [&[0; 0x200], b"\x89LZO".as_slice(), &[0; 100]].concat();
    let stubs = [
        kernels::classic(b"\xf4"),
        kernels::bzimage(&[7; 0x300], (0x200, 0x100)),
        kernels::bzimage(&lzo, (0x200, 0x50)),
        kernels::packed(b"no ELF file"),
    ];
    for stub in stubs {
        let len = stub.len() as u64;
        assert_eq!(complete(stub), (Format::BzImage, len));
    }
}

#[test]
fn sizes_are_said_as_people_write_them() {
    let said = |size, ram| BuildError::KernelLargerThanRam { size, ram }.to_string();
    let of_a_kernel = said(0x32c_6e34, 24 << 20);
    assert!(of_a_kernel.contains("takes 51 MiB, and the guest has 24 MiB of RAM"), "{of_a_kernel}");
    assert!(said(1 << 30, 0x1000).contains("takes 1 GiB, and the guest has 4 KiB"));
    assert!(said(u64::MAX, 1001).contains("18446744073709551615 bytes, and the guest has 1001 bytes"));
}

#[cfg(feature = "unpack")]
#[test]
fn why_an_unpacked_kernel_is_not_kept_is_carried_along() {
    use crate::kernel_cache::{KernelCache, NotKept};

    let kernel = kernels::vmlinux(&vec![0xf4; LARGE]);
    let temp = Temp::new("not-kept", &kernels::packed(&kernel));
    let source = Source::open(&temp.0, "image").unwrap();
    assert!(source.file().is_some());
    let unpacked = |cache: &KernelCache| {
        let (image, not_kept) = unpack_by(cache, &source, 16 << 20).unwrap().unwrap();
        assert_eq!(image.len(), kernel.len() as u64);
        not_kept
    };
    assert!(matches!(unpacked(&KernelCache::none()), Some(NotKept::NoFolder)));
    // A file where the folder should be.
    assert!(matches!(unpacked(&KernelCache::at(&temp.0)), Some(NotKept::NotAFolder { .. })));
    let folder = std::env::temp_dir().join(format!("strata-payload-{}-kept", std::process::id()));
    let kept = unpacked(&KernelCache::at(&folder));
    fs::remove_dir_all(&folder).unwrap();
    assert!(kept.is_none(), "{kept:?}");
}

#[test]
fn small_files_are_read_and_large_ones_left_where_they_are() {
    for (len, is_file) in [(0x1_0000, false), (0x1_0001, true)] {
        let temp = Temp::new("sizes", &vec![0xf4; len]);
        let payload = Payload::open(&temp.config(), None).unwrap();
        assert_eq!((payload.image.file().is_some(), payload.image.len()), (is_file, len as u64));
    }
}

/// What somebody does to a kernel's file after it has been recognised and before it is loaded.
fn meddled(name: &str, kernel: &[u8], meddle: impl Fn(&File)) -> Result<(), BuildError> {
    let temp = Temp::new(name, kernel);
    let mut config = temp.config();
    let payload = Payload::open(&config, None)?;
    config.settle(payload.format);
    meddle(&File::options().write(true).open(&temp.0).unwrap());
    let ram = ram();
    let payload = payload.complete(&config, &ram)?;
    load(&config, &payload, &ram, &Calls::new(), &[]).map(drop)
}

#[test]
fn a_file_that_changes_before_it_is_loaded_is_a_named_error_or_what_it_is_then() {
    use std::os::unix::fs::FileExt as _;

    let kernel = kernels::vmlinux(&vec![0xf4; LARGE]);
    assert!(meddled("intact", &kernel, |_| {}).is_ok());
    // Cut off in its headers, its note, its code: also where it would have been mapped.
    for (at, len) in [0, 0x20, 0x50, 0x1000, 0x2000, 0x1_0000].into_iter().enumerate() {
        for kernel in [&kernel, &kernels::vmlinux(&vec![0xf4; 8 * LARGE])] {
            let cut = meddled(&format!("cut{at}"), kernel, |file| file.set_len(len).unwrap());
            let error = cut.unwrap_err();
            assert!(
                matches!(
                    error,
                    BuildError::Linux(LinuxError::Read(_) | LinuxError::Place(PlaceError::Read { .. }))
                ) || matches!(error, BuildError::Linux(LinuxError::Elf(_))),
                "{error:?}"
            );
        }
    }
    assert!(meddled("longer", &kernel, |file| file.set_len(1 << 30).unwrap()).is_ok());
    let other = meddled("other", &kernel, |file| file.write_all_at(b"MZ\0\0", 0).unwrap());
    assert!(matches!(other, Err(BuildError::Linux(LinuxError::NotLinux))), "{other:?}");
    let pvh = kernels::pvh(&vec![0xf4; LARGE]);
    assert!(meddled("pvh", &kernel, |file| file.write_all_at(&pvh, 0).unwrap()).is_err(), "entered at 0");
}

/// What the tests of many damaged kernels damage.
fn good_kernels() -> Vec<Vec<u8>> {
    let code = [0xf4; 0x300];
    let kernel = kernels::vmlinux(&code);
    vec![
        kernels::packed(&kernel),
        kernels::classic(&code),
        kernels::pvh(&code),
        kernels::multiboot(&code),
        kernels::elf(kernels::AT, &[kernels::load(kernels::AT, &code)]),
        kernel,
    ]
}

proptest! {
    /// Whatever the bytes and whatever they are taken for: an error, or a machine that lacks nothing but KVM.
    #[test]
    fn damaged_kernels_never_panic(
        mut image in prop::sample::select(good_kernels()),
        changes in prop::collection::vec((0..0x500_usize, any::<u8>()), 0..8),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        format in prop::option::of(prop::sample::select(Format::ALL.to_vec())),
        classic in any::<bool>(),
    ) {
        for (at, byte) in changes {
            let at = at % image.len();
            image[at] = byte;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        let mut config = Config { format, kvm: "/nonexistent/kvm".into(), ..Config::default() };
        config.memory.size = Some(crate::config::ByteSize(4 << 20));
        if classic && matches!(detect(&image), Ok(Format::BzImage)) {
            config.boot_protocol = Some(BootProtocol::Classic);
        }
        let error = crate::Machine::builder(config).image(image).build().unwrap_err();
        prop_assert!(!error.is_the_hosts() || matches!(error, BuildError::Open(_)), "{error:?}");
        prop_assert!(!error.to_string().is_empty());
    }
}

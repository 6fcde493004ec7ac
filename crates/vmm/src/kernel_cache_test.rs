use std::cell::Cell;
use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;

/// A folder of a test's own, removed when dropped.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("strata-kernel-cache-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn cache(&self) -> KernelCache {
        // Without a rest, so that no test has to wait for its files to grow old.
        let rest = Rest { fine: Duration::ZERO, coarse: Duration::ZERO };
        KernelCache { rest, ..KernelCache::at(self.folder()) }
    }

    fn folder(&self) -> PathBuf {
        self.0.join("a/kernels")
    }

    /// A packed kernel.
    fn kernel(&self, name: &str, content: &str) -> File {
        fs::write(self.0.join(name), content).unwrap();
        File::open(self.0.join(name)).unwrap()
    }

    /// What is in the cache's folder and no link.
    fn kernels(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = names.filter(|path| !path.is_symlink()).collect();
        names.sort();
        names
    }

    fn links(&self) -> usize {
        fs::read_dir(self.folder())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_symlink())
            .count()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// "Unpacks" by putting `vmlinux:` before the content.
fn unpack(packed: &File, into: &mut File) -> io::Result<()> {
    into.write_all(b"vmlinux:")?;
    into.write_all(&bytes(packed))
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn never(_: &File, _: &mut File) -> io::Result<()> {
    panic!("unpacked again");
}

fn content(unpacked: &Unpacked) -> String {
    String::from_utf8(bytes(&unpacked.file)).unwrap()
}

#[test]
fn the_second_time_nothing_is_unpacked() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    let first = temp.cache().get(&kernel, unpack).unwrap();
    assert!(matches!(first.origin, Origin::Unpacked), "{first:?}");
    assert_eq!(content(&first), "vmlinux:one");
    let again = temp.cache().get(&kernel, never).unwrap();
    assert!(matches!(again.origin, Origin::Known), "{again:?}");
    assert_eq!(content(&again), "vmlinux:one");
    let inodes = [&first, &again].map(|unpacked| unpacked.file.metadata().unwrap().ino());
    assert_eq!(inodes[0], inodes[1], "one file, so its pages are shared");
    assert_eq!(first.file.metadata().unwrap().mode() & 0o7777, 0o444);
    assert_eq!(fs::metadata(temp.folder()).unwrap().mode() & 0o7777, 0o700);
    assert!(first.file.write_at(b"x", 0).is_err(), "open for reading only");
}

#[test]
fn what_is_unpacked_matters_and_not_the_position_of_the_file() {
    let temp = Temp::new();
    let mut kernel = temp.kernel("vmlinuz", "one");
    kernel.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(content(&temp.cache().get(&kernel, unpack).unwrap()), "vmlinux:one");
    assert_eq!(io::Seek::stream_position(&mut kernel).unwrap(), 2);
}

#[test]
fn the_same_content_elsewhere_is_recognised_and_then_known() {
    let temp = Temp::new();
    temp.cache().get(&temp.kernel("vmlinuz", "one"), unpack).unwrap();
    let copy = temp.kernel("copy", "one");
    let found = temp.cache().get(&copy, never).unwrap();
    assert!(matches!(found.origin, Origin::SameContent), "{found:?}");
    let known = temp.cache().get(&copy, never).unwrap();
    assert!(matches!(known.origin, Origin::Known), "{known:?}");
    assert_eq!((temp.kernels().len(), temp.links()), (1, 2));
}

#[test]
fn another_kernel_under_the_same_name_is_another_kernel() {
    let temp = Temp::new();
    temp.cache().get(&temp.kernel("vmlinuz", "one"), unpack).unwrap();
    let path = temp.0.join("vmlinuz");
    // Rewritten in place, of the same length, and its time of modification forged: the time of change is not.
    let before = fs::metadata(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let changed = loop {
        file.write_all_at(b"two", 0).unwrap();
        file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
        let now = file.metadata().unwrap();
        if (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
            break now;
        }
    };
    assert_eq!((changed.ino(), changed.len(), changed.mtime()), (before.ino(), 3, before.mtime()));
    let found = temp.cache().get(&File::open(&path).unwrap(), unpack).unwrap();
    assert!(matches!(found.origin, Origin::Unpacked), "{found:?}");
    assert_eq!(content(&found), "vmlinux:two");
}

#[test]
fn a_file_that_has_just_changed_is_known_by_its_content_only() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    let hour = Duration::from_secs(3600);
    let careful = KernelCache { rest: Rest { fine: hour, coarse: hour }, ..temp.cache() };
    careful.get(&kernel, unpack).unwrap();
    let again = careful.get(&kernel, never).unwrap();
    assert!(matches!(again.origin, Origin::SameContent), "{again:?}");
    assert_eq!(temp.links(), 0);
}

#[test]
fn how_long_a_file_has_rested() {
    let rest = KernelCache::none().rest;
    let file = |nanos| Identity { dev: 1, inode: 2, size: 3, modified: (9, 9), changed: (1000, nanos) };
    let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    assert!(file(5_000_000).has_rested(at(1_000_105), rest));
    assert!(!file(5_000_000).has_rested(at(1_000_104), rest));
    assert!(!file(5_000_000).has_rested(at(999_000), rest), "from the future");
    assert!(
        !file(0).has_rested(at(1_002_999), rest) && file(0).has_rested(at(1_003_000), rest),
        "whole seconds"
    );
    assert_eq!(file(5).name(), "v1-1-2-3-9.000000009-1000.000000005");
}

#[test]
fn a_kernel_that_changes_while_it_is_unpacked_gets_no_link() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    let changes = |packed: &File, into: &mut File| {
        fs::write(temp.0.join("vmlinuz"), "other")?;
        unpack(packed, into)
    };
    let first = temp.cache().get(&kernel, changes).unwrap();
    assert_eq!(content(&first), "vmlinux:one", "what was hashed is what was unpacked");
    assert_eq!(temp.links(), 0);
    assert_eq!(content(&temp.cache().get(&kernel, unpack).unwrap()), "vmlinux:other");
}

#[test]
fn a_damaged_kernel_is_noticed_and_made_anew() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    let damages: [fn(&Path); 4] = [
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(5).unwrap(),
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap(),
        |path| OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"X", 3).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for (nth, damage) in damages.iter().enumerate() {
        temp.cache().get(&kernel, unpack).unwrap();
        let [path] = &temp.kernels()[..] else { panic!("{:?}", temp.kernels()) };
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        damage(path);
        let unpacked_again = Cell::new(false);
        let found = temp.cache().get(&kernel, |packed, into| {
            unpacked_again.set(true);
            unpack(packed, into)
        });
        assert_eq!(content(&found.unwrap()), "vmlinux:one", "damage {nth}");
        assert!(unpacked_again.get(), "damage {nth}");
        assert!(matches!(temp.cache().get(&kernel, never).unwrap().origin, Origin::Known));
    }
}

#[test]
fn a_kernel_that_others_may_write_is_not_trusted() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    temp.cache().get(&kernel, unpack).unwrap();
    fs::set_permissions(&temp.kernels()[0], Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(temp.cache().get(&kernel, unpack).unwrap().origin, Origin::Unpacked));
}

#[test]
fn many_at_once_all_get_the_kernel() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // All of them have found nothing when the first begins to write.
                let get = temp.cache().get(&kernel, |packed, into| {
                    barrier.wait();
                    unpack(packed, into)
                });
                assert_eq!(content(&get.unwrap()), "vmlinux:one");
            });
        }
    });
    assert_eq!((temp.kernels().len(), temp.links()), (1, 1), "and nothing temporary is left");
    assert_eq!(content(&temp.cache().get(&kernel, never).unwrap()), "vmlinux:one");
}

fn not_kept(cache: &KernelCache, kernel: &File) -> NotKept {
    let unpacked = cache.get(kernel, unpack).unwrap();
    assert_eq!(content(&unpacked), "vmlinux:one");
    assert!(unpacked.file.set_len(0).is_err() && unpacked.file.write_at(b"x", 0).is_err(), "sealed");
    match unpacked.origin {
        Origin::NotKept(why) => why,
        origin => panic!("{origin:?}"),
    }
}

#[test]
fn without_a_usable_folder_the_kernel_is_unpacked_all_the_same() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    assert!(matches!(not_kept(&KernelCache::none(), &kernel), NotKept::NoFolder));
    assert!(matches!(
        not_kept(&KernelCache::at(temp.0.join("vmlinuz")), &kernel),
        NotKept::NotAFolder { .. }
    ));
    let below_a_file = KernelCache::at(temp.0.join("vmlinuz/kernels"));
    assert!(matches!(not_kept(&below_a_file, &kernel), NotKept::Folder { .. }));
    // Nobody can make a folder there, root neither.
    assert!(matches!(not_kept(&KernelCache::at("/proc/strata/kernels"), &kernel), NotKept::Folder { .. }));
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    temp.cache().get(&kernel, unpack).unwrap();
    for mode in [0o770, 0o702, 0o1777] {
        fs::set_permissions(temp.folder(), Permissions::from_mode(mode)).unwrap();
        assert!(matches!(not_kept(&temp.cache(), &kernel), NotKept::NotPrivate { .. }), "{mode:o}");
    }
    fs::set_permissions(temp.folder(), Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(temp.cache().get(&kernel, never).unwrap().origin, Origin::Known), "others may read");
}

#[test]
fn failing_to_unpack_is_an_error_and_leaves_nothing() {
    let temp = Temp::new();
    let kernel = temp.kernel("vmlinuz", "one");
    let fails = |_: &File, into: &mut File| {
        into.write_all(b"half")?;
        Err(io::Error::other("broken"))
    };
    let failed = temp.cache().get(&kernel, fails);
    assert!(matches!(&failed, Err(CacheError::Unpack(error)) if error.to_string() == "broken"), "{failed:?}");
    assert!(!temp.folder().exists(), "nothing to keep, so no folder");
    assert_eq!(content(&temp.cache().get(&kernel, unpack).unwrap()), "vmlinux:one");
}

#[test]
fn what_is_no_file_is_refused_unread() {
    let folder = File::open("/").unwrap();
    assert!(matches!(KernelCache::none().get(&folder, never), Err(CacheError::NotAFile)));
}

const FULL: &str = "STRATA_TEST_FULL_DISK";

/// Run by the next test in a process of its own: a limit on the size of files is the process's.
#[test]
fn child_with_a_full_disk() {
    let Some(folder) = env::var_os(FULL) else { return };
    let folder = PathBuf::from(folder);
    let cache = KernelCache::at(folder.join("a/kernels"));
    #[allow(unsafe_code, reason = "the signal that comes with the limit would end the process")]
    // SAFETY: sets a disposition, no handler.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let kernel = File::open(folder.join("vmlinuz")).unwrap();
    let unpacked = cache.get(&kernel, |_, into| {
        into.write_all(&vec![7; 0x4_0000])?;
        // From here on no file grows beyond this: as a disk does that has so much room left.
        setrlimit(Resource::Fsize, Rlimit { current: Some(0x2_1000), maximum: Some(0x2_1000) })?;
        io::Result::Ok(())
    });
    let unpacked = unpacked.unwrap();
    assert!(matches!(unpacked.origin, Origin::NotKept(NotKept::Folder { .. })), "{unpacked:?}");
    assert_eq!(unpacked.file.metadata().unwrap().len(), 0x4_0000);
}

#[test]
fn a_full_disk_keeps_nobody_from_starting() {
    let temp = Temp::new();
    temp.kernel("vmlinuz", "one");
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "kernel_cache::tests::child_with_a_full_disk", "--test-threads=1"]);
    let output = child.env(FULL, &temp.0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!((temp.kernels().len(), temp.links()), (0, 0), "the half kernel is gone");
}

#[test]
fn the_kernels_used_longest_ago_go() {
    let temp = Temp::new();
    let limits = Limits { kernels: 3, bytes: 1000, links: 64 };
    let cache = KernelCache { limits, ..temp.cache() };
    let kernels: Vec<_> = (0..5).map(|n| temp.kernel(&format!("k{n}"), &format!("kernel {n}"))).collect();
    for (n, kernel) in (1..).zip(&kernels[..3]) {
        let unpacked = cache.get(kernel, unpack).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        unpacked.file.set_times(FileTimes::new().set_accessed(then)).unwrap();
    }
    assert_eq!(temp.kernels().len(), 3);
    cache.get(&kernels[0], never).unwrap(); // used now: k1 is the oldest
    cache.get(&kernels[3], unpack).unwrap();
    assert_eq!((temp.kernels().len(), temp.links()), (3, 3));
    for n in [0, 2, 3] {
        assert!(matches!(cache.get(&kernels[n], never).unwrap().origin, Origin::Known), "{n}");
    }
    assert!(matches!(cache.get(&kernels[1], unpack).unwrap().origin, Origin::Unpacked));
    // Too large for the folder by itself: it stays until the next one comes, alone.
    let tight = KernelCache { limits: Limits { kernels: 3, bytes: 1, links: 64 }, ..temp.cache() };
    tight.get(&kernels[4], unpack).unwrap();
    assert_eq!((temp.kernels().len(), temp.links()), (1, 1));
    assert!(matches!(tight.get(&kernels[4], never).unwrap().origin, Origin::Known));
}

#[test]
fn links_are_bounded_and_strange_files_left_alone() {
    let temp = Temp::new();
    let cache = KernelCache { limits: Limits { links: 2, ..Limits::default() }, ..temp.cache() };
    for n in 0..4 {
        cache.get(&temp.kernel(&format!("k{n}"), "one"), unpack).unwrap();
    }
    assert_eq!((temp.kernels().len(), temp.links()), (1, 2));
    fs::write(temp.folder().join("notes"), "mine").unwrap();
    fs::write(temp.folder().join("tmp-1-1"), "somebody is writing this").unwrap();
    cache.get(&temp.kernel("k5", "two"), unpack).unwrap();
    assert_eq!(temp.kernels().len(), 4);
}

#[test]
fn the_users_folder() {
    let folder = |xdg: Option<&str>, home: Option<&str>| {
        user_folder(|name| if name == "HOME" { home } else { xdg }.map(PathBuf::from))
    };
    assert_eq!(folder(Some("/c"), Some("/h")), Some("/c/strata/kernels".into()));
    assert_eq!(folder(None, Some("/h")), Some("/h/.cache/strata/kernels".into()));
    assert_eq!(folder(Some("c"), Some("/h")), Some("/h/.cache/strata/kernels".into()));
    assert_eq!(folder(Some(""), Some("h")), None);
    assert_eq!(folder(None, None), None);
}

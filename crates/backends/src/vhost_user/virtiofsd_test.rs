use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::super::testing::TempDir;
use super::super::{FsError, TalkError, VhostUserFs};
use super::*;

/// As much of its `--help` as is looked at.
const NEW: &str = "--shared-dir <SHARED_DIR>\n      --readonly\n";
const OLD: &str = "--shared-dir <SHARED_DIR>\n";
const C: &str = "    -o source=PATH             shared directory tree\n";

/// A program that prints `help` if it is asked for it, and otherwise does as it is told.
fn program(dir: &TempDir, help: &str, otherwise: &str) -> PathBuf {
    let path = dir.path().join("virtiofsd");
    let script =
        format!("#!/bin/sh\nif [ \"$1\" = --help ]; then cat <<'EOT'\n{help}\nEOT\nexit; fi\n{otherwise}\n");
    // It is written by another process: a thread that forks meanwhile would keep it open, and "text file busy".
    let mut writer =
        Command::new("/bin/sh").arg("-c").arg("cat > \"$0\"").arg(&path).stdin(Stdio::piped()).spawn();
    io::Write::write_all(&mut writer.as_mut().unwrap().stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(writer.unwrap().wait().unwrap().success());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn virtiofsd(help: &str) -> Virtiofsd {
    Virtiofsd::at(program(&TempDir::new("dialect"), help, "")).unwrap()
}

fn arguments(virtiofsd: &Virtiofsd, dir: &str, read_only: bool) -> Result<String, ShareError> {
    let arguments = virtiofsd.arguments(Path::new(dir), read_only)?;
    Ok(arguments.join(OsStr::new(" ")).into_string().unwrap())
}

#[test]
fn each_kind_is_spoken_to_in_its_own_way() {
    let rust = "--fd=0 --shared-dir /srv/a,b --sandbox namespace --log-level warn";
    assert_eq!(arguments(&virtiofsd(NEW), "/srv/a,b", false).unwrap(), rust);
    assert_eq!(arguments(&virtiofsd(NEW), "/srv/a,b", true).unwrap(), format!("{rust} --readonly"));
    assert_eq!(arguments(&virtiofsd(OLD), "/srv/a,b", false).unwrap(), rust);
    let c = "--fd=0 -o sandbox=namespace,log_level=err,source=/srv/a\\,b\\\\c";
    assert_eq!(arguments(&virtiofsd(C), "/srv/a,b\\c", false).unwrap(), c);
    let chroot = virtiofsd(C).sandbox(Sandbox::Chroot);
    assert!(arguments(&chroot, "/srv", false).unwrap().contains("sandbox=chroot"));
    assert!(
        arguments(&virtiofsd(NEW).sandbox(Sandbox::None), "/srv", false).unwrap().contains("--sandbox none")
    );
}

#[test]
fn what_a_kind_cannot_do_is_refused() {
    for help in [OLD, C] {
        let error = arguments(&virtiofsd(help), "/srv", true).unwrap_err();
        assert!(matches!(error, ShareError::ReadOnly { .. }), "{error}");
    }
    let error = arguments(&virtiofsd(C).sandbox(Sandbox::None), "/srv", false).unwrap_err();
    assert!(matches!(error, ShareError::Sandbox { .. }), "{error}");
}

#[test]
fn the_first_place_that_has_one_is_taken() {
    let dirs = [TempDir::new("none"), TempDir::new("first"), TempDir::new("second")];
    let program = program(&dirs[1], NEW, "");
    self::program(&dirs[2], C, "");
    let places = || dirs.iter().map(|dir| dir.path().to_owned());
    assert_eq!(Virtiofsd::find_in(places()).unwrap().program(), program);
    let error = Virtiofsd::find_in(places().take(1)).unwrap_err();
    assert!(matches!(error, FindError::NotInstalled));
    assert!(error.to_string().contains("qemu-system-common"), "{error}");
}

#[test]
fn what_is_no_virtiofsd_is_not_started() {
    let dir = TempDir::new("other");
    assert!(matches!(Virtiofsd::at(program(&dir, "usage: cat FILE", "")), Err(FindError::Unknown { .. })));
    assert!(matches!(Virtiofsd::at(dir.path().join("nothing")), Err(FindError::CannotRun { .. })));
}

#[test]
fn the_directory_has_to_be_one() {
    let virtiofsd = virtiofsd(NEW);
    let start = |dir: &str| virtiofsd.start(&Share { dir: dir.into(), read_only: false }).unwrap_err();
    assert!(matches!(start("/nonexistent/dir"), ShareError::NoDirectory { .. }));
    assert!(matches!(start("/dev/null"), ShareError::NotADirectory { .. }));
    // The program itself is gone by now.
    assert!(matches!(start("/"), ShareError::CannotRun { .. }));
}

/// Starts a program that is not really a server, and takes it for one.
fn start(otherwise: &str, patience_at_start: Duration) -> FsError {
    let dir = TempDir::new("start");
    let virtiofsd = Virtiofsd::at(program(&dir, NEW, otherwise)).unwrap();
    let server = virtiofsd.start(&Share { dir: dir.path().into(), read_only: false }).unwrap();
    let server = Server { patience_at_start, ..server };
    VhostUserFs::new(server, "tag").unwrap_err()
}

#[test]
fn what_a_server_says_that_ends_at_once_is_in_the_error() {
    let error = start("echo 'no such thing' >&2; echo \"as $2\" >&2; exit 1", Duration::from_secs(20));
    assert_eq!(error.to_string(), "virtiofsd ended at once: no such thing; as --shared-dir");
    let error = start("exit 0", Duration::from_secs(20));
    assert!(matches!(error, FsError::Talk(TalkError::HungUp(_))), "{error}");
}

#[test]
fn a_program_that_says_nothing_is_not_waited_for_for_ever() {
    let error = start("sleep 1000 & sleep 1000", Duration::from_millis(50));
    assert!(matches!(error, FsError::Talk(TalkError::Silent { .. })), "{error}");
}

#[test]
fn nobody_else_gets_a_place_in_the_servers_queue() {
    let (listener, stream) = socket().unwrap();
    let name = SocketAddrUnix::try_from(getsockname(&listener).unwrap()).unwrap();
    let other = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    assert_eq!(connect(&other, &name), Err(rustix::io::Errno::AGAIN));
    let accepted = UnixStream::from(rustix::net::accept(&listener).unwrap());
    io::Write::write_all(&mut { accepted }, b"!").unwrap();
    let mut heard = [0];
    io::Read::read_exact(&mut { stream }, &mut heard).unwrap();
    assert_eq!(heard, *b"!");
}

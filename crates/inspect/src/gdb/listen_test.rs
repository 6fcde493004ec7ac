use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn tcp(text: &str) -> SocketAddr {
    match text.parse() {
        Ok(Address::Tcp(address)) => address,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_port_alone_is_for_this_computer() {
    assert_eq!(tcp("1234").to_string(), "127.0.0.1:1234");
    assert_eq!(tcp("0.0.0.0:1234").to_string(), "0.0.0.0:1234");
    assert_eq!(tcp("[::1]:1").to_string(), "[::1]:1");
    let is_open = |text: &str| text.parse::<Address>().unwrap().is_open();
    assert_eq!(
        ["1", "127.0.0.1:1", "0.0.0.0:1", "[::]:1", "/x"].map(is_open),
        [false, false, true, true, false]
    );
}

#[test]
fn anything_else_is_a_path_or_nothing() {
    for path in ["/tmp/gdb", "gdb.sock", "./1234", "a/b:1"] {
        assert_eq!(path.parse(), Ok(Address::Unix(path.into())));
    }
    for text in ["", "65536", "127.0.0.1:x", "127.0.0.1:65536"] {
        assert_eq!(text.parse::<Address>(), Err(ParseAddressError::Malformed), "{text}");
    }
}

/// A folder that goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("strata-gdb-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_socket_is_its_owners_alone_and_goes_with_the_listener() {
    let folder = Folder::new("own");
    let path = folder.0.join("gdb");
    let address = Address::Unix(path.clone());
    let listener = Listener::bind(&address).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Listener::bind(&address), Err(ListenError::InUse { .. })));
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_another_file_never() {
    let folder = Folder::new("stale");
    let path = folder.0.join("gdb");
    let address = Address::Unix(path.clone());
    drop(UnixListener::bind(&path).unwrap());
    drop(Listener::bind(&address).unwrap());
    fs::write(&path, "a file").unwrap();
    assert!(matches!(Listener::bind(&address), Err(ListenError::NoSocket { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"a file");
    // Nor is one removed that has come in between.
    fs::remove_file(&path).unwrap();
    let listener = Listener::bind(&address).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a file").unwrap();
    drop(listener);
    assert!(path.exists());
}

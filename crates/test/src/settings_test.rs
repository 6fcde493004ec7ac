use clap::Parser as _;

use super::*;

fn options(words: &[&str]) -> Options {
    Options::try_parse_from(["strata-test"].iter().chain(words).chain(&["kernel"])).unwrap()
}

/// A package with this manifest, in a folder of its own.
struct Folder(PathBuf);

impl Folder {
    fn with(manifest: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("strata-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_a_word_there_are_defaults() {
    let settings = Settings::new(&options(&[]), None).unwrap();
    assert_eq!((settings.timeout, settings.run_timeout), (TIMEOUT, None));
    assert_eq!(settings.machine.memory.size, Some(ByteSize(128 << 20)));
    assert_eq!(settings.machine.devices.debug_exit, Some(0xf4));
    assert!(settings.expect.is_none() && settings.cmdline.is_none());
}

#[test]
fn options_come_before_the_manifest() {
    let folder = Folder::with(
        r#"
        [package.metadata.strata-test]
        timeout = "5s"
        memory = "64M"
        debug-exit = 0x501
        success = [3]
        expect = "a"
        [package.metadata.strata-test.map]
        35 = 1
        [package.metadata.strata-test.machine]
        cpus = 2
        cmdline = "quiet"
        "#,
    );
    let settings = Settings::new(&options(&[]), Some(&folder.0)).unwrap();
    assert_eq!(settings.timeout, Duration::from_secs(5));
    assert_eq!(settings.run_timeout, None);
    assert_eq!(settings.machine.memory.size, Some(ByteSize(64 << 20)));
    assert_eq!((settings.machine.cpus, settings.machine.devices.debug_exit), (2, Some(0x501)));
    assert_eq!(settings.codes, Codes { success: vec![3], map: vec![(35, 1)] });
    assert_eq!((settings.expect.unwrap().text(), settings.cmdline.as_deref()), ("a", Some("quiet")));

    let words =
        ["--timeout", "1s", "--memory", "32M", "--debug-exit", "0xf4", "--cpus", "1", "--map", "35=9"];
    let settings = Settings::new(&options(&words), Some(&folder.0)).unwrap();
    assert_eq!(settings.timeout, Duration::from_secs(1));
    assert_eq!(settings.run_timeout, Some(Duration::from_secs(1)));
    assert_eq!(settings.machine.memory.size, Some(ByteSize(32 << 20)));
    assert_eq!((settings.machine.cpus, settings.machine.devices.debug_exit), (1, Some(0xf4)));
    assert_eq!(settings.codes.of(35), 9);
}

#[test]
fn manifests_of_others_say_nothing() {
    for manifest in ["[workspace]", "[package]\nname = \"x\"", "[package.metadata.other]\ntimeout = 1"] {
        let settings = Settings::new(&options(&[]), Some(&Folder::with(manifest).0)).unwrap();
        assert_eq!(settings.timeout, TIMEOUT, "{manifest}");
    }
    assert!(Settings::new(&options(&[]), Some(Path::new("/nonexistent"))).is_ok());
}

#[test]
fn what_is_wrong_is_named() {
    for (manifest, says) in [
        ("[package.metadata.strata-test]\ntimeuot = \"5s\"", "timeuot"),
        ("[package.metadata.strata-test.map]\nx = 1", "is no status"),
        ("[package.metadata.strata-test.machine]\ncpuz = 1", "cpuz"),
        ("[package.metadata.strata-test]\nexpect = \"(\"", "regular expression"),
    ] {
        let error = Settings::new(&options(&[]), Some(&Folder::with(manifest).0)).unwrap_err();
        let error: &dyn std::error::Error = &error;
        let causes = std::iter::successors(Some(error), |error| error.source());
        let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn statuses_become_exit_codes() {
    let plain = Codes::default();
    assert_eq!([0, 33, 35, 14].map(|status| plain.of(status)), [0, 0, 35, 14]);
    let other = Codes { success: vec![35], map: vec![(33, 1)] };
    // What is not success must not look like it.
    assert_eq!([0, 33, 35, 14].map(|status| other.of(status)), [1, 1, 0, 14]);
    assert_eq!(plain.of_stop(&Stop::DebugExit { value: 0x10 }), 0);
}

use super::*;
use crate::testing::Folder;

#[test]
fn cargos_variables_are_passed_on_and_no_others() {
    for name in
        ["CARGO_MANIFEST_DIR", "CARGO", "NEXTEST", "NEXTEST_BIN_EXE_x", "RUST_BACKTRACE", "LD_LIBRARY_PATH"]
    {
        assert!(is_passed_on(OsStr::new(name)), "{name}");
    }
    for name in ["HOME", "PATH", "RUSTFLAGS", "LD_PRELOAD", "XDG_CACHE_HOME"] {
        assert!(!is_passed_on(OsStr::new(name)), "{name}");
    }
}

/// What comes along with `program`.
fn brought(program: &Path, environment: &[(&str, &Path)]) -> Vec<PathBuf> {
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    files_of_test(program, &environment).unwrap().into_iter().map(|brought| brought.from).collect()
}

#[test]
fn a_test_brings_its_package_and_the_programs_it_names() {
    let build = Folder::new();
    let strata = build.file("debug/strata", "");
    build.file("debug/other", "");
    let test = build.file("debug/deps/cli-1234", &format!("before {} after", strata.display()));
    let package = build.file("package/Cargo.toml", "").parent().unwrap().to_owned();
    let bench = build.file("elsewhere/bench", "");
    let environment = [
        ("CARGO_BIN_EXE_bench", bench.as_path()),
        ("CARGO_BIN_EXE_gone", Path::new("/not/there")),
        ("CARGO_HOME", Path::new("/")),
        ("CARGO_MANIFEST_DIR", package.as_path()),
    ];
    assert_eq!(brought(&test, &environment).iter().collect::<Vec<_>>(), [&bench, &package, &strata]);
    // Run without cargo.
    assert_eq!(brought(&test, &[]).iter().collect::<Vec<_>>(), [&strata]);
    // Not a test.
    assert!(brought(&strata, &environment).is_empty());
}

use super::*;
use crate::testing::Folder;

/// A machine whose only programs are those in `bin`, which log their arguments to `log`.
struct Machine {
    folder: Folder,
}

impl Machine {
    fn new() -> Self {
        Self { folder: Folder::new() }
    }

    /// Adds a program that logs how it was called and then does `body`.
    fn program(self, name: &str, body: &str) -> Self {
        let log = self.folder.path().join("log");
        let logging = format!("echo {name} \"$@\" >> {}\n{body}", log.display());
        self.folder.script(name, &logging);
        self
    }

    /// Adds a package manager that installs a nasm from the `tries`-th call of `install` on.
    fn manager(self, name: &str, tries: u32) -> Self {
        let nasm = self.folder.path().join("nasm");
        let log = self.folder.path().join("log");
        let body = format!(
            "case \"$*\" in *nasm*) [ $(/bin/grep -c '{name} .*nasm' {log}) -ge {tries} ] || exit 100\n\
             /bin/cp /bin/true {nasm};; esac",
            log = log.display(),
            nasm = nasm.display(),
        );
        self.program(name, &body)
    }

    fn tools(&self, is_root: bool, may_install: bool) -> Tools {
        Tools { path: self.folder.path().into(), is_root, may_install }
    }

    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// `sudo` that needs no password.
const FREE_SUDO: &str = "shift\n[ \"$1\" = true ] || exec \"$@\"";
/// `sudo` that would ask for a password.
const LOCKED_SUDO: &str = "exit 1";

#[test]
fn what_is_there_is_only_found() {
    let machine = Machine::new().program("nasm", "").manager("apt-get", 1);
    let found = machine.tools(true, true).ensure(&NASM).unwrap();
    assert_eq!(found, machine.folder.path().join("nasm"));
    assert!(machine.calls().is_empty());
}

#[test]
fn a_file_that_is_not_executable_is_no_program() {
    let machine = Machine::new();
    machine.folder.file("nasm", "");
    assert!(matches!(machine.tools(true, true).ensure(&NASM), Err(ToolError::NoManager { program: "nasm" })));
}

#[test]
fn root_installs_directly_with_every_manager() {
    for (manager, call) in [
        ("apt-get", "apt-get install -y nasm"),
        ("dnf", "dnf install -y nasm"),
        ("pacman", "pacman -S --noconfirm nasm"),
        ("zypper", "zypper --non-interactive install nasm"),
        ("apk", "apk add nasm"),
    ] {
        let machine = Machine::new().manager(manager, 1).program("sudo", LOCKED_SUDO);
        machine.tools(true, true).ensure(&NASM).unwrap();
        assert_eq!(machine.calls(), [call]);
    }
}

#[test]
fn a_fresh_machine_gets_its_package_lists_first() {
    let machine = Machine::new().manager("apt-get", 2);
    machine.tools(true, true).ensure(&NASM).unwrap();
    assert_eq!(machine.calls(), ["apt-get install -y nasm", "apt-get update", "apt-get install -y nasm"]);
}

#[test]
fn two_who_need_it_at_once_install_it_once() {
    let machine = Machine::new().manager("apt-get", 1);
    std::thread::scope(|scope| {
        let ask = || machine.tools(true, true).ensure(&NASM).unwrap();
        let others = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
        ask();
        for other in others {
            other.join().unwrap();
        }
    });
    assert_eq!(machine.calls(), ["apt-get install -y nasm"]);
}

#[test]
fn an_ordinary_user_installs_by_sudo_that_asks_nothing() {
    let machine = Machine::new().manager("apt-get", 1).program("sudo", FREE_SUDO);
    machine.tools(false, true).ensure(&NASM).unwrap();
    let apt_get = machine.folder.path().join("apt-get");
    let calls = machine.calls();
    assert_eq!(calls[0], "sudo -n true");
    assert_eq!(calls[1], format!("sudo -n {} install -y nasm", apt_get.display()));
    assert_eq!(calls[2], "apt-get install -y nasm");
}

#[test]
fn without_rights_the_error_names_the_command_to_type() {
    let with_locked_sudo = Machine::new().manager("dnf", 1).program("sudo", LOCKED_SUDO);
    let without_sudo = Machine::new().manager("dnf", 1);
    for machine in [with_locked_sudo, without_sudo] {
        let error = machine.tools(false, true).ensure(&NASM).unwrap_err();
        assert!(error.to_string().ends_with("type: sudo dnf install -y nasm"), "{error}");
        assert!(!machine.calls().iter().any(|call| call.starts_with("dnf")), "it was called all the same");
    }
}

#[test]
fn no_install_forbids_and_names_the_command_to_type() {
    let machine = Machine::new().manager("apt-get", 1);
    let error = machine.tools(true, false).ensure(&NASM).unwrap_err();
    assert!(error.to_string().ends_with("type: apt-get install -y nasm"), "{error}");
    assert!(machine.calls().is_empty());
}

#[test]
fn a_package_manager_that_fails_is_quoted() {
    let machine = Machine::new().program("apt-get", "echo no such package; exit 100");
    let error = machine.tools(true, true).ensure(&NASM).unwrap_err().to_string();
    assert!(error.contains("type: apt-get install -y nasm") && error.contains("no such package"), "{error}");
}

#[test]
fn a_package_manager_that_lies_is_named() {
    let machine = Machine::new().program("apt-get", "");
    let error = machine.tools(true, true).ensure(&STRACE).unwrap_err();
    assert!(matches!(error, ToolError::StillMissing { program: "strace", .. }), "{error}");
}

#[test]
fn without_any_manager_the_tool_is_named() {
    let machine = Machine::new();
    let error = machine.tools(true, true).ensure(&STRACE).unwrap_err();
    assert!(error.to_string().contains("install strace by hand"), "{error}");
}

#[test]
fn a_package_has_the_name_that_its_manager_knows() {
    let machine = Machine::new().program("apt-get", "exit 100");
    let error = machine.tools(true, false).ensure(&BUSYBOX).unwrap_err();
    assert!(error.to_string().ends_with("type: apt-get install -y busybox-static"), "{error}");
    let machine = Machine::new().program("dnf", "exit 100");
    let error = machine.tools(true, false).ensure(&BUSYBOX).unwrap_err();
    assert!(error.to_string().ends_with("type: dnf install -y busybox"), "{error}");
}

#[test]
fn lists_of_packages_are_fetched_only_where_that_is_allowed() {
    for (is_root, may_install, calls) in
        [(true, true, &["apt-get update"][..]), (true, false, &[]), (false, true, &[])]
    {
        let machine = Machine::new().program("apt-get", "");
        machine.tools(is_root, may_install).refresh().unwrap();
        assert_eq!(machine.calls(), calls);
    }
}

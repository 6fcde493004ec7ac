use super::*;
use crate::testing::Folder;

fn no_rig() -> Result<Kvm, String> {
    Err("no QEMU".into())
}

fn unasked() -> Result<Kvm, String> {
    panic!("a rig is set up without need")
}

fn host(kvm: Kvm) -> Host {
    Host { kvm: Ok(kvm) }
}

fn without_kvm() -> Host {
    Host { kvm: Err("no /dev/kvm".into()) }
}

fn rig(why: &str) -> Place {
    Place::Rig(Some(why.into()))
}

fn nowhere(why: &str) -> Place {
    Place::Nowhere(why.into())
}

#[test]
fn a_host_without_kvms_device_is_recognised() {
    let (sys, dev) = (Folder::new(), Folder::new());
    let missing = Host::detect(sys.path(), dev.path()).kvm.unwrap_err();
    assert!(missing.starts_with("no /") && missing.contains("/kvm: No such file"), "{missing}");
    dev.file("kvm", "");
    let other = Host::detect(sys.path(), dev.path()).kvm.unwrap_err();
    assert!(other.ends_with("is another device"), "{other}");
    std::fs::remove_file(dev.path().join("kvm")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dev.path().join("kvm")).unwrap();
    assert_eq!(Host::detect(sys.path(), dev.path()).kvm, Err(other));
}

#[test]
fn a_pvm_host_is_recognised_by_its_module() {
    let dev = Path::new("/dev");
    if usable(&dev.join("kvm")).is_err() {
        eprintln!("not run: recognising a PVM host: no usable /dev/kvm");
        return;
    }
    let sys = Folder::new();
    assert_eq!(Host::detect(sys.path(), dev), host(Kvm::Hardware));
    sys.file("module/kvm_pvm/parameters/x", "");
    assert_eq!(Host::detect(sys.path(), dev), host(Kvm::Pvm));
}

#[test]
fn what_can_run_here_does_and_no_rig_is_set_up() {
    assert_eq!(host(Kvm::Pvm).place(&["hw-breakpoint"], Wanted::Either, unasked), Place::Here);
    assert_eq!(host(Kvm::Hardware).place(&["pages-1g", "paging32"], Wanted::Here, unasked), Place::Here);
}

#[test]
fn what_cannot_run_here_runs_in_the_rig() {
    let why = "needs 1 GiB pages: this host is PVM";
    let place = |wanted, kvm| host(Kvm::Pvm).place(&["pages-1g"], wanted, || Ok(kvm));
    assert_eq!(place(Wanted::Either, Kvm::OldQemu), rig(why));
    assert_eq!(rig(why).to_string(), ", in the rig (needs 1 GiB pages: this host is PVM)");
    assert_eq!(host(Kvm::Pvm).place(&["pages-1g"], Wanted::Here, unasked), nowhere(why));
    assert_eq!(without_kvm().place(&[], Wanted::Either, || Ok(Kvm::OldQemu)), rig("no /dev/kvm"));
    assert_eq!(without_kvm().place(&[], Wanted::Here, unasked), nowhere("no /dev/kvm"));
}

#[test]
fn the_rig_can_be_asked_for() {
    assert_eq!(host(Kvm::Hardware).place(&[], Wanted::Rig, || Ok(Kvm::OldQemu)), Place::Rig(None));
    assert_eq!(host(Kvm::Hardware).place(&[], Wanted::Rig, no_rig), nowhere("no rig: no QEMU"));
}

#[test]
fn what_can_run_nowhere_has_all_reasons() {
    let why = "needs hardware breakpoints: the rig is QEMU before version 10";
    let place = without_kvm().place(&["hw-breakpoint"], Wanted::Either, || Ok(Kvm::OldQemu));
    assert_eq!(place, nowhere(&format!("no /dev/kvm; {why}")));
    let place = host(Kvm::Pvm).place(&["paging32"], Wanted::Either, no_rig);
    assert_eq!(place, nowhere("needs 32-bit paging: this host is PVM; no rig: no QEMU"));
    let place = host(Kvm::Hardware).place(&["hw-breakpoint"], Wanted::Rig, || Ok(Kvm::OldQemu));
    assert_eq!(place, nowhere(why));
}

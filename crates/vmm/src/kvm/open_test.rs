use super::*;

#[test]
fn each_errno_has_its_own_remedy() {
    let path = Path::new("/dev/kvm");
    let said = |errno| OpenError::from_errno(path, errno).to_string();
    assert!(said(libc::ENOENT).contains("modprobe"));
    assert!(said(libc::EACCES).contains("usermod -aG kvm"));
    assert!(said(libc::ENXIO).contains("nothing answers"));
    assert!(said(libc::EPERM).contains("--device /dev/kvm"));
    assert!(said(libc::ENOTTY).contains("not a KVM device"));
    assert!(said(libc::EMFILE).contains("cannot open /dev/kvm"));
}

#[test]
fn only_version_12_is_taken() {
    assert!(OpenError::check_version(12).is_ok());
    for found in [-1, 0, 11, 13] {
        let error = OpenError::check_version(found).unwrap_err().to_string();
        assert!(error.contains(&found.to_string()), "{error}");
        assert!(error.contains("update the kernel"), "{error}");
    }
}

#[test]
fn files_that_are_not_kvm_are_named() {
    let open = |path: &str| Kvm::open(Path::new(path), Calls::new()).unwrap_err();
    assert!(matches!(open("/dev/null"), OpenError::NotKvm { .. }));
    assert!(matches!(open("/nonexistent/kvm"), OpenError::Missing { .. }));
    assert!(matches!(open("/tmp"), OpenError::NotKvm { .. }));
}

use super::*;

#[test]
fn what_is_something_else_is_named() {
    for &(offset, magic, is, _) in KINDS {
        assert!(magic.len() <= 8, "{is}");
        let mut file = vec![0; usize::try_from(offset).unwrap()];
        file.extend(magic);
        // At its very end as well as before more.
        for more in [0, 100] {
            file.resize(file.len() + more, 0);
            assert!(matches!(refuse(&file), Err(BuildError::Foreign { is: said, .. }) if said == is), "{is}");
        }
        assert!(refuse(&magic[..magic.len() - 1].to_vec()).is_ok(), "{is}, cut off");
    }
}

#[test]
fn an_arm64_kernel_with_an_efi_stub_is_one() {
    let mut image = b"MZ".to_vec();
    image.resize(0x38, 0);
    image.extend(b"ARM\x64");
    let said = refuse(&image).unwrap_err().to_string();
    assert!(said.contains("arm64") && said.contains("x86-64"), "{said}");
}

#[test]
fn code_is_not() {
    for code in [&b""[..], b"\xf4", b"\xeb\xfe", &[0; 0x400]] {
        assert!(refuse(&code).is_ok());
    }
}

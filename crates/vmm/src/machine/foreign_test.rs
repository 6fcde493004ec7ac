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
        let cut_off = refuse(&magic[..magic.len() - 1].to_vec());
        assert!(
            matches!(cut_off, Ok(()) | Err(BuildError::Foreign { is: "a text file", .. })),
            "{is}, cut off"
        );
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
fn a_text_is_one() {
    let text = b"timeout 5\r\n\tlinux /vmlinuz quiet ~\n".repeat(20);
    for text in [&text[..], &text[..511], &text[..512], &text[..513], b"q"] {
        let said = refuse(&text.to_vec()).unwrap_err().to_string();
        assert!(said.contains("a text file") && said.contains("format = \"flat\""), "{said}");
    }
    for at in [0, 300, 511] {
        for byte in [0, 8, 0x1f, 0x7f, 0x80, 0xff] {
            let mut code = text.clone();
            code[at] = byte;
            assert!(refuse(&code).is_ok(), "{byte:#x} at {at}");
        }
    }
    // What follows is not looked at: a script may carry an archive.
    assert!(refuse(&[&text[..512], &[0; 100]].concat()).is_err());
}

#[test]
fn code_is_not() {
    for code in [&b""[..], b"\xf4", b"\xeb\xfe", &[0; 0x400]] {
        assert!(refuse(&code).is_ok());
    }
}

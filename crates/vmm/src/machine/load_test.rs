use strata_memory::RamSpec;
use strata_memory::vm_memory::Bytes as _;

use super::super::kernels;
use super::*;

/// The command line that a kernel finds in RAM.
fn told(kernel: &[u8], settings: &str) -> String {
    told_with(kernel, settings, &[])
}

/// The same in a machine with virtio devices.
fn told_with(kernel: &[u8], settings: &str, virtio: &[Place]) -> String {
    let mut config = Config::from_toml(settings).unwrap();
    let payload = Payload::open(&config, Some(kernel.to_vec())).unwrap();
    config.settle(payload.format);
    check_settings(&config, &payload).unwrap();
    let ram = RamSpec::new(16 << 20).build().unwrap();
    load(&config, &payload, &ram, &Calls::new(), virtio).unwrap();
    let mut bytes = [0; 128];
    ram.memory().read_slice(&mut bytes, GuestAddress(layout::CMDLINE)).unwrap();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

/// What is said of settings that the image would never see.
fn refused(image: &[u8], settings: &str) -> String {
    let config = Config::from_toml(settings).unwrap();
    let payload = Payload::open(&config, Some(image.to_vec())).unwrap();
    check_settings(&config, &payload).unwrap_err().to_string()
}

#[test]
fn a_setting_that_the_image_never_sees_is_refused_though_it_be_the_default() {
    let code = [0xf4; 0x300];
    let vmlinux = kernels::vmlinux(&code);
    let packed = kernels::packed(&vmlinux);
    let bare = kernels::elf(kernels::AT, &[kernels::load(kernels::AT, &code)]);
    let others = [code.to_vec(), bare, vmlinux, kernels::pvh(&code), kernels::multiboot(&code)];
    for image in others[1..].iter().chain([&packed]) {
        let said = refused(image, "mode = \"long64\"");
        assert!(said.contains("`mode` is for flat images"), "{said}");
    }
    for protocol in ["classic", "unpacked"] {
        let protocol = format!("boot_protocol = \"{protocol}\"");
        for image in &others {
            let said = refused(image, &protocol);
            assert!(said.contains("`boot_protocol` is for compressed Linux kernels"), "{said}");
        }
        let config = Config::from_toml(&protocol).unwrap();
        let payload = Payload::open(&config, Some(packed.clone())).unwrap();
        check_settings(&config, &payload).unwrap();
    }
}

#[test]
fn linux_is_told_of_pci_by_whichever_protocol_it_is_started() {
    let code = kernels::load(kernels::AT, b"\xf4");
    let entry = u32::try_from(kernels::AT).unwrap().to_le_bytes();
    let either = kernels::vmlinux_of(&[kernels::note("Xen", 18, &entry), code]);
    let quiet = "cmdline = \"quiet\"\n";
    assert_eq!(told(&either, quiet), "quiet pci=conf1,noearly");
    assert_eq!(told(&either, &format!("{quiet}format = \"pvh\"")), "quiet pci=conf1,noearly");
    assert_eq!(told(&either, "cmdline = \"pci=off\"\nformat = \"pvh\""), "pci=off");
    assert_eq!(told(&kernels::pvh(b"\xf4"), quiet), "quiet", "no Linux");
    assert_eq!(told(&kernels::pvh(b"\xf4"), &format!("{quiet}format = \"pvh\"")), "quiet");
    assert_eq!(told(&kernels::multiboot(b"\xf4"), quiet), "quiet");
}

#[test]
fn linux_is_told_of_virtio_devices_where_acpi_does_not() {
    let linux = kernels::vmlinux(b"\xf4");
    let places = [(0xd000_0000, 16), (0xd000_1000, 17)].map(|(address, gsi)| Place { address, gsi });
    let found = told_with(&linux, "cmdline = \"q\"\nacpi = false", &places);
    assert_eq!(
        found,
        "q pci=conf1,noearly virtio_mmio.device=4K@0xd0000000:16 virtio_mmio.device=4K@0xd0001000:17"
    );
    // Twice told they would be there twice.
    assert_eq!(told_with(&linux, "cmdline = \"q\"", &places), "q pci=conf1,noearly");
    assert_eq!(told_with(&kernels::multiboot(b"\xf4"), "cmdline = \"q\"\nacpi = false", &places), "q");
}

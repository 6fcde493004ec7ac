use super::super::sample::place;
use super::*;

#[test]
fn registers_have_the_names_of_their_manuals() {
    let name =
        |place: &Place, at, is_write| of_device(place, at, is_write, false).map(|register| register.name);
    let com1 = place(AddressSpace::Pio, 0x3f8, 8, "com1");
    assert_eq!((name(&com1, 0x3f8, true), name(&com1, 0x3f8, false)), (Some("thr"), Some("rbr")));
    assert_eq!(of_device(&com1, 0x3f8, true, true).map(|register| register.name), Some("dll"));
    let disk = place(AddressSpace::Mmio, layout::VIRTIO_MMIO, 0x1000, "disk");
    assert_eq!(name(&disk, layout::VIRTIO_MMIO + VirtioMmio::NOTIFY, true), Some("queue_notify"));
    assert_eq!(name(&disk, layout::VIRTIO_MMIO + 0x104, true), Some("config"));
    let mine = place(AddressSpace::Mmio, 0x8000, 0x1000, "mine");
    assert_eq!(name(&mine, 0x8000, true), None);
    assert_eq!(name(&com1, 0x3f7, true), None, "an address before the device");
}

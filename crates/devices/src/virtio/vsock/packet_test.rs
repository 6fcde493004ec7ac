use super::*;

#[test]
fn a_header_lies_as_the_specification_has_it() {
    let mut bytes = [0; 44];
    for (byte, value) in bytes.iter_mut().zip(1..) {
        *byte = value;
    }
    let header = Header::parse(&bytes);
    assert_eq!(header.src_cid, 0x0807_0605_0403_0201);
    assert_eq!(header.dst_cid, 0x100f_0e0d_0c0b_0a09);
    assert_eq!((header.src_port, header.dst_port, header.len), (0x1413_1211, 0x1817_1615, 0x1c1b_1a19));
    assert_eq!((header.kind, header.op), (0x1e1d, 0x201f));
    assert_eq!((header.flags, header.buf_alloc, header.fwd_cnt), (0x2423_2221, 0x2827_2625, 0x2c2b_2a29));
    assert_eq!(header.bytes(), bytes);
}

use super::*;

#[test]
fn page_sizes_are_read_as_they_are_written() {
    for size in PageSize::ALL {
        assert_eq!(size.to_string().parse(), Ok(size));
        assert!(size.bytes().is_power_of_two());
    }
    assert_eq!("4k".parse::<PageSize>().unwrap_err().to_string(), "`4k` is no page size; use 4K, 2M or 1G");
}

#[test]
fn accesses_are_read_as_they_are_written() {
    let all = [Access::R, Access::RW, Access::RX, Access::RWX];
    for access in all.into_iter().chain(all.map(Access::user)) {
        assert_eq!(access.to_string().parse(), Ok(access));
    }
    assert_eq!("rux".parse(), Ok(Access::RX.user()), "any order behind the r");
}

#[test]
fn an_access_must_start_with_r_and_repeat_nothing() {
    for text in ["", "w", "xr", "rr", "rww", "rwz", "R"] {
        assert_eq!(text.parse::<Access>(), Err(ParseAccessError { text: text.into() }));
    }
}

#[test]
fn a_mapping_says_all_of_itself() {
    let mapping =
        Mapping { virt: 0x4000, phys: 0x8000, len: 0x1000, page: PageSize::Size4K, access: Access::RW };
    assert_eq!(mapping.to_string(), "0x4000 to 0x8000, 0x1000 bytes by 4K pages, rw");
}

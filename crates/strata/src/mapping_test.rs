use super::*;

#[test]
fn what_was_loaded_is_shown_but_for_what_the_processor_tells() {
    let loaded = [
        Loaded { start: 0x500, len: 24, what: What::Gdt },
        Loaded { start: 0x9000, len: 0x1000, what: What::PageTables },
        Loaded { start: 0x7000, len: 0x1000, what: What::ZeroPage },
        Loaded { start: 0x10_0000, len: 0x3000, what: What::Segment(1) },
        Loaded { start: 0x20_0000, len: 0x200, what: What::Image },
    ];
    let map = Map::new(loaded.iter().filter_map(area)).to_string();
    let lines: Vec<_> = map.lines().filter(|line| !line.ends_with('-')).skip(1).collect();
    assert_eq!(
        lines,
        [
            "  0x000000007000 to 0x000000007fff      4 KiB  table zero page",
            "  0x000000100000 to 0x000000102fff     12 KiB  image segment 1",
            "  0x000000200000 to 0x0000002001ff      512 B  image",
        ]
    );
}

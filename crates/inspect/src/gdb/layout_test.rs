use super::*;

#[test]
fn registers_have_the_numbers_that_gdb_expects() {
    let names = |layout: Layout| layout.rows().into_iter().map(|row| row.name).collect::<Vec<_>>();
    let wide = names(Layout::X86_64);
    assert_eq!(
        [(0, "rax"), (7, "rsp"), (16, "rip"), (17, "eflags"), (24, "st0"), (40, "xmm0"), (56, "mxcsr")]
            .map(|(n, name): (usize, &str)| wide[n] == name),
        [true; 7]
    );
    let narrow = names(Layout::I386);
    assert_eq!(
        [(0, "eax"), (4, "esp"), (8, "eip"), (9, "eflags"), (16, "st0"), (32, "xmm0"), (40, "mxcsr")]
            .map(|(n, name): (usize, &str)| narrow[n] == name),
        [true; 7]
    );
}

#[test]
fn a_description_names_every_register_and_every_type_once() {
    for layout in [Layout::X86_64, Layout::I386, Layout::I8086] {
        let xml = layout.description();
        for row in layout.rows() {
            let name = format!("<reg name=\"{}\" ", row.name);
            assert_eq!(xml.matches(&name).count(), 1, "{name}");
            let own = !matches!(
                row.kind,
                "int32" | "int64" | "uint32" | "uint64" | "code_ptr" | "data_ptr" | "i387_ext"
            );
            assert_eq!(
                xml.matches(&format!(" id=\"{}\"", row.kind)).count(),
                usize::from(own),
                "{}",
                row.kind
            );
        }
        assert!(xml.contains(&format!("<architecture>{}</architecture>", layout.architecture())));
    }
}

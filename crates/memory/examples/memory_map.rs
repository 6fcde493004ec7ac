//! Prints the memory map as Markdown: `cargo run -p strata-memory --example memory_map > docs/memory-map.md`.

fn main() {
    print!("{}", strata_memory::layout::markdown());
}

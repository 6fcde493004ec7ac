//! For tests: a guest's header with every kind of expectation, and a report that meets it.

use serde_json::{Value, json};

/// TOML as the lines of a header, without the fences.
pub(crate) fn commented(toml: &str) -> String {
    let lines: Vec<String> = toml.lines().map(|line| format!("; {line}")).collect();
    lines.join("\n")
}

/// TOML of the table `expect`, with exits in order.
pub(crate) const EXPECT: &str = r#"
stop = { kind = "debug", rip = 0x1005, code = "3" }
exits = ["out 0x3f8/1 <- 35", "2 * in 0x3f8/1 -> 41", "hlt"]
output = "one\ntwo\n"
memory = { 0x6000 = "aa bb", 0x7000 = "01" }
dirty = [0x2000, 0x1000]
registers = { rax = 5, rsp = "0xffff_ffff_8000_0000" }
exit_code = 4
explain = ["died of #UD", "no IDT"]
"#;

pub(crate) fn report() -> Value {
    json!({
        "stop": { "kind": "debug", "rip": "0x1005", "code": 3, "more": true },
        "text": "stopped for the debugger at 0x1005",
        "exits": ["out 0x3f8/1 <- 35", "in 0x3f8/1 -> 41", "in 0x3f8/1 -> 41", "hlt"],
        "exit_count": 4,
        "output": "one\ntwo\n",
        "memory": { "0x6000": "aabb", "0x7000": "01" },
        "dirty": ["0x1000", "0x2000"],
        "registers": { "rax": "0x5", "rbx": "0x9", "rsp": "0xffffffff80000000" },
        "explanation": "the guest died of #UD:\nthere is no IDT",
        "accused": true,
    })
}

use serde_json::Value;

use super::super::sample::{events, rendered};
use super::*;

#[test]
fn each_exit_is_an_object_with_the_documented_fields() {
    let text = rendered(Json, &events(), 7);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    let expected = serde_json::json!({
        "event": "exit", "time_ns": 22_500, "vcpu": 0, "guest_ns": 10_000, "host_ns": 2_500, "kind": "in",
        "address": "0x60", "width": 1, "count": 1, "data": "1c", "value": "0x1c",
        "device": "i8042", "offset": 0, "register": "data",
        "rip": "0x1001", "at": "0x1001", "symbol": "start", "symbol_offset": 1,
        "instruction": "in al,0x60", "code": "e460", "registers": {"rax": "0x1c"},
    });
    assert_eq!(lines[1], expected);
    assert_eq!(
        (&lines[2]["device"], &lines[2]["rip"], &lines[2]["at"]),
        (&Value::Null, &"0x1007".into(), &"0x1003".into())
    );
    assert_eq!((&lines[4]["kind"], &lines[4]["detail"]), (&"hlt".into(), &"hlt".into()));
    assert_eq!(lines[5], serde_json::json!({"event": "dropped", "exits": 7}));
}

#[test]
fn an_exit_without_registers_still_says_what_it_did() {
    let mut events = events();
    events.truncate(1);
    events[0].cpu = None;
    let object: Value = serde_json::from_str(&rendered(Json, &events, 0)).unwrap();
    assert_eq!((&object["data"], object.get("rip"), object.get("instruction")), (&"48".into(), None, None));
}

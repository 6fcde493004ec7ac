use std::collections::HashMap;

use serde_json::Value;

use super::super::event::Event;
use super::super::sample::{events, rendered};
use super::*;

/// Process, thread, beginning, end, and name.
type Seen = (u64, u64, u64, u64, String);

fn slices(events: &[Event]) -> (Value, Vec<Seen>) {
    let trace: Value = serde_json::from_str(&rendered(Perfetto::default(), events, 4)).unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small times")]
    let nanos = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as u64;
    let all = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
    let slices = all.map(|event| {
        let from = nanos(&event["ts"]);
        let name = event["name"].as_str().unwrap().to_owned();
        (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap(),
            from,
            from + nanos(&event["dur"]),
            name,
        )
    });
    let slices = slices.collect();
    (trace, slices)
}

#[test]
fn there_is_a_track_for_each_vcpu_and_each_device() {
    let (trace, slices) = slices(&events());
    let names: Vec<_> =
        trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "M").collect();
    let name = |event: &Value| event["args"]["name"].as_str().unwrap().to_owned();
    let names: Vec<_> = names.into_iter().map(name).collect();
    assert_eq!(names, ["vCPUs", "devices", "vCPU 0", "com1", "i8042", "nobody"]);
    assert_eq!(trace["otherData"]["dropped_exits"], "4");
    assert_eq!(slices[0], (1, 0, 0, 10_000, "guest".to_owned()));
    assert_eq!(slices[1], (1, 0, 10_000, 12_500, "out com1.thr".to_owned()));
    assert_eq!(slices[2], (2, 3, 10_000, 12_500, "out com1.thr".to_owned()));
    assert_eq!(slices.len(), 5 * 2 + 4);
}

#[test]
fn slices_of_one_track_do_not_overlap() {
    let mut both = events();
    // A second vCPU uses the same devices at nearly the same times.
    both.extend(events().into_iter().map(|mut event| {
        event.vcpu = 1;
        event.times.back += 1_000;
        event
    }));
    both.sort_by_key(|event| event.times.back);
    let mut ends: HashMap<(u64, u64), u64> = HashMap::new();
    for (pid, tid, from, to, name) in slices(&both).1 {
        let end = ends.entry((pid, tid)).or_default();
        assert!(from >= *end && to >= from, "{name} of {pid}/{tid}: {from} to {to}, after {end}");
        *end = to;
    }
}

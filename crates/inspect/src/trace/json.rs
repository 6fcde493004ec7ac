//! A trace for programs: a JSON object a line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::event::What;
use super::kind::Kind;
use super::line::Line;
use super::writer::Render;

/// JSON Lines, as the module's documentation describes them.
#[derive(Debug)]
pub(super) struct Json;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Object<'a> {
    Exit(Box<Exit<'a>>),
    Dropped { exits: u64 },
}

#[derive(Default, Serialize)]
struct Exit<'a> {
    time_ns: u64,
    vcpu: u8,
    guest_ns: u64,
    host_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    access: Option<Access<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    registers: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Access<'a> {
    address: String,
    width: u8,
    count: u32,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    register: Option<&'static str>,
}

/// Numbers of 64 bits are strings: JSON's have 53.
fn hex(number: u64) -> String {
    format!("{number:#x}")
}

fn bytes(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl<'a> Exit<'a> {
    fn of(seen: &'a Line<'_>) -> Self {
        let event = seen.event;
        let (access, detail) = match &event.what {
            What::Access(access) => {
                let access = Access {
                    address: hex(access.at),
                    width: access.width,
                    count: access.times(),
                    data: bytes(access.bytes()),
                    value: access.value().map(hex),
                    device: seen.device.map(|(_, name)| name),
                    offset: seen.device.map(|_| seen.offset),
                    register: seen.register.map(|register| register.name),
                };
                (Some(access), None)
            }
            What::Other(record) => (None, Some(record.to_string())),
        };
        Self {
            time_ns: event.times.back,
            vcpu: event.vcpu,
            guest_ns: event.times.guest,
            host_ns: event.times.host,
            kind: Some(event.what.kind()),
            access,
            detail,
            rip: seen.rip.map(hex),
            at: seen.at.map(hex),
            symbol: seen.symbol.map(|symbol| symbol.name),
            symbol_offset: seen.symbol.map(|symbol| symbol.offset),
            file: seen.source.as_ref().map(|source| source.file.as_str()),
            line: seen.source.as_ref().map(|source| source.line),
            instruction: seen.instruction.as_ref().map(|instruction| instruction.text.as_str()),
            code: seen.instruction.as_ref().map(|instruction| bytes(&instruction.bytes)),
            registers: seen.changed.iter().map(|(name, value)| (*name, hex(*value))).collect(),
        }
    }
}

fn put(object: &Object<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

impl Render for Json {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn event(&mut self, seen: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
        put(&Object::Exit(Box::new(Exit::of(seen))), out)
    }

    fn end(&mut self, dropped: u64, out: &mut dyn Write) -> io::Result<()> {
        if dropped == 0 { Ok(()) } else { put(&Object::Dropped { exits: dropped }, out) }
    }
}

#[cfg(test)]
#[path = "json_test.rs"]
mod tests;

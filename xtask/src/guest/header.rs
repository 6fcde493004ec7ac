//! A guest's header: TOML in the comment lines between two lines `; ---`.
//!
//! ```text
//! ; ---
//! ; about = "adds two numbers and prints the sum"
//! ; needs = ["paging32"]              # what the host must be able to do (see `host`)
//! ; stdin = "typed by the user"       # standard input of strata; empty without it
//! ; [machine]                         # strata's own configuration, handed on as it is
//! ; mode = "real16"
//! ; [expect]
//! ; stop = "halted"                   # or a table: { kind = "debug", rip = 0x1005 }
//! ; exits = ["out 0x3f8/1 <- 35", "3 * in 0x3f8/1 -> ff", "out 0x3f8/1 <- \"text\"", "hlt"]
//! ; exits_contain = ["hlt"]           # instead of `exits`, where their order is not determined
//! ; output = "5\n"
//! ; memory = { 0x6000 = "aa bb cc dd" }
//! ; dirty = [0x1000]
//! ; registers = { rax = 5, rsp = "0xffffffff80000000" }
//! ; exit_code = 0
//! ; explain = ["#PF at 0x100010"]      # of a broken guest: what strata must say about its death
//! ; ---
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::host;

/// The line that opens and closes a header.
const FENCE: &str = "; ---";

/// What a guest's header says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) about: String,
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    pub(crate) stdin: Option<String>,
    /// As JSON's values, since TOML's own end at 2^63-1 and addresses don't.
    #[serde(default)]
    pub(crate) machine: Map<String, Value>,
    pub(crate) expect: Expect,
}

/// What must come out; what is left out is not looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) stop: Stop,
    /// Exactly these exits, in this order; see [`notation`](super::notation) for shorthands.
    pub(crate) exits: Option<Vec<String>>,
    /// At least these exits, in any order, each as often as it is listed.
    pub(crate) exits_contain: Option<Vec<String>>,
    /// Exactly what the guest's devices printed.
    pub(crate) output: Option<String>,
    /// Bytes in hexadecimal by guest-physical address.
    pub(crate) memory: Option<BTreeMap<Number, Bytes>>,
    /// Exactly these pages are dirty, by guest-physical address.
    pub(crate) dirty: Option<Vec<Number>>,
    /// Registers of the first vCPU at the end.
    pub(crate) registers: Option<BTreeMap<String, Number>>,
    /// Exit status of strata.
    pub(crate) exit_code: Option<i32>,
    /// Each of these must be said when the guest's death is explained. Without it nothing must be held against the guest.
    pub(crate) explain: Option<Vec<String>>,
}

/// How the run must stop.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a stop is a word like \"halted\" or a table with `kind`")]
pub(crate) enum Stop {
    Kind(String),
    /// Each of these must be in the report; more may be.
    Details(Map<String, Value>),
}

/// A number from 0 to 2^64-1, as an integer or as text: `5`, `0x5`, `"0xffff_8000_0000_0000"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct Number(pub(crate) u64);

/// Bytes written in hexadecimal, with or without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// What is wrong with a header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("no header: no line is `; ---`")]
    Missing,
    #[error("this header never ends: no second line is `; ---`")]
    Open,
    #[error("a line of the header does not start with `;`")]
    NotAComment,
    #[error("{0}")]
    Toml(String),
    #[error("unknown need `{need}`; known are: {}", host::known())]
    UnknownNeed { need: String },
    #[error("the header must expect either `exits` or `exits_contain`")]
    NoExits,
    #[error("the header must expect `exits` or `exits_contain`, not both")]
    TwoExits,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a number from 0 to 2^64-1, like 5, 0x5 or \"0xffff_8000_0000_0000\"")]
pub(crate) struct BadNumber(String);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a list of bytes in hexadecimal, like \"aa bb cc dd\"")]
pub(crate) struct BadBytes(String);

impl Header {
    /// Parses the header in the text of an `.asm` file; an error comes with its line, counted from 1.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, HeaderError)> {
        let (toml, start) = split(text)?;
        // The TOML's first line is the one after the fence.
        let line_of = |offset: usize| start + toml[..offset.min(toml.len())].matches('\n').count() + 1;
        let header: Self = toml::from_str(&toml).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            (line_of(offset), HeaderError::Toml(error.message().to_owned()))
        })?;
        for need in &header.needs {
            if !host::is_known(need.get_ref()) {
                let unknown = HeaderError::UnknownNeed { need: need.get_ref().clone() };
                return Err((line_of(need.span().start), unknown));
            }
        }
        match (&header.expect.exits, &header.expect.exits_contain) {
            (None, None) => Err((start, HeaderError::NoExits)),
            (Some(_), Some(_)) => Err((start, HeaderError::TwoExits)),
            _ => Ok(header),
        }
    }

    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        self.needs.iter().map(|need| need.get_ref().as_str())
    }
}

/// The header's TOML, and the line its opening fence is on, counted from 1.
pub(crate) fn split(text: &str) -> Result<(String, usize), (usize, HeaderError)> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    let (start, _) = lines.find(|(_, line)| *line == FENCE).ok_or((1, HeaderError::Missing))?;
    let mut toml = String::new();
    for (number, line) in lines {
        if line == FENCE {
            return Ok((toml, start));
        }
        let content = match line.strip_prefix(';') {
            Some(content) => content.strip_prefix(' ').unwrap_or(content),
            None if line.is_empty() => "",
            None => return Err((number, HeaderError::NotAComment)),
        };
        toml.push_str(content);
        toml.push('\n');
    }
    Err((start, HeaderError::Open))
}

impl Number {
    /// The number that `value` is, or is the text of.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        value.as_u64().map(Self).or_else(|| Self::parse(value.as_str()?))
    }

    /// Reads `5`, `0x5` or `0xffff_8000_0000_0000`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.replace('_', "");
        let parsed = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        parsed.ok().map(Self)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl TryFrom<Value> for Number {
    type Error = BadNumber;

    fn try_from(value: Value) -> Result<Self, BadNumber> {
        Self::of(&value).ok_or_else(|| BadNumber(value.to_string()))
    }
}

impl TryFrom<String> for Bytes {
    type Error = BadBytes;

    fn try_from(text: String) -> Result<Self, BadBytes> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |pair: &[char]| match pair {
            [high, low] => u8::try_from(high.to_digit(16)? << 4 | low.to_digit(16)?).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        bytes.filter(|bytes| !bytes.is_empty()).map(Self).ok_or(BadBytes(text))
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "header_test.rs"]
mod tests;

//! What `strata run --report` writes, as far as expectations look at it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// How a run went.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// `kind`, and details that depend on it.
    pub(crate) stop: Map<String, Value>,
    pub(crate) exits: Vec<String>,
    pub(crate) exit_count: u64,
    pub(crate) output: String,
    /// Bytes in hexadecimal by address, for each `--dump`; none where there is no RAM.
    #[serde(default)]
    pub(crate) memory: BTreeMap<String, Option<String>>,
    /// Absent without a dirty log.
    pub(crate) dirty: Option<Vec<String>>,
    /// Of the first vCPU.
    #[serde(default)]
    pub(crate) registers: BTreeMap<String, Value>,
    /// What is to be said about the guest's end; absent where there is nothing.
    pub(crate) explanation: Option<String>,
    /// Whether the explanation says that the guest did something wrong.
    #[serde(default)]
    pub(crate) accused: bool,
}

impl Report {
    pub(crate) fn stop_kind(&self) -> &str {
        self.stop.get("kind").and_then(Value::as_str).unwrap_or("stop of unknown kind")
    }
}

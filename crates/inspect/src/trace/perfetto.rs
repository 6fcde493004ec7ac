//! A trace for programs: a JSON object a line.

use std::io::{self, Write};

use super::line::Line;
use super::writer::Render;

/// x
#[derive(Debug, Default)]
pub(super) struct Perfetto;

impl Render for Perfetto {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
    fn event(&mut self, _seen: &Line<'_>, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self, _dropped: u64, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

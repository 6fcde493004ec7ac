//! An exit in a trace's words, without a trace.

use strata_vmm::vcpu::Exit;

use super::event::{Event, What};
use super::line::{self, Line};
use super::place::Place;
use super::text;
use crate::clock::Times;

/// Words exits, one after the other.
#[derive(Debug)]
pub(crate) struct Phrases<'a> {
    /// Where devices are; `None` where nobody knows.
    places: Option<&'a [Place]>,
    dlab: Vec<bool>,
}

impl<'a> Phrases<'a> {
    pub(crate) fn new(places: Option<&'a [Place]>) -> Self {
        Self { places, dlab: vec![false; places.map_or(0, <[_]>::len)] }
    }

    /// What the exit wanted: `out 0x3f8 <- 'H' com1.thr`.
    pub(crate) fn of(&mut self, exit: &Exit<'_>) -> String {
        let event = Event { vcpu: 0, times: Times::default(), what: What::of(exit), cpu: None };
        let mut line = Line::bare(&event);
        if let (What::Access(access), Some(places)) = (&event.what, self.places) {
            line::follow(places, &mut self.dlab, access);
            line::name((places, &self.dlab), access, &mut line);
        }
        text::plain(&line, self.places.is_some())
    }
}

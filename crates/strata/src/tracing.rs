//! Traces of runs: where they go, and what they look like.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use strata_inspect::Symbols;
use strata_inspect::symbols::SymbolError;
use strata_inspect::trace::{Filter, FilterError, Format, Guest, Options, StartError, Summary, Trace};
use strata_vmm::memory::GuestMemory;

use crate::cli::{InspectOptions, TraceFormat};
use crate::message::say;
use crate::run::{Error, OutputFile};

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("--trace-filter: {0}")]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot read symbols of {path}")]
    Symbols { path: String, source: SymbolError },
}

/// The guest's symbols: those that were named, or the image's own. An image that has none, or damaged ones, does without.
pub(crate) fn symbols(options: &InspectOptions, image: &Path) -> Result<Option<Symbols>, TraceError> {
    let found = match &options.symbols {
        Some(path) => Symbols::open(path)
            .map_err(|source| TraceError::Symbols { path: path.display().to_string(), source })?,
        // What is no file, a FIFO for instance, has been read to its end.
        None if !image.is_file() => return Ok(None),
        None => match Symbols::open(image) {
            Ok(symbols) => symbols,
            Err(error) => {
                say(&format!("going on without symbols: {error}"));
                return Ok(None);
            }
        },
    };
    Ok((!found.is_empty()).then_some(found))
}

/// Starts the trace that the options ask for.
pub(crate) fn start(
    options: &InspectOptions,
    guest: Guest<GuestMemory>,
) -> Result<Option<Trace<GuestMemory>>, Error> {
    let Some(path) = &options.trace else { return Ok(None) };
    let to_terminal = path == Path::new("-");
    let out: Box<dyn Write + Send> =
        if to_terminal { Box::new(io::stderr()) } else { Box::new(OutputFile::begin(path)?.file) };
    let format =
        options.trace_format.unwrap_or_else(|| match path.extension().and_then(|end| end.to_str()) {
            Some("jsonl") => TraceFormat::Json,
            Some("perfetto") => TraceFormat::Perfetto,
            _ => TraceFormat::Text,
        });
    let format = match format {
        TraceFormat::Json => Format::Json,
        TraceFormat::Perfetto => Format::Perfetto,
        TraceFormat::Text => {
            // https://no-color.org: whatever it says, if it says something.
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            Format::Text { colour: to_terminal && io::stderr().is_terminal() && !plain }
        }
    };
    let filter: Filter = options.trace_filter.as_deref().unwrap_or("").parse().map_err(TraceError::Filter)?;
    let options = Options { format, filter, ..Options::default() };
    let trace = Trace::start(&options, out, guest).map_err(TraceError::Start)?;
    Ok(Some(trace))
}

/// Waits until the trace is written, and says if it is not whole.
pub(crate) fn finish(trace: Trace<GuestMemory>) {
    let Summary { dropped, error, .. } = trace.finish();
    if let Some(error) = error.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        say(&format!("the trace ends early: {error}"));
    } else if dropped > 0 {
        say(&format!("the trace lacks {dropped} exits, which came faster than they could be written"));
    }
}

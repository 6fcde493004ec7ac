//! Traces of runs: where they go, and what they look like.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use strata_inspect::Symbols;
use strata_inspect::symbols::SymbolError;
use strata_inspect::trace::{Filter, FilterError, Format, Guest, Options, StartError, Summary, Trace};
use strata_vmm::memory::GuestMemory;

use crate::cli::{InspectOptions, TraceFormat};
use crate::message::say;
use crate::output::OutputFile;
use crate::run::Error;

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("--trace-filter")]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot read symbols of {}", path.display())]
    Symbols { path: PathBuf, source: SymbolError },
    #[error("there are no symbols in {}: name an ELF file that has not been stripped, or a System.map", path.display())]
    NoSymbols { path: PathBuf },
}

/// The guest's symbols: those that were named, or the image's own. An image may have none.
pub(crate) fn symbols(options: &InspectOptions, image: &Path) -> Result<Option<Symbols>, TraceError> {
    let path = match &options.symbols {
        Some(path) => path,
        // What is no file, a FIFO for instance, has been read to its end.
        None if !image.is_file() => return Ok(None),
        None => image,
    };
    match Symbols::open(path) {
        Ok(found) if !found.is_empty() => Ok(Some(found)),
        Ok(_) if options.symbols.is_some() => Err(TraceError::NoSymbols { path: path.to_owned() }),
        Ok(_) => Ok(None),
        Err(source) => Err(TraceError::Symbols { path: path.to_owned(), source }),
    }
}

/// Starts the trace that the options ask for.
pub(crate) fn start(
    options: &InspectOptions,
    guest: Guest<GuestMemory>,
) -> Result<Option<Trace<GuestMemory>>, Error> {
    let Some(path) = &options.trace else { return Ok(None) };
    // First: a filter that is none empties no file.
    let filter: Filter = options.trace_filter.as_deref().unwrap_or("").parse().map_err(TraceError::Filter)?;
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
    let options = Options { format, filter, ..Options::default() };
    let trace = Trace::start(&options, out, guest).map_err(|error| match error {
        StartError::Filter(error) => TraceError::Filter(error),
        error => TraceError::Start(error),
    })?;
    Ok(Some(trace))
}

/// Waits until the trace is written, and says if it is not whole.
pub(crate) fn finish(trace: Trace<GuestMemory>, options: &InspectOptions) {
    let Summary { dropped, error, .. } = trace.finish();
    if let Some(error) = error.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        say(&format!("the trace ends early: {error}"));
    } else if dropped > 0 && options.trace.as_deref() != Some(Path::new("-")) {
        // Where it goes to standard error, it has said so itself.
        say(&format!("the trace lacks {dropped} exits, which came faster than they could be written"));
    }
}

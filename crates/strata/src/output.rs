//! Files that are written of a run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, access, fcntl_setfl, open};
use rustix::io::Errno;

use crate::cli::RunOptions;
use crate::mapping;

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("cannot write {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write {}: nobody reads it; start the reader of a FIFO before the run", path.display())]
    NoReader { path: PathBuf },
    #[error(
        "cannot write a core dump to {}: it is there, but not as a file that could be replaced", path.display()
    )]
    NotReplaced { path: PathBuf },
}

impl OutputError {
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// A file that has been begun.
pub(crate) struct OutputFile<'a> {
    pub(crate) path: &'a Path,
    pub(crate) file: File,
}

impl<'a> OutputFile<'a> {
    /// Creates or empties it. A FIFO that nobody has opened to read is refused: waiting for its reader could not be
    /// interrupted from a terminal (fifo(7)).
    pub(crate) fn begin(path: &'a Path) -> Result<Self, OutputError> {
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let opened = open(path, how | OFlags::NONBLOCK, Mode::from_raw_mode(0o666)).and_then(|file| {
            // From here on a reader may take its time.
            fcntl_setfl(&file, OFlags::empty())?;
            Ok(File::from(file))
        });
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(Errno::NXIO) => Err(OutputError::NoReader { path: path.to_owned() }),
            Err(error) => Err(OutputError::new(path, error.into())),
        }
    }

    /// As [`begin`](Self::begin); `None` for `-`, which is written to a stream that is there.
    pub(crate) fn unless_stream(path: &'a Path) -> Result<Option<Self>, OutputError> {
        if path == Path::new("-") { Ok(None) } else { Self::begin(path).map(Some) }
    }
}

/// What is written of a run when it has ended, but for what watches it.
pub(crate) struct Files<'a> {
    pub(crate) report: Option<OutputFile<'a>>,
    pub(crate) record: Option<OutputFile<'a>>,
    pub(crate) map: Option<mapping::Target<'a>>,
}

impl<'a> Files<'a> {
    /// Begins them. A file that cannot be written should be known before the guest runs, not after.
    pub(crate) fn begin(options: &'a RunOptions) -> Result<Self, OutputError> {
        if let Some(path) = &options.inspect.core {
            check_core(path)?;
        }
        Ok(Self {
            report: options.report.as_deref().map(OutputFile::begin).transpose()?,
            record: options.record.as_deref().map(OutputFile::begin).transpose()?,
            map: options.inspect.map.as_deref().map(mapping::Target::begin).transpose()?,
        })
    }
}

/// Whether a core dump could be written here. It is not begun: most guests never have one, and it takes the place of what
/// is there only when it is whole.
fn check_core(path: &Path) -> Result<(), OutputError> {
    if path.file_name().is_none() || path.exists() && !path.is_file() {
        return Err(OutputError::NotReplaced { path: path.to_owned() });
    }
    let folder = path.parent().unwrap_or(Path::new("")).join(".");
    access(&folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| OutputError::new(path, error.into()))
}

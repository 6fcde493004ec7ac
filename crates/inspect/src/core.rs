//! ELF core dumps: a guest as a file that gdb, crash(8) and readelf open.
//!
//! The format is that of Linux' core dumps (System V ABI, "Program Header": `PT_NOTE`, `PT_LOAD`; core(5)), with two
//! habits of memory dumps of whole machines: every segment has its guest-physical address in `p_paddr`, and a note named
//! `QEMU` holds each processor's control and segment registers, as QEMU's `dump-guest-memory` writes them.
//!
//! ```text
//! ELF header | program headers | notes | page by page the RAM, pages of zeros as holes
//! ```

mod notes;
mod save;
mod segments;

use std::io::{self, Seek, SeekFrom, Write};

use strata_cpu::X86State;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::View;

pub use save::{SaveError, save};
pub use segments::PHYSICAL_WINDOW;

const PAGE: usize = 4096;
/// How much of memory is looked at at once: the only large buffer.
const CHUNK: usize = 16 * PAGE;

/// Which addresses a debugger finds memory at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// Guest-physical ones. Always complete.
    #[default]
    Physical,
    /// The linear addresses of the first processor that has paging on, as its page tables say, so that a debugger can
    /// follow the guest's pointers; all of RAM once more at [`PHYSICAL_WINDOW`]. Without paging, as `Physical`.
    Linear,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file's length in bytes.
    pub len: u64,
    /// Bytes of it that are no holes.
    pub data: u64,
    /// The page tables map more than a file lists: what lies at this linear address and above is at its physical
    /// address only.
    pub truncated_at: Option<u64>,
}

/// A core dump cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A debugger needs at least one.
    #[error("a core dump needs the registers of at least one processor")]
    NoProcessor,
    /// More pieces of RAM than an ELF file has segments.
    #[error("the guest's RAM lies in {0} pieces; a core dump has 65000 at most")]
    TooManyPieces(usize),
    /// RAM that is there cannot be read.
    #[error("guest memory at {0:#x} cannot be read; is its file shorter than the memory?")]
    Memory(u64),
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a core dump of a guest that stands still, from the start of `out` on. `cpus` are its processors' registers, in
/// the order of their numbers; threads 1, 2 and so on in a debugger. `image` is the file name of the image that ran: a
/// debugger warns if it is told to look at another.
///
/// Pages of zeros are not written but skipped: `out` has to be empty, and reads as zeros where nothing was written, as a
/// new file does. What an error leaves behind in `out` is no core dump; [`save`] writes whole files or none.
///
/// Floating-point registers are not part of it, nor is `IA32_KERNEL_GS_BASE`, which the note `QEMU` has as 0.
pub fn write<M: GuestMemoryBackend + Bytes<GuestAddress>>(
    out: &mut (impl Write + Seek),
    memory: &M,
    cpus: &[X86State],
    addresses: Addresses,
    image: Option<&str>,
) -> Result<Written, CoreError> {
    if cpus.is_empty() {
        return Err(CoreError::NoProcessor);
    }
    let pieces = segments::pieces(memory);
    let paged = cpus.iter().find(|state| state.cr0.contains(strata_cpu::Cr0::PG));
    let view = paged.filter(|_| addresses == Addresses::Linear).map(|state| View::new(memory, state));
    let (segments, truncated_at) = segments::segments(&pieces, view.as_ref())?;
    let notes = notes::notes(cpus, image);
    let (head, ram_at) = segments::headers(&segments, notes.len());
    out.write_all(&head)?;
    out.write_all(&notes)?;
    let headed = (head.len() + notes.len()) as u64;
    let mut writer = Sparse { out, at: headed, len: ram_at, data: headed };
    for piece in &pieces {
        writer.copy(memory, piece.phys, (ram_at + piece.file, piece.len))?;
    }
    let Sparse { len, data, .. } = writer;
    finish(out, len)?;
    Ok(Written { len, data, truncated_at })
}

/// Gives the file its length, also if it ends with a hole.
fn finish(out: &mut (impl Write + Seek), len: u64) -> io::Result<()> {
    if out.seek(SeekFrom::End(0))? < len {
        out.seek(SeekFrom::Start(len - 1))?;
        out.write_all(&[0])?;
    }
    out.flush()
}

struct Sparse<'a, W> {
    out: &'a mut W,
    /// Where the next byte would go.
    at: u64,
    /// Up to where the file goes.
    len: u64,
    data: u64,
}

impl<W: Write + Seek> Sparse<'_, W> {
    /// Copies RAM from `phys` on to a place in the file, given with its length.
    fn copy<M: Bytes<GuestAddress>>(
        &mut self,
        memory: &M,
        phys: u64,
        (at, len): (u64, u64),
    ) -> Result<(), CoreError> {
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
            let Some(chunk) = buffer.get_mut(..want) else { break };
            memory
                .read_slice(chunk, GuestAddress(phys + done))
                .map_err(|_| CoreError::Memory(phys + done))?;
            for (page, start) in chunk.chunks(PAGE).zip((at + done..).step_by(PAGE)) {
                if page.iter().any(|byte| *byte != 0) {
                    // A seek costs a system call, also if it leads nowhere.
                    if self.at != start {
                        self.out.seek(SeekFrom::Start(start))?;
                    }
                    self.out.write_all(page)?;
                    self.at = start + page.len() as u64;
                    self.data += page.len() as u64;
                }
            }
            done += want as u64;
        }
        self.len = at + len;
        Ok(())
    }
}

#[cfg(test)]
#[path = "core_test.rs"]
mod tests;

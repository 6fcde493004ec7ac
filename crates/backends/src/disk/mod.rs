//! Disks for virtio-block: raw files and the host's block devices.
//!
//! An [`Image`] is opened once; each queue of the guest's device then has a [`FileDisk`] of it. The host's kernel moves
//! the data between the file and guest memory, without a copy in between, by `io_uring` or, where there is none, by a
//! few threads.
//!
//! ```
//! use std::sync::Arc;
//! use strata_backends::disk::{Image, ImageOptions};
//! use strata_devices::virtio::block::{Block, BlockOptions};
//! use vm_memory::GuestMemoryMmap;
//! # let path = std::env::temp_dir().join(format!("strata-doc-{}", std::process::id()));
//! # std::fs::write(&path, [0; 4096])?;
//!
//! let image = Image::open(&path, &ImageOptions::default())?;
//! let disks = image.disks(2)?;
//! let block = Block::<Arc<GuestMemoryMmap<()>>, _>::new(disks, BlockOptions::default())?;
//! assert_eq!(block.workers().len(), 2);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bounce;
mod call;
mod engine;
mod file_disk;
mod image;
mod lock;
mod pool;
mod ring;

pub use file_disk::FileDisk;
pub use image::{Cache, EngineChoice, Image, ImageOptions, OpenError};

/// How many operations of a queue are with the host at once.
const DEPTH: u16 = 64;

//! For a VMM that wants our disk and nothing else: `strata-backends` on `strata-devices`, driven as a guest does it.

use std::io;
use std::path::Path;

use strata_backends::disk::{Image, ImageOptions};
use strata_devices::virtio::block::{Block, BlockOptions};
use strata_devices::virtio::testing::{Bench, FREE};

/// Reads the first sector of an image, through a virtio disk.
///
/// # Errors
///
/// The image cannot be opened, or does not give the sector.
pub fn first_sector(image: &Path) -> io::Result<Vec<u8>> {
    let image = Image::open(image, &ImageOptions::default()).map_err(io::Error::other)?;
    let block = Block::new(image.disks(1)?, BlockOptions::default())?;
    let workers = block.workers();
    let mut bench = Bench::new(block, workers);
    bench.start(0);
    let (header, sector, status) = (FREE, FREE + 0x1000, FREE + 0x2000);
    bench.write(header, &[0; 16]);
    bench.write(status, &[0xff]);
    bench.queue(0).add(&[(header, 16)], &[(sector, 512), (status, 1)]);
    bench.notify(0);
    bench.run_until(|bench| bench.queue(0).used().is_some());
    match bench.read(status, 1)[..] {
        [0] => Ok(bench.read(sector, 512)),
        _ => Err(io::ErrorKind::Other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_read() {
        let path = std::env::temp_dir().join(format!("consumer-backends-{}", std::process::id()));
        std::fs::write(&path, [7; 4096]).unwrap();
        let sector = first_sector(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sector.unwrap(), [7; 512]);
        assert!(first_sector(Path::new("/nowhere")).is_err());
    }
}

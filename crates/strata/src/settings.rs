//! The machine that was asked for: a configuration file, with the options over it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use strata_vmm::Config;
use strata_vmm::config::{ConsoleTo, LayerError};

use crate::cli::RunOptions;
use crate::run::Error;

/// A configuration is a page of text; a device or a disk image named by mistake is not read to its end.
fn read_config(path: &Path) -> io::Result<String> {
    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}

/// The configuration file, with the options over it.
pub(crate) fn config(options: &RunOptions) -> Result<Config, Error> {
    let file = match &options.config {
        None => None,
        Some(path) => {
            let read = read_config(path);
            Some((path, read.map_err(|source| Error::ConfigFile { path: path.clone(), source })?))
        }
    };
    let text = file.as_ref().map(|(_, text)| text.as_str());
    let layered = Config::layered(text, &options.settings());
    let mut config = layered.map_err(|error| match (&file, &error) {
        (Some((path, _)), LayerError::File(_)) => Error::Config { path: (*path).clone(), error },
        _ => Error::Options(error),
    })?;
    // A file names others as seen from where it is; a setting, from here.
    let beside = |key: &str, path: &mut PathBuf| {
        if let Some(folder) = file.as_ref().and_then(|(file, _)| file.parent())
            && !path.as_os_str().is_empty()
            && !options.set.iter().any(|setting| setting.key == key)
        {
            *path = folder.join(&*path);
        }
    };
    beside("image", &mut config.image);
    if let Some(initrd) = &mut config.initrd {
        beside("initrd", initrd);
    }
    for disk in &mut config.disk {
        beside("disk", &mut disk.path);
    }
    for share in &mut config.share {
        beside("share", &mut share.dir);
    }
    for console in &mut config.console {
        if let ConsoleTo::File(path) | ConsoleTo::Unix(path) = &mut console.to {
            beside("console", path);
        }
    }
    if let Some(vsock) = &mut config.vsock {
        beside("vsock", &mut vsock.path);
    }
    // As they were typed: neither has to be UTF-8 or to look like a value of TOML's.
    if let Some(image) = &options.image {
        config.image.clone_from(image);
    }
    if options.initrd.is_some() {
        config.initrd.clone_from(&options.initrd);
    }
    if options.cmdline.is_some() {
        config.cmdline.clone_from(&options.cmdline);
    }
    options.devices.add_to(&mut config);
    Ok(config)
}

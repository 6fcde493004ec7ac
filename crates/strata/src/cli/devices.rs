//! Virtio devices, as they are typed.

use clap::Args;
use strata_vmm::Config;
use strata_vmm::config::{Console, Disk, Net, Share, Vsock};

/// What is plugged in, beside what the configuration file names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices")]
#[allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "these are the texts of `--help`, printed as they are"
)]
pub(crate) struct DeviceOptions {
    /// A disk: a raw file or block device; then [,ro], [,direct], [,cache=writeback|writethrough|unsafe], [,queues=N] and
    /// [,serial=TEXT]; several are /dev/vda, /dev/vdb .. [disk]
    #[arg(long = "disk", value_name = "FILE[,ro]")]
    disks: Vec<Disk>,

    /// A network: `user` by passt without any privilege, tap=NAME or fd=N, then [,mac=..][,queues=N] [net]
    #[arg(long = "net", value_name = "user|tap=NAME")]
    nets: Vec<Net>,

    /// Sockets between host and guest: the guest's context ID and a Unix socket [vsock]
    #[arg(long, value_name = "CID:PATH")]
    vsock: Option<Vsock>,

    /// Share a directory, which the guest mounts by `mount -t virtiofs TAG /mnt` [share]
    #[arg(long = "share", value_name = "DIR:TAG[:ro]")]
    shares: Vec<Share>,

    /// A console beside the serial port: stdio, pty, file=PATH or unix=PATH, then [,name=NAME] [console]
    #[arg(long = "console", value_name = "TO")]
    consoles: Vec<Console>,

    /// Have the guest give back memory that it does not use [balloon]
    #[arg(long)]
    balloon: bool,

    /// A source of entropy [rng]
    #[arg(long)]
    rng: bool,
}

impl DeviceOptions {
    /// Puts them behind those that there are.
    pub(crate) fn add_to(&self, config: &mut Config) {
        config.disk.extend_from_slice(&self.disks);
        config.net.extend_from_slice(&self.nets);
        config.share.extend_from_slice(&self.shares);
        config.console.extend_from_slice(&self.consoles);
        if self.vsock.is_some() {
            config.vsock.clone_from(&self.vsock);
        }
        if self.balloon {
            config.balloon.get_or_insert_default();
        }
        if self.rng {
            config.rng.get_or_insert_default();
        }
    }
}

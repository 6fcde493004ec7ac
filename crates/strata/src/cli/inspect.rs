//! The options that look into a guest.

use clap::Args;
use strata_inspect::gdb::Address;

#[derive(Debug, Args)]
pub(crate) struct InspectOptions {
    /// Serve gdb at a port of 127.0.0.1, at ADDRESS:PORT, or at a Unix socket
    #[arg(
        long,
        value_name = "PORT|SOCKET",
        help_heading = "Inspection",
        conflicts_with_all = ["step", "breakpoints"]
    )]
    pub(crate) gdb: Option<Address>,

    /// Do not begin before a debugger lets the guest go on
    #[arg(long, requires = "gdb", help_heading = "Inspection")]
    pub(crate) wait: bool,
}

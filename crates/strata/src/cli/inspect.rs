//! Options that look into a guest.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Inspection")]
pub(crate) struct InspectOptions {
    /// Keep no record of the last exits: a run that nobody will ask about
    #[arg(long)]
    pub(crate) no_recorder: bool,

    /// Show this many of the last exits after an abnormal end, at most 256
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) last_exits: usize,
}

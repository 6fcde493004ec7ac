//! Watches a guest: `watch CONFIG.toml IMAGE [text|json|perfetto] [FILTER]`.

use std::error::Error;
use std::io::{IsTerminal, stderr};

use strata_inspect::trace::{Format, Options, Trace};
use strata_vmm::{Config, Machine};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(image)) = (arguments.next(), arguments.next()) else {
        return Err("usage: watch CONFIG.toml IMAGE [text|json|perfetto] [FILTER]".into());
    };
    let format = match arguments.next().map_or(Ok(Format::default()), |name| name.parse())? {
        Format::Text { .. } => Format::Text { colour: stderr().is_terminal() },
        format => format,
    };
    let filter = arguments.next().unwrap_or_default().parse()?;
    let config = Config::from_toml(&std::fs::read_to_string(config)?)?;
    let machine = Machine::builder(config).image(std::fs::read(image)?).console(std::io::stdout()).build()?;
    let trace = Trace::start(&Options { format, filter, ..Options::default() }, stderr(), Vec::new(), None)?;
    let memory = machine.ram().memory().clone();
    let outcome = machine.run_traced(|vcpu| trace.tap(vcpu, memory.clone()))?;
    let summary = trace.finish();
    println!("{:?}; {summary:?}", outcome.stop);
    Ok(())
}

//! Watches a guest: `watch CONFIG.toml IMAGE [text|json|perfetto] [FILTER]`.

use std::error::Error;
use std::sync::Arc;
use std::io::{IsTerminal, stderr};

use strata_inspect::trace::{Format, Guest, Options, Trace};
use strata_inspect::Symbols;
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
    let image = std::fs::read(image)?;
    let symbols = Some(Arc::new(Symbols::read(&image)?)).filter(|symbols| !symbols.is_empty());
    let config = Config::from_toml(&std::fs::read_to_string(config)?)?;
    let machine = Machine::builder(config).image(image).console(std::io::stdout()).build()?;
    let guest = Guest { memory: machine.ram().memory().clone(), places: Vec::new(), symbols };
    let trace = Trace::start(&Options { format, filter, ..Options::default() }, stderr(), guest)?;
    let outcome = machine.run_traced(|vcpu| trace.tap(vcpu))?;
    let summary = trace.finish();
    println!("{:?}; {summary:?}", outcome.stop);
    Ok(())
}

//! Watches a guest: `watch [CONFIG.toml IMAGE [text|json|perfetto] [FILTER]]`; without arguments, one that says a letter. The
//! trace goes to standard error, statistics and the folded stacks of a profile to standard output.

use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use strata_inspect::Symbols;
use strata_inspect::profile::{Profile, Weight};
use strata_inspect::stats::Stats;
use strata_inspect::trace::{Format, Guest, Options, Place, Trace};
use strata_vmm::{Config, Machine};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (config, image) = match (arguments.next(), arguments.next()) {
        (Some(config), Some(image)) => (std::fs::read_to_string(config)?, std::fs::read(image)?),
        // mov dx, 0x3f8; mov al, 'H'; out dx, al; hlt
        (None, _) => {
            ("mode = \"real16\"\nmemory.size = \"64K\"".into(), b"\xba\xf8\x03\xb0H\xee\xf4".to_vec())
        }
        _ => return Err("usage: watch [CONFIG.toml IMAGE [text|json|perfetto] [FILTER]]".into()),
    };
    let format = match arguments.next().map_or(Ok(Format::default()), |name| name.parse())? {
        Format::Text { .. } => Format::Text { colour: stderr().is_terminal() },
        format => format,
    };
    let filter = arguments.next().unwrap_or_default().parse()?;
    let symbols = Some(Arc::new(Symbols::read(&image)?)).filter(|symbols| !symbols.is_empty());
    let config = Config::from_toml(&config)?;
    let machine = Machine::builder(config).image(image).console(std::io::stdout()).build()?;
    let guest = Guest {
        memory: machine.ram().memory().clone(),
        cpus: machine.cpus(),
        places: machine.places(),
        symbols: symbols.clone(),
    };
    let trace = Trace::start(&Options { format, filter, ..Options::default() }, stderr(), guest)?;
    let places: Arc<[Place]> = machine.places().into();
    let profile = Profile::new(machine.ram().memory().clone(), Arc::clone(&places));
    // A trace comes last: the others would measure what it costs.
    let outcome =
        machine.run_traced(|vcpu| (Stats::new(Arc::clone(&places)), (profile.clone(), trace.tap(vcpu))))?;
    let summary = trace.finish();
    println!("{:?}; {summary:?}", outcome.stop);
    let (mut stats, mut all) = (Stats::new(places), profile);
    for vcpu in &outcome.vcpus {
        stats.merge(&vcpu.tracer.0);
        all.merge(&vcpu.tracer.1.0);
    }
    println!("{}\n{}", stats.report(), all.folded(Weight::HostTime, symbols.as_deref()).join("\n"));
    Ok(())
}

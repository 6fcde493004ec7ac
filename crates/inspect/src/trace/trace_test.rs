use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use strata_vmm::Stop;
use strata_vmm::devices::{AddressSpace, Bus};
use strata_vmm::testing::{Act, ScriptedVcpu};
use strata_vmm::vcpu::{Buses, Limits, Pause, run};

use super::sample::{Memory, guest};
use super::*;

/// Runs a vCPU without registers that writes `exits` bytes and halts.
fn storm(tap: &mut Tap<Memory>, exits: usize) {
    let acts = (0..exits).map(|_| Act::pio_write(0x3f8, 1, *b"x")).chain([Act::halt()]);
    let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
    let paused = run(&mut ScriptedVcpu::new(acts), &buses, &mut Limits::default(), tap).unwrap();
    assert_eq!(paused, Pause::Stop(Stop::Halted), "the guest has noticed nothing");
}

/// A writer whose bytes can be looked at.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_exit_is_written_once_and_in_order() {
    let out = Kept::default();
    let trace = Trace::start(&Options::default(), out.clone(), guest()).unwrap();
    storm(&mut trace.tap(3), 20);
    let summary = trace.finish();
    assert_eq!((summary.events, summary.dropped), (21, 0));
    assert!(summary.error.is_none());
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 22);
    assert!(text.lines().nth(1).unwrap().ends_with("out 0x3f8 <- 'x' com1.thr"));
    assert!(text.ends_with(" hlt\n"));
}

#[test]
fn what_is_filtered_out_takes_no_room() {
    let options = Options { filter: "kind=hlt".parse().unwrap(), queue: 1, ..Options::default() };
    let trace = Trace::start(&options, io::sink(), guest()).unwrap();
    storm(&mut trace.tap(0), 1000);
    let summary = trace.finish();
    assert_eq!((summary.events, summary.dropped), (1, 0));
}

/// A writer that is stuck until it is told otherwise.
struct Stuck(Receiver<()>, Kept);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Once the sender is gone this returns at once.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_is_stuck_costs_exits_but_never_the_guest_time() {
    let (go, gate) = channel();
    let out = Kept::default();
    let options = Options { queue: 10, ..Options::default() };
    let trace = Trace::start(&options, Stuck(gate, out.clone()), guest()).unwrap();
    // It ends, although nothing can be written: the header is in the way.
    storm(&mut trace.tap(0), 100);
    drop(go);
    let summary = trace.finish();
    assert_eq!((summary.events, summary.dropped), (10, 91));
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    assert!(text.lines().last().unwrap().starts_with("91 exits dropped"));
}

/// A pipe whose reader leaves after some bytes.
struct Closes(usize);

impl Write for Closes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_the_trace_and_not_the_guest() {
    let trace = Trace::start(&Options::default(), Closes(200), guest()).unwrap();
    let mut tap = trace.tap(0);
    storm(&mut tap, 100);
    let summary = trace.finish();
    assert_eq!(summary.error.map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
    // A tap that outlives its trace sees nothing.
    storm(&mut tap, 10);
}

#[test]
fn a_device_that_is_not_there_cannot_be_chosen() {
    let options = Options { filter: "device=disc".parse().unwrap(), ..Options::default() };
    assert!(matches!(Trace::start(&options, io::sink(), guest()), Err(StartError::Filter(_))));
    assert_eq!(
        "xml".parse::<Format>().unwrap_err().to_string(),
        "there is no trace format named xml: there are text, json and perfetto"
    );
}

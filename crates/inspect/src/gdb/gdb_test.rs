//! Sessions with a client that is a script, and vCPUs that are.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, proptest};
use strata_vmm::Stop;
use strata_vmm::devices::{AddressSpace, Bus};
use strata_vmm::testing::{Act, ScriptedVcpu};
use strata_vmm::vcpu::{Buses, ExitRecord, Finished, Limits, NoTrace, Plan, spawn};
use vm_memory::GuestMemoryMmap;

use super::framing::packet;
use super::*;

type Ram = GuestMemoryMmap<()>;

/// A machine of scripted vCPUs with a server, waiting for a debugger.
struct Machine {
    control: Control,
    memory: Ram,
    threads: Vec<JoinHandle<Finished<ScriptedVcpu, NoTrace>>>,
    server: Option<Server>,
    path: PathBuf,
    said: Receiver<String>,
}

impl Machine {
    fn new(name: &str, scripts: Vec<ScriptedVcpu>) -> Self {
        Self::with(name, scripts, |setup| setup.wait(true))
    }

    fn with(name: &str, scripts: Vec<ScriptedVcpu>, with: impl FnOnce(Setup<Ram>) -> Setup<Ram>) -> Self {
        let path = std::env::temp_dir().join(format!("strata-gdb-{name}-{}", std::process::id()));
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        let control = Control::new();
        let (say, said) = channel();
        let cpus = scripts.len().try_into().unwrap();
        let setup = Setup::new(control.clone(), Ram::clone(&memory), cpus);
        let setup = with(setup).say(Arc::new(move |line| say.send(line.to_owned()).unwrap_or(())));
        let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
        let server = start(listener, setup).unwrap();
        let buses = Buses { pio: Bus::new(AddressSpace::Pio), mmio: Bus::new(AddressSpace::Mmio) };
        let buses = Arc::new(buses);
        let threads = (0..).zip(scripts).map(|(index, vcpu)| {
            let (buses, control) = (Arc::clone(&buses), control.clone());
            let plan = Plan { index, buses, control, limits: Limits::default(), pin: None };
            spawn(plan, vcpu, NoTrace).unwrap()
        });
        let threads = threads.collect();
        Self { control, memory, threads, server: Some(server), path, said }
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.path).unwrap();
        // Nothing here takes long; a test that hangs is to say where.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client(stream)
    }

    /// A debugger that has said hello; once the one before it is gone.
    fn debugger(&self) -> Client {
        let mut client = loop {
            let mut client = self.connect();
            let is_there = client.0.write_all(&packet(b"QStartNoAckMode")).is_ok();
            if is_there && client.0.read_exact(&mut [0]).is_ok() {
                break client;
            }
        };
        assert_eq!(client.packet(), "OK");
        let features = client.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+");
        assert!(
            features.contains("PacketSize=4000") && features.contains("qXfer:features:read+"),
            "{features}"
        );
        client
    }

    fn said(&self) -> String {
        self.said.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// Waits for the end.
    fn end(mut self) -> (Stop, Vec<ScriptedVcpu>) {
        let vcpus = self.threads.drain(..).map(|thread| thread.join().unwrap().vcpu).collect();
        drop(self.server.take());
        (self.control.stopped().unwrap(), vcpus)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.control.stop(Stop::Interrupted);
    }
}

struct Client(UnixStream);

impl Client {
    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// The next packet's content.
    fn packet(&mut self) -> String {
        assert_eq!(self.byte(), b'$');
        let mut body = Vec::new();
        loop {
            match self.byte() {
                b'#' => break,
                byte => body.push(byte),
            }
        }
        let stated = [self.byte(), self.byte()];
        assert!(packet(&body).ends_with(&stated));
        // Run-length encoding: `*`, and how many more (gdb manual, "Overview").
        let mut plain: Vec<u8> = Vec::new();
        let mut bytes = body.into_iter();
        while let Some(byte) = bytes.next() {
            match (byte, plain.last()) {
                (b'*', Some(&last)) => {
                    let more = usize::from(bytes.next().unwrap()) - 29;
                    plain.extend(std::iter::repeat_n(last, more));
                }
                _ => plain.push(byte),
            }
        }
        String::from_utf8_lossy(&plain).into_owned()
    }

    fn send(&mut self, body: &str) {
        self.0.write_all(&packet(body.as_bytes())).unwrap();
    }

    fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.packet()
    }

    fn monitor(&mut self, command: &str) -> String {
        let hex: Vec<_> = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("qRcmd,{}", hex.concat()));
        let mut text = String::new();
        loop {
            match self.packet() {
                end if end == "OK" => return text,
                line => text += &self::text(&line),
            }
        }
    }

    /// Whether the server has closed the connection.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// What an `O` packet has gdb print.
fn text(packet: &str) -> String {
    let hex = packet.strip_prefix('O').unwrap();
    let bytes = hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16));
    String::from_utf8(bytes.collect::<Result<_, _>>().unwrap()).unwrap()
}

fn debug(rip: u64, exception: u32, dr6: u64) -> Act {
    Act::Exit(ExitRecord::Debug { rip, exception, dr6, dr7: 0 })
}

/// DR6.BS: a single step.
const STEP: u64 = 1 << 14;

fn spinning() -> ScriptedVcpu {
    ScriptedVcpu::new([Act::Spin]).repeat_last()
}

#[test]
fn a_debugger_sees_threads_registers_and_memory() {
    let machine = Machine::new("sees", vec![spinning(), spinning()]);
    machine.memory.write_slice(b"strata", GuestAddress(0x100)).unwrap();
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("?"), "T05thread:p01.01;");
    assert_eq!(gdb.ask("qfThreadInfo"), "mp01.01,p01.02");
    assert_eq!(text_of(&gdb.ask("qThreadExtraInfo,p1.2")), "vCPU 1 runs");
    let xml = gdb.ask("qXfer:features:read:target.xml:0,3000");
    assert!(xml[1..].starts_with("<?xml") && xml.contains("<architecture>i8086</architecture>"), "{xml}");
    // 40 registers of the core, then what a scripted vCPU has not got.
    assert_eq!(gdb.ask("Hgp1.2"), "OK");
    assert_eq!(gdb.ask("P8=34120000"), "OK");
    assert_eq!((gdb.ask("p8").as_str(), gdb.ask("p28").as_str()), ("34120000", "E16"));
    assert!(gdb.ask("g").contains("xxxx"));
    assert_eq!(gdb.ask("m100,6"), "737472617461");
    assert_eq!((gdb.ask("M100,1:53"), gdb.ask("X101,1:T")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("m100,3"), "535472");
    assert_eq!((gdb.ask("m20000,4"), gdb.ask("M20000,1:00")), ("E0e".into(), "E0e".into()));
    assert_eq!(gdb.ask("mfffe,4"), "0000");
    assert_eq!((gdb.ask("Hgp1.9"), gdb.ask("g")), ("OK".into(), "E03".into()));
    gdb.send("k");
    assert_eq!(machine.end().0, Stop::Interrupted);
}

fn text_of(hex: &str) -> String {
    text(&format!("O{hex}"))
}

#[test]
fn stops_are_told_apart() {
    let script = [
        debug(0x1000, 1, 0b0001),
        debug(0x2000, 3, 0),
        debug(0x3000, 1, STEP),
        debug(0x3004, 1, STEP),
        debug(0x4000, 1, 0b0010),
        Act::Exit(ExitRecord::Shutdown),
    ];
    let machine = Machine::new("stops", vec![ScriptedVcpu::new(script)]);
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("Z1,1000,1"), "OK");
    assert_eq!(gdb.ask("vCont;c"), "T05thread:p01.01;hwbreak:;");
    assert_eq!((gdb.ask("z1,1000,1"), gdb.ask("Z0,2000,1")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("vCont;c"), "T05thread:p01.01;swbreak:;");
    assert_eq!(
        (gdb.ask("z0,2000,1"), gdb.ask("vCont;s:p1.1;c:p1.-1")),
        ("OK".into(), "T05thread:p01.01;".into())
    );
    assert_eq!(gdb.ask("vCont;s:p1.1"), "T05thread:p01.01;", "with the others frozen");
    assert_eq!((gdb.ask("Z1,9000,1"), gdb.ask("Z4,5000,4")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("vCont;c"), "T05thread:p01.01;awatch:5000;");
    // A death is a signal, and then an end.
    assert_eq!(text(&gdb.ask("vCont;c")), "vCPU 0: triple fault; going on ends the machine\n");
    assert_eq!(gdb.packet(), "T0bthread:p01.01;");
    assert_eq!(text(&gdb.ask("vCont;c")), "the machine has ended: triple fault\n");
    assert_eq!(gdb.packet(), "W0e");
    assert!(gdb.is_closed());
    assert_eq!(machine.end().0, Stop::TripleFault);
}

#[test]
fn an_int3_of_the_guests_own_is_the_guests() {
    let script = [debug(0x2000, 3, 0), debug(0x2001, 3, 0), Act::halt()];
    let machine = Machine::new("own", vec![ScriptedVcpu::new(script)]);
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("Z0,2001,1"), "OK");
    assert_eq!(gdb.ask("vCont;c"), "T05thread:p01.01;swbreak:;");
    gdb.send("D;1");
    assert_eq!(gdb.packet(), "OK");
    let (stop, vcpus) = machine.end();
    assert_eq!((stop, vcpus[0].injected()), (Stop::Halted, 1));
    assert_eq!(vcpus[0].debug(), &strata_vmm::kvm::GuestDebug::default());
}

#[test]
fn breakpoints_are_in_memory_only_while_the_guest_runs() {
    let machine = Machine::new("planted", vec![spinning()]);
    machine.memory.write_obj(0x90u8, GuestAddress(0x2000)).unwrap();
    let byte = || machine.memory.read_obj::<u8>(GuestAddress(0x2000)).unwrap();
    let mut gdb = machine.debugger();
    assert_eq!((gdb.ask("Z0,2000,1"), byte()), ("OK".into(), 0x90));
    gdb.send("vCont;c");
    while byte() != 0xcc {
        std::thread::yield_now();
    }
    gdb.0.write_all(b"\x03").unwrap();
    assert_eq!((gdb.packet().as_str(), byte()), ("T02thread:p01.01;", 0x90));
    // A client that is gone leaves none behind.
    gdb.send("vCont;c");
    while byte() != 0xcc {
        std::thread::yield_now();
    }
    drop(gdb);
    while byte() != 0x90 {
        std::thread::yield_now();
    }
    assert_eq!(machine.control.stopped(), None);
}

#[test]
fn steps_within_a_range_are_the_vcpus_own_affair() {
    let script = [0x1001, 0x1002, 0x1fff, 0x2000].map(|rip| debug(rip, 1, STEP));
    let machine = Machine::new("range", vec![ScriptedVcpu::new(script.into_iter().chain([Act::halt()]))]);
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("vCont;r1000,2000:p1.1"), "T05thread:p01.01;");
    // All four have been played.
    assert_eq!(text(&gdb.ask("vCont;c")), "vCPU 0: halted; going on ends the machine\n");
    assert_eq!(gdb.packet(), "T11thread:p01.01;");
    gdb.send("vKill;1");
    assert_eq!(gdb.packet(), "OK");
    assert_eq!(machine.end().0, Stop::Interrupted);
}

#[test]
fn a_host_that_only_steps_finds_breakpoints_and_changes() {
    let steps = [0x1001, 0x1002, 0x1003].map(|rip| debug(rip, 1, STEP));
    let abilities = DebugAbilities {
        single_step: true,
        breakpoints: false,
        watchpoints: false,
        software_breakpoints: false,
    };
    let machine = Machine::with("search", vec![ScriptedVcpu::new(steps)], |setup| {
        setup.wait(true).abilities(abilities)
    });
    let mut gdb = machine.debugger();
    assert_eq!((gdb.ask("Z0,1002,1"), gdb.ask("Z1,5000,1")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("vCont;c"), "T05thread:p01.01;swbreak:;");
    assert_eq!((gdb.ask("z0,1002,1"), gdb.ask("Z2,6000,4")), ("OK".into(), "OK".into()));
    assert_eq!(gdb.ask("Z3,6000,4"), "E16", "reads are not seen");
    assert!(gdb.monitor("host").contains("watchpoint registers: no; instead: single steps"));
    gdb.send("D;1");
}

#[test]
fn a_death_behind_another_stop_is_told_of_next() {
    // Both stop before either is told of: the second is played out by the time that the first has been paused.
    let died = || ScriptedVcpu::new([Act::Exit(ExitRecord::Shutdown)]);
    let machine = Machine::new("both", vec![died(), died()]);
    let mut gdb = machine.debugger();
    gdb.send("vCont;c");
    assert!(text(&gdb.packet()).contains("triple fault"));
    let first = gdb.packet();
    gdb.send("vCont;c");
    let mut told = Vec::new();
    while let Some(line) = Some(gdb.packet()).filter(|packet| !packet.starts_with('W')) {
        let is_death = line.starts_with("T0b");
        told.push(line);
        if is_death {
            gdb.send("vCont;c");
        }
    }
    // The other's death, if it came in time, and in any case the end.
    assert!(first.starts_with("T0bthread:p01.0") && !told.contains(&first), "{first} {told:?}");
    assert_eq!(machine.end().0, Stop::TripleFault);
}

#[test]
fn who_goes_without_a_word_is_waited_for() {
    let machine = Machine::new("lost", vec![spinning()]);
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("P0=05000000"), "OK");
    drop(gdb);
    assert_eq!(machine.said(), "a debugger is connected");
    assert!(machine.said().contains("stands still until the next: target remote"));
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("p0"), "05000000");
    gdb.send("D;1");
    assert_eq!(gdb.packet(), "OK");
    assert_eq!(
        (machine.said().as_str(), machine.said().as_str()),
        ("a debugger is connected", "the debugger has detached, and the guest goes on")
    );
    // It runs; and can be stopped again.
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("?"), "T05thread:p01.01;");
}

#[test]
fn who_is_no_debugger_changes_nothing() {
    let machine = Machine::with("noise", vec![spinning()], |setup| setup);
    let mut other = machine.connect();
    other.0.write_all(&b"GET / HTTP/1.1\r\nHost: strata\r\n\r\n".repeat(200)).unwrap();
    assert!(other.is_closed());
    assert!(machine.said().contains("no debugger"));
    let mut damaged = machine.connect();
    damaged.0.write_all(b"\x03$g#00$m").unwrap();
    // Nobody is attached: somebody else can be.
    let debugger = machine.control.attach().unwrap();
    assert!(debugger.is_some());
    drop(debugger);
    // And a newcomer takes the place of one that says nothing.
    let mut gdb = machine.debugger();
    assert!(damaged.is_closed());
    let mut second = machine.connect();
    assert!(second.is_closed());
    assert_eq!(machine.said(), "a debugger is connected");
    assert!(machine.said().contains("a second debugger was turned away"));
    // Damage is asked for again only while there are acknowledgements; what is too long is refused.
    gdb.0.write_all(b"$g#00").unwrap();
    gdb.0.write_all(&packet(&vec![b'm'; 0x5000])).unwrap();
    assert_eq!(gdb.packet(), "E07");
    assert_eq!(gdb.ask("?"), "T05thread:p01.01;");
}

#[test]
fn monitor_shows_what_gdb_has_no_command_for() {
    let machine = Machine::with("monitor", vec![spinning(), spinning()], |setup| {
        setup
            .wait(true)
            .exits(Arc::new(|vcpu, count| vec![format!("{count} exits of vCPU {vcpu}")]))
            .explain(Arc::new(|view| format!("at {:#x}", view.rip())))
    });
    let mut gdb = machine.debugger();
    assert!(gdb.monitor("").contains("monitor tables ADDRESS"));
    assert_eq!(gdb.monitor("exits"), "16 exits of vCPU 0\n");
    assert_eq!(
        (gdb.monitor("vcpu 1"), gdb.monitor("exits 3")),
        ("vCPU 1\n".into(), "3 exits of vCPU 1\n".into())
    );
    assert_eq!(gdb.monitor("vcpu 2"), "there are vCPUs 0 to 1\n");
    assert_eq!(gdb.monitor("explain"), "at 0x0\n");
    assert!(gdb.monitor("regs").starts_with("vCPU 1, real16\n"));
    assert!(gdb.monitor("tables 0x1000").contains("paging is off"));
    assert_eq!(gdb.monitor("phys on"), "addresses are physical\n");
    assert_eq!((gdb.ask("qqemu.PhyMemMode"), gdb.ask("Qqemu.PhyMemMode:0")), ("1".into(), "OK".into()));
    assert_eq!(gdb.monitor("phys"), "addresses are linear\n");
    assert!(gdb.monitor("arch x86-64").contains("from the next connection on"));
    drop(gdb);
    let mut gdb = machine.debugger();
    assert!(gdb.ask("qXfer:features:read:target.xml:0,3000").contains("i386:x86-64"));
}

#[test]
fn the_end_of_the_machine_is_told() {
    let machine = Machine::new("end", vec![spinning()]);
    let mut gdb = machine.debugger();
    assert_eq!(gdb.ask("Z0,2000,1"), "OK");
    gdb.send("vCont;c");
    while machine.memory.read_obj::<u8>(GuestAddress(0x2000)).unwrap() != 0xcc {
        std::thread::yield_now();
    }
    machine.control.stop(Stop::PowerOff);
    assert_eq!(
        (text(&gdb.packet()).as_str(), gdb.packet().as_str()),
        ("the machine has ended: powered off\n", "W00")
    );
    // Also one that is waited for.
    let machine = Machine::new("waits", vec![spinning()]);
    assert!(machine.control.stop(Stop::Interrupted));
    machine.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_packet_brings_the_server_down(bodies: Vec<(u8, Vec<u8>)>, seed in any::<u16>()) {
        const BEGINNINGS: &[&str] = &[
            "", "m", "M", "X", "p", "P", "g", "G", "Z0,", "z1,", "Z2,", "H", "Hg", "T", "vCont", "vCont;c:", "vCont;s:p1.",
            "vCont;r", "qXfer:features:read:", "qRcmd,", "qSupported:", "qThreadExtraInfo,", "v", "q", "Q", "?",
        ];
        let machine = Machine::new(&format!("random{seed}"), vec![spinning()]);
        let mut gdb = machine.debugger();
        for (kind, body) in bodies {
            let beginning = BEGINNINGS[usize::from(kind) % BEGINNINGS.len()].as_bytes();
            let plain = body.into_iter().filter(|byte| !b"#$}*".contains(byte));
            let body: Vec<u8> = beginning.iter().copied().chain(plain).collect();
            // The server may have closed the connection, or ended the machine: what begins with nothing begins with anything.
            if gdb.0.write_all(&packet(&body)).is_err() {
                gdb = machine.debugger();
            }
        }
        drop(gdb);
        let mut gdb = machine.debugger();
        proptest::prop_assert_eq!(gdb.ask("?"), "T05thread:p01.01;");
        machine.control.stop(Stop::Interrupted);
        machine.end();
    }
}

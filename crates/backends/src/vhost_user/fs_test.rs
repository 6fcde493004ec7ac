use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use strata_devices::virtio::VirtioMmio;
use strata_devices::virtio::testing::{Bench, FREE, RAM};
use strata_devices::{NoIrq, conformance};

use super::super::testing::{Heard, Reaction, Scripted, bench, memory};
use super::*;

fn proper() -> (Scripted, Server) {
    Scripted::new(|_| Reaction::Proper)
}

#[test]
fn the_driver_reads_tag_and_number_of_queues() {
    let (_scripted, server) = proper();
    let mut bench = bench(server);
    assert_eq!(bench.register(0x08), 26);
    assert_eq!(bench.offered(), feature::OF_RING);
    assert_eq!(bench.config(0), *b"tag\0");
    assert_eq!(bench.config::<33>(3), [0; 33]);
    // The server has three: one of them is for what has to go first. Behind the end there is nothing.
    assert_eq!(bench.config(36), [2, 0, 0, 0, 0, 0, 0, 0]);
    for (queue, max) in [(0, 1024), (2, 1024), (3, 0)] {
        bench.set_register(0x30, queue);
        assert_eq!(bench.register(0x34), max);
    }
}

#[test]
fn tags_have_36_bytes_at_most() {
    let make = |tag: &str| {
        let (_scripted, server) = proper();
        VhostUserFs::new(server, tag).map(|device| device.config)
    };
    let longest = "ä".repeat(18);
    assert!(make(&longest).unwrap().starts_with(longest.as_bytes()));
    for tag in [String::new(), "a\0b".into(), longest + "a"] {
        assert!(matches!(make(&tag), Err(FsError::Tag { .. })), "{tag:?}");
    }
}

#[test]
fn a_guest_whose_memory_the_server_cannot_have_gets_a_device_that_needs_a_reset() {
    let (scripted, server) = proper();
    let device = VhostUserFs::new(server, "tag").unwrap();
    let worker = device.worker();
    let mut bench = Bench::new(device, vec![worker]);
    scripted.heard();
    bench.start(0);
    assert!(bench.needs_reset());
    assert!(!scripted.heard().iter().any(|heard| heard.is(Request::SetMemTable)));
    bench.reset();
}

#[test]
fn the_server_gets_memory_and_rings() {
    let (scripted, server) = proper();
    let mut bench = bench(server);
    scripted.heard();
    bench.start_with(feature::EVENT_IDX, |queue| queue != 1);
    assert_eq!(bench.status(), 0xf);
    let heard = scripted.heard();
    let requests: Vec<_> = heard.iter().map(|heard| heard.request).collect();
    let ring = [8, 10, 9, 13, 12, 18];
    assert_eq!(requests, [&[2, 5], ring.as_slice(), ring.as_slice()].concat());
    assert!(heard.iter().all(|heard| heard.flags == 9), "each is to be acknowledged");

    assert_eq!(heard[0].longs(0), [feature::VERSION_1 | feature::EVENT_IDX | 1 << 30]);
    let half = RAM / 2;
    assert_eq!(heard[1].longs(0), [2, 0, half, 0, 0, half, half, half, half]);
    bench.write(FREE, b"shared");
    let mut bytes = [0; 6];
    heard[1].files[0].read_exact_at(&mut bytes, FREE).unwrap();
    assert_eq!((heard[1].files.len(), &bytes), (2, b"shared"));

    // The third queue; the second was left out by the driver.
    let [descriptors, available, used] = bench.queue(2).areas();
    assert_eq!(heard[8].words(), [2, 16]);
    assert_eq!(heard[9].words(), [2, 0]);
    assert_eq!(heard[10].longs(0), [2, descriptors, used, available, 0]);
    assert_eq!((heard[11].longs(0), heard[11].files.len()), (vec![2], 1));
    assert_eq!((heard[12].longs(0), heard[12].files.len()), (vec![2], 1));
    assert_eq!(heard[13].words(), [2, 1]);
}

/// What the server was given for a queue: what it is kicked by, and what it calls by.
fn kick_and_call(heard: &[Heard], queue: u64) -> (&File, &File) {
    let find = |request| {
        let mut all = heard.iter().filter(|heard| heard.is(request) && heard.longs(0) == [queue]);
        &all.next().unwrap().files[0]
    };
    (find(Request::SetVringKick), find(Request::SetVringCall))
}

#[test]
fn a_doorbell_rings_at_the_server_and_its_call_interrupts() {
    let (scripted, server) = proper();
    let mut bench = bench(server);
    bench.start(0);
    let heard = scripted.heard();
    let (mut kick, mut call) = kick_and_call(&heard, 1);
    let mut count = [0; 8];
    assert_eq!(kick.read(&mut count).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    bench.notify(1);
    assert_eq!(bench.run(), 0);
    assert_eq!((kick.read(&mut count).unwrap(), count[0]), (8, 1));
    // Nobody takes the calls' count: each is heard all the same.
    for _ in 0..3 {
        call.write_all(&1_u64.to_ne_bytes()).unwrap();
        assert_eq!((bench.run(), bench.register(0x60)), (1, 1));
    }
    // After a reset, what it calls is heard by nobody.
    bench.reset();
    call.write_all(&1_u64.to_ne_bytes()).unwrap();
    assert_eq!(bench.run(), 0);
}

#[test]
fn a_reset_stops_every_ring_before_it_returns_and_the_next_driver_finds_all_as_new() {
    let (scripted, server) = proper();
    let mut bench = bench(server);
    for _ in 0..2 {
        scripted.heard();
        bench.start(0);
        assert_eq!((bench.status(), scripted.heard().len()), (0xf, 2 + 3 * 6));
        bench.reset();
        let stopped: Vec<_> =
            scripted.heard().iter().map(|heard| (heard.request, heard.words()[0])).collect();
        assert_eq!(stopped, [(11, 2), (11, 1), (11, 0)]);
        bench.reset();
        assert!(scripted.heard().is_empty(), "there is nothing to stop");
    }
}

#[test]
fn a_server_that_ends_leaves_a_device_that_needs_a_reset_for_good() {
    let (scripted, server) = proper();
    let mut bench = bench(server);
    bench.start(0);
    assert_eq!(bench.run(), 0);
    scripted.end();
    bench.run_until(Bench::needs_reset);
    assert_eq!((bench.run(), bench.register(0x60)), (1, 2), "the driver hears of it once");
    bench.reset();
    assert_eq!(bench.status(), 0);
    bench.start(0);
    assert!(bench.needs_reset());
    bench.notify(0);
    bench.run();
    bench.reset();
}

#[test]
fn a_server_that_ends_before_there_is_a_driver_is_missed_by_the_driver() {
    for is_heard in [false, true] {
        let (scripted, server) = proper();
        let mut bench = bench(server);
        drop(scripted);
        if is_heard {
            bench.run();
        }
        bench.start(0);
        assert!(bench.needs_reset());
        bench.reset();
    }
}

/// A bench whose server does as told, `reaction` at each `request` once it has been told to begin.
fn faulty(
    request: Request,
    patience: Duration,
    reaction: impl Fn() -> Reaction + Send + 'static,
) -> (Bench<VhostUserFs>, Scripted) {
    let (scripted, server) =
        Scripted::new(move |heard| if heard.is(request) { reaction() } else { Reaction::Proper });
    (bench(Server { patience, ..server }), scripted)
}

#[test]
fn what_goes_wrong_when_the_driver_starts_leaves_it_with_a_device_that_needs_a_reset() {
    let long = Duration::from_secs(20);
    for request in [2, 5, 8, 10, 9, 13, 12, 18].map(request) {
        for (reaction, patience) in [
            (Reaction::HangUp, long),
            (Reaction::Answer(1), long),
            (Reaction::Say(vec![0xff; 40]), long),
            (Reaction::Silence, Duration::from_millis(10)),
        ] {
            let reaction = Mutex::new(Some(reaction));
            let (mut bench, _scripted) = faulty(request, patience, move || {
                reaction.lock().unwrap().take().unwrap_or(Reaction::Proper)
            });
            bench.start(0);
            assert!(bench.needs_reset(), "{request:?}");
            bench.run();
            assert_eq!(bench.register(0x60), 2);
            bench.reset();
            assert_eq!(bench.status(), 0);
        }
    }
}

fn request(number: u32) -> Request {
    use Request::*;
    let all = [SetFeatures, SetMemTable, SetVringNum, SetVringAddr, SetVringBase, SetVringKick, SetVringCall];
    all.into_iter().chain([SetVringEnable]).find(|request| *request as u32 == number).unwrap()
}

#[test]
fn a_reset_does_not_wait_for_ever_and_cuts_off_who_does_not_answer_it() {
    let (mut bench, scripted) =
        faulty(Request::GetVringBase, Duration::from_millis(10), || Reaction::Silence);
    bench.start(0);
    scripted.heard();
    bench.reset();
    assert_eq!(bench.status(), 0);
    bench.run();
    // One was asked, the others were not any more; what it would say now nobody hears.
    assert!(scripted.heard().iter().filter(|heard| heard.is(Request::GetVringBase)).count() <= 1);
    assert!({ scripted.stream() }.write_all(b"late").is_err());
    bench.start(0);
    assert!(bench.needs_reset());
}

#[test]
fn what_a_server_says_is_passed_on_only_so_often_and_its_silence_wakes_nobody() {
    let (_scripted, server) = proper();
    let lines = "i=0; while [ $i -lt 40 ]; do echo a line of many >&2; read answer; i=$((i+1)); done";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", lines]).stdin(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut bench = bench(Server { process: Some(Process::new(child)), ..server });
    for line in 1..20 {
        let left = MOST_MESSAGES.saturating_sub(line);
        bench.run_until(|bench| bench.device().post.lock().left_to_say == left);
        stdin.write_all(b"\n").unwrap();
    }
    drop(stdin);
    // It ends, with its words, and that is no reason to think that the connection has: this one is another's.
    bench.run_until(|bench| bench.device().post.lock().stderr.is_none());
    assert_eq!(bench.run(), 0);
    bench.start(0);
    assert!(!bench.needs_reset());
}

#[test]
fn dropping_the_device_ends_the_conversation() {
    let (ended, wait) = mpsc::channel();
    let (scripted, server) = Scripted::new({
        let ended = EndOf(ended);
        move |_| {
            let _ = &ended;
            Reaction::Proper
        }
    });
    drop(VhostUserFs::new(server, "tag").unwrap());
    wait.recv().unwrap();
    drop(scripted);
}

struct EndOf(mpsc::Sender<()>);

impl Drop for EndOf {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn bears_what_a_guest_does_to_it() {
    let memory = memory();
    let servers = Mutex::new(Vec::new());
    let is_asked = Arc::new(AtomicBool::new(false));
    let make = || {
        let asked = Arc::clone(&is_asked);
        let (scripted, server) = Scripted::new(move |_| {
            asked.store(true, Ordering::Relaxed);
            Reaction::Proper
        });
        servers.lock().unwrap().push(scripted);
        let device = VhostUserFs::new(server, "tag").unwrap();
        Mutex::new(VirtioMmio::new(device, Arc::clone(&memory), Arc::new(NoIrq)))
    };
    conformance::check("virtio-fs", VirtioMmio::LEN, make).unwrap();
    assert!(is_asked.load(Ordering::Relaxed));
}

//! Measures what devices cost a Linux guest's VMM, from within the emulated host: the hidden task `measure-virtio`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};

use super::boot::Memory;
use crate::cli::{MeasureVirtio, OfVirtio};
use crate::process::{capture, say};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the guest does, as its kernel's variable `phase` says. Nothing in it talks to anybody by itself: IPv6 asks for
/// routers, and Linux asks a source of entropy again and again as long as a driver has it.
pub(crate) const JOB: &str = "\
for rng in /sys/bus/virtio/drivers/virtio_rng/virtio*; do
    [ -e $rng ] && echo ${rng##*/} >/sys/bus/virtio/drivers/virtio_rng/unbind
done
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
[ -e /sys/class/net/eth0 ] && ip link set eth0 up
case \"$phase\" in
read) /reader /dev/vda 6400 ;;
idle) echo IDLE; sleep 1000000 ;;
esac
";
/// Of these [`JOB`] reads so many.
const REQUESTS: f64 = 6400.0;

const IMAGE: &str = "/tmp/disk.img";
const TAP: &str = "idle0";
const KVM: &str = "/sys/kernel/debug/kvm";

/// Each device, by the option that plugs it in.
const DEVICES: &[(&str, &[&str])] = &[
    ("disk", &["--disk", "/tmp/disk.img,ro"]),
    ("net", &["--net", "tap=idle0"]),
    ("vsock", &["--vsock", "3:/tmp/vsock"]),
    ("balloon", &["--balloon"]),
    ("rng", &["--rng"]),
    ("console", &["--console", "pty"]),
];

/// Until a guest that has booted does nothing any more.
const SETTLING: Duration = Duration::from_secs(15);
/// How long nobody is to be woken.
const IDLE: Duration = Duration::from_secs(10);
/// Linux may have something left to do now and then after its start: the first of so many spans in which nobody was woken
/// counts. Whoever is woken again and again has none.
const WINDOWS: u32 = 6;

/// Boots, and prints a line of a name and a number for each value.
pub(crate) fn measure(options: &MeasureVirtio) -> Result<()> {
    // Memory is told apart by where it lies.
    fs::write("/proc/sys/kernel/randomize_va_space", "0")?;
    fs::write(IMAGE, vec![0_u8; 16 << 20])?;
    match options.what {
        OfVirtio::Exits => exits(options),
        OfVirtio::Idle => idle(options),
        OfVirtio::Wakeups => wakeups(options),
    }
}

/// A guest, and what it prints.
struct Running {
    child: Child,
    console: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    fn start(options: &MeasureVirtio, phase: &str, devices: &[&str]) -> Result<Self> {
        let mut command = Command::new(&options.strata);
        command.arg("run").arg(&options.vmlinux).arg("--initrd").arg(&options.initrd);
        let cmdline = format!("console=ttyS0 reboot=k panic=1 quiet nokaslr phase={phase}");
        command.args(["--memory", "256M", "--cmdline", &cmdline]).args(devices);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let console = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, console, said: String::new() })
    }

    /// Waits for a line with this word.
    fn wait_for(&mut self, word: &str) -> Result<()> {
        loop {
            let before = self.said.len();
            if self.console.read_line(&mut self.said)? == 0 {
                return Err(format!("the guest ended before it said {word}:\n{}", self.said).into());
            }
            if self.said[before..].trim() == word {
                return Ok(());
            }
        }
    }

    fn memory(&self) -> Result<Memory> {
        Ok(Memory::read(&fs::read_to_string(format!("/proc/{}/smaps", self.child.id()))?))
    }

    /// How often each thread but those of vCPUs has been switched to and from, by its number and name.
    fn switches(&self) -> Result<BTreeMap<String, u64>> {
        let mut all = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            let status = fs::read_to_string(task.path().join("status"))?;
            let (name, switches) = switches(&status).ok_or("a thread's status is not as it should be")?;
            if !name.starts_with("vcpu") {
                all.insert(format!("{} {name}", task.file_name().display()), switches);
            }
        }
        Ok(all)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of a thread and its switches of both kinds (proc(5), `/proc/pid/status`).
fn switches(status: &str) -> Option<(&str, u64)> {
    let value = |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim());
    let count = |name| value(name)?.parse::<u64>().ok();
    Some((value("Name:")?, count("voluntary_ctxt_switches:")? + count("nonvoluntary_ctxt_switches:")?))
}

/// Exits for each block that a guest reads, 32 at a time.
fn exits(options: &MeasureVirtio) -> Result<()> {
    mount("debugfs", "/sys/kernel/debug", "debugfs", MountFlags::empty(), None)?;
    let mut running = Running::start(options, "read", &["--disk", "/tmp/disk.img,ro"])?;
    let count =
        |name: &str| -> Result<f64> { Ok(fs::read_to_string(Path::new(KVM).join(name))?.trim().parse()?) };
    let all = || -> Result<[f64; 3]> {
        Ok([
            count("exits")? - count("pf_taken")?,
            count("mmio_exits")? + count("io_exits")?,
            count("halt_exits")?,
        ])
    };
    running.wait_for("BEGIN")?;
    let before = all()?;
    running.wait_for("END")?;
    let after = all()?;
    for (place, name) in ["exits", "userspace", "halts"].into_iter().enumerate() {
        say(format_args!("virtio.exits.{name} {}", (after[place] - before[place]) / REQUESTS));
    }
    Ok(())
}

/// Memory of each device.
fn idle(options: &MeasureVirtio) -> Result<()> {
    let without = still(options, &[])?.memory()?;
    for (name, device) in DEVICES {
        let with = still(options, device)?.memory()?;
        say(format_args!("virtio.memory.{name} {}", with.beyond.saturating_sub(without.beyond)));
        let anonymous = with.anonymous.saturating_sub(without.anonymous);
        say(format_args!("virtio.memory.{name}.anonymous {anonymous}"));
    }
    wakeups(options)
}

/// Wake-ups with all of them.
fn wakeups(options: &MeasureVirtio) -> Result<()> {
    let all: Vec<&str> = DEVICES.iter().flat_map(|(_, device)| device.iter().copied()).collect();
    let running = still(options, &all)?;
    let (mut wakeups, mut threads) = (0, 0);
    for _ in 0..WINDOWS {
        let before = running.switches()?;
        thread::sleep(IDLE);
        let after = running.switches()?;
        (wakeups, threads) = (0, after.len());
        for (thread, count) in &after {
            let more = count - before.get(thread).copied().unwrap_or(0);
            wakeups += more;
            if more > 0 {
                eprintln!("thread {thread}: {more} switches in an idle guest");
            }
        }
        if wakeups == 0 {
            break;
        }
    }
    say(format_args!("virtio.idle.threads {threads}\nvirtio.idle.wakeups {wakeups}"));
    Ok(())
}

/// A guest with these devices that has booted and does nothing.
fn still(options: &MeasureVirtio, devices: &[&str]) -> Result<Running> {
    // Of a guest before.
    let _ = fs::remove_file("/tmp/vsock");
    let mut running = Running::start(options, "idle", devices)?;
    running.wait_for("IDLE")?;
    if devices.iter().any(|word| word.ends_with(TAP)) {
        fs::write(format!("/proc/sys/net/ipv6/conf/{TAP}/disable_ipv6"), "1")?;
        let mut up = Command::new("ip");
        up.args(["link", "set", TAP, "up"]);
        let done = capture(up)?;
        if !done.status.success() {
            return Err(format!("the TAP cannot be switched on: {}", done.output).into());
        }
    }
    thread::sleep(SETTLING);
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_both_kinds_count() {
        let status = "Name:\tvda\nState:\tS (sleeping)\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(switches(status), Some(("vda", 15)));
        assert_eq!(switches("Name:\tvda\n"), None);
    }
}

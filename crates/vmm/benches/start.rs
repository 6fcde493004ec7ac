//! Runs `strata` and the floor as processes and prints what each run took, in ns, and how much memory was resident.
//!
//! `start STRATA FLOOR FOLDER`: FOLDER is for the guests. Without these nothing is done. Two times are taken, from
//! before the process is made: until the first instruction of a guest has put a byte into the pipe to us (process
//! start, first `KVM_RUN`, one exit), and until the process of a guest that halts has been waited for.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

/// Each is run so often; the median counts.
const RUNS: usize = 5;
/// mov dx, 0x3f8; mov al, 'x'; out dx, al; hlt
const BYTE: &[u8] = b"\xba\xf8\x03\xb0x\xee\xf4";
const HLT: &[u8] = b"\xf4";
/// As `BYTE`, but it never ends: jmp $
const STAY: &[u8] = b"\xba\xf8\x03\xb0x\xee\xeb\xfe";
const HALTED: i32 = 10;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [strata, floor, folder] = arguments.as_slice() else {
        return ExitCode::SUCCESS;
    };
    match all(Path::new(strata), Path::new(floor), Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all(strata: &Path, floor: &Path, folder: &Path) -> Result<()> {
    let guest = |name: &str, code: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, code).map(|()| path)
    };
    let (hlt, byte, stay) = (guest("hlt.bin", HLT)?, guest("byte.bin", BYTE)?, guest("stay.bin", STAY)?);
    let run_strata = |image: &Path| {
        let mut command = Command::new(strata);
        command.args(["run", "--quiet", "--mode", "real16", "--memory", "64K"]).arg(image);
        command
    };
    let run_floor = |word: &str| {
        let mut command = Command::new(floor);
        command.arg(word);
        command
    };
    println!("start.hlt.strata {}", median(|| whole(run_strata(&hlt)))?);
    println!("start.hlt.floor {}", median(|| whole(run_floor("hlt")))?);
    println!("start.run.strata {}", median(|| until_byte(run_strata(&byte)))?);
    println!("start.run.floor {}", median(|| until_byte(run_floor("byte")))?);
    // With a RAM that has a name among the process's mappings.
    let mut staying = run_strata(&stay);
    staying.args(["--set", "memory.backing=memfd"]);
    let mut child = start(&mut staying)?;
    let size = first_byte(&mut child).and_then(|()| resident(child.id()));
    child.kill()?;
    child.wait()?;
    let (all, anonymous) = size?;
    println!("memory.resident {all}\nmemory.anonymous {anonymous}");
    Ok(())
}

fn median(mut measure: impl FnMut() -> Result<u128>) -> Result<u128> {
    // The first run finds nothing in any cache.
    measure()?;
    let mut times = (0..RUNS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[RUNS / 2])
}

fn start(command: &mut Command) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

fn first_byte(child: &mut Child) -> Result<()> {
    let mut byte = [0];
    child.stdout.as_mut().ok_or("no pipe")?.read_exact(&mut byte)?;
    Ok(())
}

fn finish(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    if status.code() == Some(HALTED) { Ok(()) } else { Err(format!("a guest ended with {status}").into()) }
}

fn whole(mut command: Command) -> Result<u128> {
    let begin = Instant::now();
    finish(start(&mut command)?)?;
    Ok(begin.elapsed().as_nanos())
}

fn until_byte(mut command: Command) -> Result<u128> {
    let begin = Instant::now();
    let mut child = start(&mut command)?;
    first_byte(&mut child)?;
    let time = begin.elapsed();
    finish(child)?;
    Ok(time.as_nanos())
}

/// Bytes that are resident beyond the guest's RAM, and how many of these come from no file (proc(5), `smaps`).
fn resident(pid: u32) -> Result<(u64, u64)> {
    let (mut all, mut anonymous, mut is_ram) = (0, 0, false);
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let mut words = line.split_whitespace();
        let (Some(word), value) = (words.next(), words.next()) else { continue };
        if !word.ends_with(':') {
            is_ram = line.contains("/memfd:");
        } else if let Some(kib) = value.and_then(|value| value.parse::<u64>().ok()).filter(|_| !is_ram) {
            match word {
                "Rss:" => all += kib << 10,
                "Anonymous:" => anonymous += kib << 10,
                _ => {}
            }
        }
    }
    Ok((all, anonymous))
}

//! A client of gdb's remote protocol that says what a test tells it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::time::Duration;

/// A run with a debugger's socket.
pub(crate) struct Debugged {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Debugged {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(command: &mut Command, socket: &Path) -> Self {
        let mut child = command.arg("--gdb").arg(socket).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut run = Self { child, stderr };
        let line = run.line();
        assert!(line.contains("target remote"), "{line}");
        run
    }

    /// The next line on standard error.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end; gives what was left on standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Debugged {
    fn drop(&mut self) {
        // Of a test that has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    /// Connects and asks for no acknowledgements.
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        // A test that hangs is to say where.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self(stream);
        client.send("QStartNoAckMode");
        assert_eq!((client.byte(), client.packet().as_str()), (b'+', "OK"));
        client
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    pub(crate) fn send(&mut self, body: &str) {
        let sum = body.bytes().fold(0u8, u8::wrapping_add);
        self.0.write_all(format!("${body}#{sum:02x}").as_bytes()).unwrap();
    }

    /// The next packet's content, with `*` and a count for what is repeated written out (gdb manual, "Overview").
    pub(crate) fn packet(&mut self) -> String {
        assert_eq!(self.byte(), b'$');
        let mut plain = String::new();
        loop {
            match self.byte() {
                b'#' => break,
                b'*' => {
                    let more = usize::from(self.byte()) - 29;
                    let last = plain.chars().last().unwrap();
                    plain.extend(std::iter::repeat_n(last, more));
                }
                byte => plain.push(byte.into()),
            }
        }
        let _checksum = [self.byte(), self.byte()];
        plain
    }

    pub(crate) fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.packet()
    }

    /// A register of 32 bits by its number.
    pub(crate) fn register(&mut self, number: u32) -> u32 {
        let hex = self.ask(&format!("p{number:x}"));
        u32::from_str_radix(&hex, 16).unwrap_or_else(|_| panic!("{hex}")).swap_bytes()
    }

    /// The next packet, which has gdb print something.
    pub(crate) fn line(&mut self) -> String {
        unhexed(&self.packet())
    }

    /// What a monitor command prints.
    pub(crate) fn monitor(&mut self, command: &str) -> String {
        let hex: Vec<_> = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("qRcmd,{}", hex.concat()));
        let mut text = String::new();
        loop {
            match self.packet() {
                end if end == "OK" => return text,
                line => text += &unhexed(&line),
            }
        }
    }
}

/// What an `O` packet has gdb print.
fn unhexed(packet: &str) -> String {
    let hex = packet.strip_prefix('O').unwrap_or_else(|| panic!("{packet}"));
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).map(char::from).collect()
}

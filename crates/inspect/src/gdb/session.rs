//! A debugger's session, from its first packet to its end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};

use super::Memory;
use super::framing::{self, Framing, Input, LONGEST};
use super::guest::{Guest, Never};
use super::listen::{Connection, Listener};
use super::resume::signal;
use super::server::{read, ready};

/// How a session has ended.
#[derive(Debug)]
pub(super) enum End {
    /// The debugger has said so.
    Detached,
    /// It wants the machine to end.
    Killed,
    /// It has gone, or cannot be understood.
    Lost(String),
    /// The machine has ended.
    Over,
}

/// gdbstub's side of the protocol.
type Protocol<M> = GdbStubStateMachine<'static, Guest<M>, Connection>;
type ProtocolError = GdbStubError<Never, io::Error>;

pub(super) struct Session<M: Memory> {
    guest: Guest<M>,
    /// `None` only while a packet is being worked on.
    protocol: Option<Protocol<M>>,
    framing: Framing,
    inputs: VecDeque<Input>,
    /// Packets are acknowledged, until the debugger says that they need not be.
    acknowledges: bool,
    /// The last packet was `vKill`, which wants an answer that gdbstub does not give.
    answers_kill: bool,
}

/// Makes `?` of what may end a session.
struct Ended(End);

impl From<ProtocolError> for Ended {
    fn from(error: ProtocolError) -> Self {
        let why = if error.is_connection_error() {
            "the debugger is gone".to_owned()
        } else {
            format!("the debugger's connection is closed, for it cannot be understood: {error}")
        };
        Self(End::Lost(why))
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self(End::Lost(format!("the debugger is gone: {error}")))
    }
}

fn gone() -> Ended {
    Ended(End::Lost("the debugger is gone without a word".to_owned()))
}

impl<M: Memory> Session<M> {
    /// Pauses the guest for a debugger that has sent these; `None` if there is no guest any more.
    pub(super) fn new(
        mut guest: Guest<M>,
        connection: Connection,
        (framing, inputs): (Framing, VecDeque<Input>),
    ) -> Option<Self> {
        if !guest.halt() {
            return None;
        }
        guest.describe();
        let stub = GdbStub::builder(connection).packet_buffer_size(LONGEST).build().ok()?;
        let protocol = stub.run_state_machine(&mut guest).ok();
        Some(Self { guest, protocol, framing, inputs, acknowledges: true, answers_kill: false })
    }

    /// Serves the debugger; gives the guest back as it is then.
    pub(super) fn run(mut self, listener: &Listener, quit: &OwnedFd) -> (End, Guest<M>) {
        let end = loop {
            match self.turn(listener, quit) {
                Ok(()) => {}
                Err(Ended(end)) => break end,
            }
        };
        (end, self.guest)
    }

    fn turn(&mut self, listener: &Listener, quit: &OwnedFd) -> Result<(), Ended> {
        while let Some(input) = self.inputs.pop_front() {
            self.take(input)?;
        }
        if self.is_running() && !self.guest.is_running {
            // There were more stops than one.
            return self.report();
        }
        let connection = self.protocol.as_mut().map(connection_of).ok_or_else(gone)?;
        let [spoke, called, stopped, quit] =
            ready([&connection.stream, listener, &self.guest.debugger, quit]);
        if called && matches!(listener.accept(), Ok(Some(_))) {
            (self.guest.setup.say)("a second debugger was turned away: one is connected");
        }
        if stopped || quit {
            self.guest.debugger.seen();
            let is_over = self.guest.debugger.ended().is_some();
            if self.is_running() && (is_over || self.guest.debugger.has_next()) {
                self.report()?;
            } else if is_over || quit {
                return Err(Ended(End::Over));
            }
        }
        if spoke {
            let Self { protocol, framing, inputs, .. } = self;
            let connection = protocol.as_mut().map(connection_of).ok_or_else(gone)?;
            if !read(connection, framing, inputs)? {
                return Err(gone());
            }
        }
        Ok(())
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        self.protocol.as_mut().map(connection_of)
    }

    /// Whether the debugger waits for the guest to stop.
    fn is_running(&self) -> bool {
        matches!(self.protocol, Some(GdbStubStateMachine::Running(_)))
    }

    fn take(&mut self, input: Input) -> Result<(), Ended> {
        match input {
            Input::Packet(packet) => self.packet(&packet),
            Input::Interrupt if self.is_running() => self.interrupt(),
            Input::Damaged if self.acknowledges => Ok(self.connection().ok_or_else(gone)?.send(b"-")?),
            Input::TooLong => self.answer(b"E07"),
            // It stands still already; whoever does not want acknowledgements has TCP to trust in.
            Input::Interrupt | Input::Damaged | Input::Noise => Ok(()),
        }
    }

    fn answer(&mut self, body: &[u8]) -> Result<(), Ended> {
        let mut bytes = if self.acknowledges { b"+".to_vec() } else { Vec::new() };
        bytes.extend(framing::packet(body));
        Ok(self.connection().ok_or_else(gone)?.send(&bytes)?)
    }

    fn packet(&mut self, packet: &[u8]) -> Result<(), Ended> {
        // As QEMU has it: gdb's users send these with `maintenance packet`.
        match framing::body(packet) {
            b"qqemu.PhyMemMode" => {
                let mode: &[u8] = if self.guest.is_physical { b"1" } else { b"0" };
                return self.answer(mode);
            }
            [
                b'Q',
                b'q',
                b'e',
                b'm',
                b'u',
                b'.',
                b'P',
                b'h',
                b'y',
                b'M',
                b'e',
                b'm',
                b'M',
                b'o',
                b'd',
                b'e',
                b':',
                mode,
            ] => {
                self.guest.is_physical = *mode == b'1';
                return self.answer(b"OK");
            }
            b"QStartNoAckMode" => self.acknowledges = false,
            body => self.answers_kill = body.starts_with(b"vKill"),
        }
        for &byte in packet {
            let protocol = self.protocol.take().ok_or_else(gone)?;
            self.protocol = Some(match protocol {
                GdbStubStateMachine::Idle(idle) => idle.incoming_data(&mut self.guest, byte)?,
                GdbStubStateMachine::Running(running) => running.incoming_data(&mut self.guest, byte)?,
                other => other,
            });
        }
        self.settle()
    }

    /// Sees whether that was the last packet.
    fn settle(&mut self) -> Result<(), Ended> {
        let Some(GdbStubStateMachine::Disconnected(disconnected)) = &self.protocol else { return Ok(()) };
        let end = match disconnected.get_reason() {
            DisconnectReason::Disconnect => End::Detached,
            DisconnectReason::Kill => End::Killed,
            DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => End::Over,
        };
        if self.answers_kill {
            let _ = self.connection().map(|connection| connection.send(&framing::packet(b"OK")));
        }
        Err(Ended(end))
    }

    /// Ctrl-C.
    fn interrupt(&mut self) -> Result<(), Ended> {
        if self.guest.halt() && self.guest.pending.is_empty() {
            let reason = signal(self.guest.current, Signal::SIGINT);
            return self.tell(reason, None);
        }
        self.report()
    }

    /// Tells the debugger of the guest's stop, or of the machine's end.
    fn report(&mut self) -> Result<(), Ended> {
        if !self.guest.halt() {
            let ended = self.guest.debugger.ended();
            let code = ended.as_ref().map_or(0, strata_vmm::Stop::exit_code);
            let text = ended.map(|stop| format!("the machine has ended: {stop}"));
            return self.tell(MultiThreadStopReason::Exited(code), text);
        }
        if let Some((reason, text)) = self.guest.next_stop() {
            return self.tell(reason, text);
        }
        self.guest.go_on();
        Ok(())
    }

    fn tell(&mut self, reason: MultiThreadStopReason<u64>, text: Option<String>) -> Result<(), Ended> {
        if let Some(text) = text {
            self.connection().ok_or_else(gone)?.send(&framing::console(&text))?;
        }
        self.protocol = match self.protocol.take().ok_or_else(gone)? {
            GdbStubStateMachine::Running(running) => Some(running.report_stop(&mut self.guest, reason)?),
            other => Some(other),
        };
        self.settle()
    }
}

fn connection_of<M: Memory>(protocol: &mut Protocol<M>) -> &mut Connection {
    match protocol {
        GdbStubStateMachine::Idle(state) => state.borrow_conn(),
        GdbStubStateMachine::Running(state) => state.borrow_conn(),
        GdbStubStateMachine::CtrlCInterrupt(state) => state.borrow_conn(),
        GdbStubStateMachine::Disconnected(state) => state.borrow_conn(),
    }
}

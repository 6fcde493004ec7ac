//! Who moves the data.

use std::sync::atomic::Ordering;

use event_manager::EventOps;
use vm_memory::GuestAddressSpace;

use super::control::{self, HEADER};
use super::host::Sources;
use super::port::PortState;
use super::{Sizes, feature};
use crate::virtio::{Activation, Chain, Doorbell, Interrupt, Virtqueue, Wakeup, Worker};

/// How much is read or written at once: what a pipe that is ready takes as a whole.
const CHUNK: usize = 4096;

/// The worker.
pub(super) struct Switchboard<M> {
    ports: Vec<PortState>,
    sizes: Sizes,
    doorbells: Vec<Doorbell>,
    chain: Chain,
    buffer: Vec<u8>,
    active: Option<Active<M>>,
    /// The size of the first port that the driver has been interrupted for, or has found.
    told_size: u32,
}

/// From activation to reset.
struct Active<M> {
    memory: M,
    interrupt: Interrupt,
    control_input: Option<Virtqueue>,
    control_output: Option<Virtqueue>,
}

/// What a queue is for, as the guest sees it (5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Input(usize),
    Output(usize),
    ControlInput,
    ControlOutput,
}

impl Role {
    fn of_queue(index: usize) -> Self {
        match index {
            2 => Self::ControlInput,
            3 => Self::ControlOutput,
            0 | 1 => Self::of_port(0, index),
            _ => Self::of_port(index / 2 - 1, index),
        }
    }

    fn of_port(port: usize, index: usize) -> Self {
        if index.is_multiple_of(2) { Self::Input(port) } else { Self::Output(port) }
    }

    fn queue(self) -> usize {
        match self {
            Self::Input(0) => 0,
            Self::Output(0) => 1,
            Self::ControlInput => 2,
            Self::ControlOutput => 3,
            Self::Input(port) => 2 * port + 2,
            Self::Output(port) => 2 * port + 3,
        }
    }
}

impl<M: GuestAddressSpace> Switchboard<M> {
    pub(super) fn new(ports: Vec<PortState>, sizes: Sizes, doorbells: Vec<Doorbell>) -> Self {
        Self {
            ports,
            sizes,
            doorbells,
            chain: Chain::new(),
            buffer: vec![0; CHUNK],
            active: None,
            told_size: 0,
        }
    }

    pub(super) fn activate(&mut self, activation: Activation<M>) {
        let is_multiport = activation.has(feature::MULTIPORT);
        let Activation { memory, mut queues, interrupt, .. } = activation;
        let mut take = |role: Role| queues.get_mut(role.queue()).and_then(Option::take);
        for (number, port) in self.ports.iter_mut().enumerate() {
            // Without control messages there is the first port, and it is open.
            let exists = is_multiport || number == 0;
            let roles = [Role::Input(number), Role::Output(number)];
            port.activate(roles.map(|role| take(role).filter(|_| exists)), !is_multiport);
        }
        let control = [Role::ControlInput, Role::ControlOutput];
        let [control_input, control_output] = control.map(|role| take(role).filter(|_| is_multiport));
        self.active = Some(Active { memory, interrupt, control_input, control_output });
    }

    pub(super) fn deactivate(&mut self) {
        self.active = None;
        self.ports.iter_mut().for_each(PortState::deactivate);
        // The next driver looks for itself.
        self.told_size = self.first_size();
    }

    fn first_size(&self) -> u32 {
        self.sizes.first().map_or(0, |size| size.load(Ordering::Relaxed))
    }

    /// Does what a queue is for, and comes back by its doorbell if there is more.
    fn serve(&mut self, role: Role) {
        let Self { ports, doorbells, chain, buffer, active: Some(active), .. } = self else { return };
        let memory = active.memory.memory();
        let more = match role {
            Role::Input(port) => ports.get_mut(port).is_some_and(|port| port.input(&*memory, chain, buffer)),
            Role::Output(port) => {
                ports.get_mut(port).is_some_and(|port| port.output(&*memory, chain, buffer))
            }
            Role::ControlOutput => active.control_output.as_mut().is_some_and(|queue| {
                let more = queue.serve(&*memory, chain, |queue, chain| {
                    let mut message = [0; HEADER];
                    if chain.readable().read(&*memory, &mut message) == HEADER {
                        control::receive(message, ports);
                    }
                    queue.push(&*memory, chain.head(), 0);
                    true
                });
                queue.signal(&*memory);
                more
            }),
            Role::ControlInput => active
                .control_input
                .as_mut()
                .is_some_and(|queue| control::send(queue, &*memory, chain, ports, &self.sizes)),
        };
        if more && let Some(doorbell) = doorbells.get(role.queue()) {
            doorbell.ring();
        }
    }

    fn serve_port(&mut self, number: usize) {
        self.serve(Role::Output(number));
        self.serve(Role::Input(number));
    }

    fn tend(&mut self, number: usize, ready: Option<u32>, ops: &mut EventOps<'_>) {
        if let Some(port) = self.ports.get_mut(number) {
            port.host.tend(ready, ops, Sources::of_port(number));
        }
    }

    fn tell_size(&mut self) {
        let size = self.first_size();
        if let Some(active) = self.active.as_ref().filter(|_| size != self.told_size) {
            active.interrupt.configuration_changed();
            self.told_size = size;
        }
    }
}

impl<M: GuestAddressSpace + Send> Worker for Switchboard<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        for (number, port) in self.ports.iter_mut().enumerate() {
            port.host.init(ops, Sources::of_port(number));
        }
    }

    fn wake(&mut self, why: Wakeup, ops: &mut EventOps<'_>) {
        match why {
            Wakeup::Source(number) => {
                let (port, ready) = Sources::port_of(number);
                self.tend(port, Some(ready), ops);
                self.serve_port(port);
                self.tend(port, None, ops);
            }
            Wakeup::Doorbell(index) if index < self.doorbells.len() => {
                let role = Role::of_queue(index);
                self.serve(role);
                match role {
                    Role::Input(port) | Role::Output(port) => self.tend(port, None, ops),
                    Role::ControlInput => {}
                    // A port that the guest has opened may have been sent something before.
                    Role::ControlOutput => {
                        (0..self.ports.len()).for_each(|port| self.serve(Role::Input(port)));
                    }
                }
            }
            Wakeup::Doorbell(_) => self.tell_size(),
            Wakeup::Called => {
                self.tell_size();
                for port in 0..self.ports.len() {
                    self.serve_port(port);
                    self.tend(port, None, ops);
                }
                self.serve(Role::ControlOutput);
            }
        }
        // Whoever came or went, and whatever else there is to say.
        self.serve(Role::ControlInput);
    }
}

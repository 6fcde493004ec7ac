//! A guest at a console of one port.

use std::io::{self, Read};

use strata_devices::virtio::console::{Console, HostSide, Port};
use strata_devices::virtio::testing::{Bench, FREE, Memory};

const INPUT: usize = 0;
const OUTPUT: usize = 1;
/// Where the guest has its buffers for input.
const BUFFERS: u64 = FREE + 0x10_0000;

pub(super) struct Guest {
    pub(super) bench: Bench<Console<Memory>>,
    received: Vec<u8>,
    buffers: u64,
}

impl Guest {
    pub(super) fn new(host: impl HostSide + 'static) -> Self {
        let device = Console::new(vec![Port::console(host)]).unwrap();
        let worker = device.worker();
        let mut bench = Bench::new(device, vec![worker]);
        bench.start(0);
        bench.run();
        Self { bench, received: Vec::new(), buffers: 0 }
    }

    /// Prints, and does not wait until it is printed.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        self.bench.write(FREE, bytes);
        self.bench.queue(OUTPUT).add(&[(FREE, bytes.len().try_into().unwrap())], &[]);
        self.bench.notify(1);
        self.bench.run();
    }

    /// Whether a request to print has come back since the last time.
    pub(super) fn has_printed(&mut self) -> bool {
        self.bench.run();
        self.bench.queue(OUTPUT).used().is_some()
    }

    /// Waits until one has.
    pub(super) fn until_printed(&mut self) {
        self.bench.run_until(|bench| bench.queue(OUTPUT).used().is_some());
    }

    /// Everything that was sent so far, while there is room for some of it.
    pub(super) fn received(&mut self) -> &[u8] {
        loop {
            while let Some((_, len)) = self.bench.queue(INPUT).used() {
                self.received.extend(self.bench.read(BUFFERS, len.try_into().unwrap()));
                self.buffers -= 1;
            }
            if self.buffers > 0 {
                return &self.received;
            }
            self.buffers += 1;
            self.bench.queue(INPUT).add(&[], &[(BUFFERS, 64)]);
            self.bench.notify(0);
            self.bench.run();
        }
    }

    /// Waits until all of this has been sent, and nothing else.
    pub(super) fn until_received(&mut self, expected: &[u8]) {
        let start = std::time::Instant::now();
        while self.received() != expected {
            assert!(
                start.elapsed().as_secs() < 20,
                "received {:?}",
                self.received.escape_ascii().to_string()
            );
            let mut once = false;
            self.bench.run_until(|_| std::mem::replace(&mut once, true));
        }
    }

    /// Reads from the other side as much as was printed, while the device writes it.
    pub(super) fn until_read(&mut self, from: &mut impl Read, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut some = vec![0; 4096];
        self.bench.run_until(|_| {
            match from.read(&mut some) {
                Ok(got) => all.extend_from_slice(&some[..got]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            all.len() >= len
        });
        all
    }
}

//! The threads of devices.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps as _};
use vmm_sys_util::eventfd::EventFd;

use super::Subscriber;

/// Threads that run workers, each an event loop of its own. They end when this is dropped.
#[derive(Debug, Default)]
pub(in crate::machine) struct Workers(Vec<Thread>);

#[derive(Debug)]
struct Thread {
    end: Arc<End>,
    handle: Option<JoinHandle<()>>,
}

/// What ends a thread.
#[derive(Debug)]
struct End {
    event: EventFd,
    is_near: AtomicBool,
}

impl Workers {
    /// Runs a worker on a thread of this name.
    ///
    /// # Errors
    ///
    /// What the system answered: there are too many threads or descriptors.
    pub(in crate::machine) fn spawn(&mut self, name: &str, worker: Subscriber) -> io::Result<()> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let end = Arc::new(End { event, is_near: AtomicBool::new(false) });
        let mut events = EventManager::<Subscriber>::new().map_err(io::Error::other)?;
        events.add_subscriber(worker);
        events.add_subscriber(Box::new(Ending(Arc::clone(&end))));
        let is_near = Arc::clone(&end);
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
            while !is_near.is_near.load(Ordering::Acquire) {
                if let Err(error) = events.run() {
                    log::error!("a device stands still: its event loop failed: {error}");
                    return;
                }
            }
        })?;
        self.0.push(Thread { end, handle: Some(handle) });
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for Thread { end, .. } in &self.0 {
            end.is_near.store(true, Ordering::Release);
            let _ = end.event.write(1);
        }
        for thread in &mut self.0 {
            let _ = thread.handle.take().map(JoinHandle::join);
        }
    }
}

/// Wakes a thread's event loop, so that it sees its end.
struct Ending(Arc<End>);

impl MutEventSubscriber for Ending {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.0.event, EventSet::IN)) {
            log::error!("a device's thread cannot be told to end: {error}");
        }
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rings(EventFd, std::sync::mpsc::Sender<thread::ThreadId>);

    impl MutEventSubscriber for Rings {
        fn init(&mut self, ops: &mut EventOps<'_>) {
            ops.add(Events::new(&self.0, EventSet::IN)).unwrap();
        }

        fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
            let _ = self.0.read();
            self.1.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn each_worker_works_on_a_thread_of_its_own_until_the_end() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut workers = Workers::default();
        let bells: Vec<_> = (0..2)
            .map(|number| {
                let bell = EventFd::new(libc::EFD_NONBLOCK).unwrap();
                let worker = Rings(bell.try_clone().unwrap(), sender.clone());
                workers.spawn(&format!("w{number}"), Box::new(worker)).unwrap();
                bell
            })
            .collect();
        drop(sender);
        for bell in &bells {
            bell.write(1).unwrap();
        }
        let ids = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        assert_ne!(ids[0], ids[1]);
        drop(workers);
        // Their ends of the channel are gone with them.
        assert!(receiver.recv().is_err());
    }
}

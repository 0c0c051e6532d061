// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The way of standard input to the serial port, driven by event-manager's loop.
//!
//! ```text
//!                 guest's FIFO full
//!      Watched ----------------------> Held
//!         |    <----------------------   |
//!         |           room again         |        Unwatched: a file or device that epoll cannot
//!         | end of file, error           |        watch; it is read whenever there is room
//!         +------------> Ended <---------+
//! ```
//!
//! A terminal is never held: its user must be able to quit a guest that reads nothing. What the
//! guest does not read within [`TERMINAL_BACKLOG`] bytes is lost, as on a serial line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::EventFd;

use super::SerialPort;
use crate::terminal::{Command, EscapeKeys};

/// Bytes that wait for a guest that does not read what is typed.
const TERMINAL_BACKLOG: usize = 4096;
/// Bytes per read: the size of the port's FIFO.
const CHUNK: usize = 64;

/// What the event loop's data say.
const INPUT: u32 = 0;
const ROOM: u32 = 1;

/// Feeds a serial port.
pub struct ConsoleInput {
    file: File,
    source: Source,
    /// Read, and not yet taken by the port.
    waiting: VecDeque<u8>,
    port: Arc<SerialPort>,
    room: EventFd,
    keys: Option<Keys>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Watched,
    Held,
    Unwatched,
    Ended,
}

struct Keys {
    escape: EscapeKeys,
    on_command: Box<dyn FnMut(Command)>,
}

impl ConsoleInput {
    /// Feeds `port` from `input`. `room` is the event that the port was made with.
    pub fn new(input: OwnedFd, port: Arc<SerialPort>, room: EventFd) -> Self {
        Self {
            file: File::from(input),
            source: Source::Unwatched,
            waiting: VecDeque::new(),
            port,
            room,
            keys: None,
        }
    }

    /// The input is a terminal in raw mode: Ctrl-A gives commands.
    #[must_use]
    pub fn with_commands(mut self, on_command: impl FnMut(Command) + 'static) -> Self {
        self.keys = Some(Keys {
            escape: EscapeKeys::default(),
            on_command: Box::new(on_command),
        });
        self
    }

    fn input_events(&self) -> Events {
        Events::with_data(&self.file, INPUT, EventSet::IN)
    }

    /// Reads once, and gives to the port what it takes.
    fn read(&mut self) -> Source {
        let mut bytes = [0; CHUNK];
        let count = match self.file.read(&mut bytes) {
            Ok(0) => {
                log::debug!("standard input has ended; the guest gets no more");
                return Source::Ended;
            }
            Ok(count) => count,
            Err(error) if is_transient(&error) => return self.source,
            Err(error) => {
                log::warn!("cannot read standard input: {error}; the guest gets no more");
                return Source::Ended;
            }
        };
        self.take(bytes.get(..count).unwrap_or_default());
        self.deliver();
        self.source
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(keys) = &mut self.keys else {
            self.waiting.extend(bytes);
            return;
        };
        for &byte in bytes {
            if let Some(command) = keys.escape.key(byte, &mut self.waiting) {
                (keys.on_command)(command);
            }
        }
        if self.waiting.len() > TERMINAL_BACKLOG {
            log::warn!("the guest does not read what is typed; some of it is lost");
            self.waiting.truncate(TERMINAL_BACKLOG);
        }
    }

    fn deliver(&mut self) {
        let taken = self.port.receive(self.waiting.make_contiguous());
        self.waiting.drain(..taken);
    }

    /// Reads a source that is always ready until the port is full.
    fn read_unwatched(&mut self) {
        while self.source == Source::Unwatched && self.waiting.is_empty() {
            self.source = self.read();
        }
    }

    fn on_input(&mut self, ops: &mut EventOps<'_>) {
        if self.source != Source::Watched {
            return;
        }
        let mut next = self.read();
        if next == Source::Watched && self.keys.is_none() && !self.waiting.is_empty() {
            next = Source::Held;
        }
        if next != Source::Watched
            && let Err(error) = ops.remove(self.input_events())
        {
            log::error!("cannot stop watching standard input: {error}");
        }
        self.source = next;
    }

    fn on_room(&mut self, ops: &mut EventOps<'_>) {
        // Nobody else reads it, and it does not block.
        let _ = self.room.read();
        self.deliver();
        if !self.waiting.is_empty() {
            return;
        }
        match self.source {
            Source::Held => self.watch(ops),
            Source::Unwatched => self.read_unwatched(),
            Source::Watched | Source::Ended => {}
        }
    }

    fn watch(&mut self, ops: &mut EventOps<'_>) {
        self.source = match ops.add(self.input_events()) {
            Ok(()) => Source::Watched,
            Err(event_manager::Error::Epoll(errno)) if errno.errno() == libc::EPERM => {
                Source::Unwatched
            }
            Err(error) => {
                log::warn!("cannot watch standard input: {error}; the guest gets none");
                Source::Ended
            }
        };
        self.read_unwatched();
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

impl MutEventSubscriber for ConsoleInput {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let room = Events::with_data_raw(self.room.as_raw_fd(), ROOM, EventSet::IN);
        if let Err(error) = ops.add(room) {
            log::error!("cannot watch the serial port's input: {error}");
        }
        self.watch(ops);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match events.data() {
            INPUT => self.on_input(ops),
            _ => self.on_room(ops),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{Seek, Write, sink};
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use event_manager::{EventManager, SubscriberOps};
    use vmm_sys_util::tempfile::TempFile;

    use super::*;
    use crate::devices::{ConsoleOutput, PortBus};

    struct Fixture {
        manager: EventManager<Box<dyn MutEventSubscriber>>,
        bus: PortBus,
        port: Arc<SerialPort>,
        room: EventFd,
    }

    impl Fixture {
        fn new() -> Self {
            let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
            let room = event();
            let output = ConsoleOutput::start(sink(), |error| panic!("{error}")).unwrap();
            let port = SerialPort::new(event(), output, room.try_clone().unwrap());
            let port = Arc::new(port);
            let mut bus = PortBus::new();
            bus.register(0, SerialPort::PORTS, port.clone()).unwrap();
            Self {
                manager: EventManager::new().unwrap(),
                bus,
                port,
                room,
            }
        }

        fn input(&self, source: impl Into<OwnedFd>) -> ConsoleInput {
            let room = self.room.try_clone().unwrap();
            ConsoleInput::new(source.into(), self.port.clone(), room)
        }

        /// Runs the loop until nothing is left to do, and reads as the guest meanwhile.
        fn guest_reads(&mut self) -> Vec<u8> {
            let mut seen = Vec::new();
            loop {
                let events = self.manager.run_with_timeout(0).unwrap();
                let before = seen.len();
                while self.register(5) & 1 != 0 {
                    seen.push(self.register(0));
                }
                if events == 0 && seen.len() == before {
                    return seen;
                }
            }
        }

        fn register(&self, register: u16) -> u8 {
            let mut byte = [0];
            self.bus.read(register, 1, &mut byte);
            byte[0]
        }
    }

    fn numbers(count: u32) -> Vec<u8> {
        (0..count).map(|n| n as u8).collect()
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_then_left_alone() {
        let mut f = Fixture::new();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let input = f.input(ours);
        f.manager.add_subscriber(Box::new(input));
        theirs.write_all(&numbers(1000)).unwrap();
        drop(theirs);
        assert_eq!(f.guest_reads(), numbers(1000));
        assert_eq!(f.manager.run_with_timeout(0).unwrap(), 0, "it spins");
    }

    #[test]
    fn a_guest_that_reads_nothing_holds_a_pipe_without_spinning() {
        let mut f = Fixture::new();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let input = f.input(ours);
        f.manager.add_subscriber(Box::new(input));
        theirs.write_all(&numbers(1000)).unwrap();
        drop(theirs);
        let rounds = (0..100)
            .take_while(|_| f.manager.run_with_timeout(0).unwrap() != 0)
            .count();
        assert!(rounds < 10, "{rounds} rounds");
        assert_eq!(f.guest_reads(), numbers(1000));
    }

    #[test]
    fn a_file_and_the_null_device_are_read_though_epoll_cannot_watch_them() {
        let mut f = Fixture::new();
        let mut file = TempFile::new().unwrap().into_file();
        file.write_all(&numbers(500)).unwrap();
        file.rewind().unwrap();
        let input = f.input(file);
        f.manager.add_subscriber(Box::new(input));
        assert_eq!(f.guest_reads(), numbers(500));

        let mut f = Fixture::new();
        let input = f.input(File::open("/dev/null").unwrap());
        f.manager.add_subscriber(Box::new(input));
        assert_eq!(f.guest_reads(), b"");
        assert_eq!(f.manager.run_with_timeout(0).unwrap(), 0);
    }

    #[test]
    fn an_endless_source_is_read_no_faster_than_the_guest_reads() {
        let mut f = Fixture::new();
        let input = f.input(File::open("/dev/zero").unwrap());
        f.manager.add_subscriber(Box::new(input));
        for _ in 0..1000 {
            assert_eq!(f.register(0), 0);
            f.manager.run_with_timeout(0).unwrap();
        }
    }

    #[test]
    fn commands_work_though_the_guest_reads_nothing() {
        let mut f = Fixture::new();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let commands = Rc::new(RefCell::new(Vec::new()));
        let seen = commands.clone();
        let input = f
            .input(ours)
            .with_commands(move |command| seen.borrow_mut().push(command));
        f.manager.add_subscriber(Box::new(input));
        for _ in 0..2 * TERMINAL_BACKLOG / CHUNK {
            theirs.write_all(&[b'k'; CHUNK]).unwrap();
            f.manager.run_with_timeout(0).unwrap();
        }
        theirs.write_all(b"\x01x").unwrap();
        f.manager.run_with_timeout(0).unwrap();
        assert_eq!(*commands.borrow(), [Command::Quit]);
        let kept = f.guest_reads();
        assert!(kept.len() >= TERMINAL_BACKLOG, "{}", kept.len());
    }
}

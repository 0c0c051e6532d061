// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The way of the console's bytes out of the VMM: a bounded buffer and a thread that empties it.
//!
//! ```text
//!              begin_end           all written, or the deadline
//!   Open ----------------> Ending ------------------------------> (dropped)
//!     |                       |
//!     +------ write failed ---+--> Failed
//! ```
//!
//! A terminal or pipe may take nothing for as long as it likes. The guest then waits, as it would
//! for a slow serial line, but in a place where the VMM's end can reach it ([`Phase::Ending`]),
//! and never with the serial port locked. Bytes that come while a write is under way go out
//! together in the next one.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// With so many bytes in the buffer, the guest waits.
const CAPACITY: usize = 64 << 10;
/// Each vCPU may add a byte after it has found room; what comes beyond is dropped.
const LIMIT: usize = CAPACITY + 4096;
/// Bytes per write, so that a slow reader is seen to make progress.
const CHUNK: usize = 4096;

/// The console's output. Clones share it.
#[derive(Clone)]
pub struct ConsoleOutput(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// What the thread has not taken yet.
    buffer: Vec<u8>,
    /// What it has taken and not written yet.
    in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The guest waits for room.
    Open,
    /// Nobody waits any longer; what is there is written.
    Ending,
    /// Nothing can be written any more.
    Failed,
}

/// Output that could not be written before the VMM's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// How many bytes were left.
    pub bytes: usize,
}

impl ConsoleOutput {
    /// Starts the thread that writes to `sink`. `on_error` is called once, when a write fails.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        sink: impl Write + Send + 'static,
        on_error: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                phase: Phase::Open,
                buffer: Vec::with_capacity(LIMIT),
                in_flight: 0,
            }),
            changed: Condvar::new(),
        });
        let thread_shared = shared.clone();
        // It is not joined: it may be stuck in a write that never ends.
        thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || thread_shared.write_out(sink, on_error))?;
        Ok(Self(shared))
    }

    /// Waits until there is room for a byte, or nobody is to wait any longer.
    pub fn wait_for_room(&self) {
        let mut state = self.0.lock();
        while state.phase == Phase::Open && state.buffer.len() >= CAPACITY {
            state = self.0.wait(state);
        }
    }

    /// Adds `bytes`; never waits. Bytes for which there is no room are lost.
    pub fn push(&self, bytes: &[u8]) {
        let mut state = self.0.lock();
        if state.phase == Phase::Failed {
            return;
        }
        let room = LIMIT.saturating_sub(state.buffer.len());
        let fitting = bytes.get(..room).unwrap_or(bytes);
        // The thread waits for nothing else than the first byte.
        if state.buffer.is_empty() {
            self.0.changed.notify_all();
        }
        state.buffer.extend_from_slice(fitting);
    }

    /// From now on nobody waits for room.
    pub fn begin_end(&self) {
        let mut state = self.0.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Ending;
        }
        self.0.changed.notify_all();
    }

    /// Waits until all is written, for as long as something moves at least every `patience`.
    ///
    /// # Errors
    /// When bytes are left. After a write that failed there is nothing to wait for, and this is
    /// not an error again.
    pub fn finish(&self, patience: Duration) -> Result<(), Unwritten> {
        self.begin_end();
        let mut state = self.0.lock();
        let mut least = usize::MAX;
        let mut deadline = Instant::now();
        loop {
            let left = state.buffer.len() + state.in_flight;
            if left == 0 || state.phase == Phase::Failed {
                return Ok(());
            }
            let now = Instant::now();
            if left < least {
                least = left;
                deadline = now + patience;
            }
            let Some(wait) = deadline
                .checked_duration_since(now)
                .filter(|d| !d.is_zero())
            else {
                return Err(Unwritten { bytes: left });
            };
            (state, _) = self
                .0
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What vm-superio writes to. Never fails and never waits.
impl Write for ConsoleOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn write_out(&self, mut sink: impl Write, on_error: impl FnOnce(io::Error)) {
        let mut taken = Vec::with_capacity(LIMIT);
        while self.take(&mut taken) {
            for chunk in taken.chunks(CHUNK) {
                if let Err(error) = sink.write_all(chunk).and_then(|()| sink.flush()) {
                    let mut state = self.lock();
                    state.phase = Phase::Failed;
                    state.buffer.clear();
                    state.in_flight = 0;
                    self.changed.notify_all();
                    drop(state);
                    return on_error(error);
                }
                self.lock().in_flight -= chunk.len();
                self.changed.notify_all();
            }
        }
    }

    /// Takes what is in the buffer; waits for something. False: there will be nothing any more.
    fn take(&self, taken: &mut Vec<u8>) -> bool {
        taken.clear();
        let mut state = self.lock();
        while state.buffer.is_empty() {
            if state.phase != Phase::Open {
                return false;
            }
            state = self.wait(state);
        }
        std::mem::swap(&mut state.buffer, taken);
        state.in_flight = taken.len();
        self.changed.notify_all();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A sink that shows what it got.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn unexpected(error: io::Error) {
        panic!("{error}");
    }

    #[test]
    fn everything_arrives_in_order() {
        let seen = Seen::default();
        let output = ConsoleOutput::start(seen.clone(), unexpected).unwrap();
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        for byte in &bytes {
            output.wait_for_room();
            output.push(&[*byte]);
        }
        output.finish(PATIENCE).unwrap();
        assert!(*seen.0.lock().unwrap() == bytes);
    }

    #[test]
    fn a_failed_write_is_told_once_and_nobody_waits_after_it() {
        let (sink, other_end) = UnixStream::pair().unwrap();
        drop(other_end);
        let (told, hear) = mpsc::channel();
        let output = ConsoleOutput::start(sink, move |error| told.send(error).unwrap()).unwrap();
        output.push(b"x");
        assert_eq!(hear.recv().unwrap().kind(), io::ErrorKind::BrokenPipe);
        for _ in 0..2 * LIMIT {
            output.wait_for_room();
            output.push(b"x");
        }
        output.finish(PATIENCE).unwrap();
    }

    #[test]
    fn a_sink_that_takes_nothing_holds_the_guest_but_not_the_end() {
        let (sink, _never_read) = UnixStream::pair().unwrap();
        let output = ConsoleOutput::start(sink, unexpected).unwrap();
        let guest = {
            let output = output.clone();
            thread::spawn(move || {
                // More than the buffer, the socket and the limit take together.
                for _ in 0..8 * LIMIT {
                    output.wait_for_room();
                    output.push(b"x");
                }
            })
        };
        // The guest comes to wait: the buffer fills and stays full.
        while output.0.lock().buffer.len() < CAPACITY {
            thread::yield_now();
        }
        output.begin_end();
        guest.join().unwrap();
        let left = output.finish(Duration::from_millis(10)).unwrap_err();
        assert!(left.bytes >= CAPACITY, "{left:?}");
    }
}

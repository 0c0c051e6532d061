// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A channel that shares an I/O port with others, in frames.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use guest_init::channel::Channel;
use guest_init::frames;

use crate::syscalls;

/// One frame at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The channel.
pub struct Framed {
    port: u16,
    channel: Channel,
}

impl Framed {
    /// A channel at this I/O port.
    pub fn new(port: u16, channel: Channel) -> Self {
        Self { port, channel }
    }
}

impl Write for Framed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(frames::MAX_LENGTH);
        let frame = frames::encode(self.channel, bytes.get(..length).unwrap_or_default());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        syscalls::write_port(self.port, &frame)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

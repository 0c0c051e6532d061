// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Opens the channels out of the emulated machine, as the machine has them.

mod framed;
mod virtio;

use std::fs::File;
use std::io::{self, Write};

use guest_init::channel::Channel;
use guest_init::task::Machine;

use framed::Framed;

/// The I/O port that takes the frames of a machine without virtio-serial.
const FRAMES_PORT: u16 = 0xe9;

/// A channel that can be written to.
pub enum Port {
    /// A virtio-serial port.
    Virtio(File),
    /// One of those that share an I/O port.
    Framed(Framed),
}

/// Opens a channel of this machine.
pub fn open(machine: Machine, channel: Channel) -> Result<Port, String> {
    match machine {
        Machine::Svm => virtio::open(channel.port()).map(Port::Virtio),
        Machine::Vmx => Ok(Port::Framed(Framed::new(FRAMES_PORT, channel))),
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Virtio(file) => file.write(bytes),
            Self::Framed(framed) => framed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Neither keeps anything back.
        Ok(())
    }
}

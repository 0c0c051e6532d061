// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The keyboard controller, as far as a PC without a keyboard needs it: command 0xfe at port 0x64
//! resets the machine, and its output port, by which programs switch A20 on, can be read and written.
//! It is never busy, and only a byte that was asked for waits to be read.

use std::sync::{Mutex, PoisonError};

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_superio::I8042Device;

use super::FnTrigger;

/// The port that its register offsets count from.
const DATA_PORT: u16 = 0x60;

/// Register offsets.
const DATA: u8 = 0;
const COMMAND: u8 = 4;

/// Commands: read the output port; write it with the next byte at the data port; pull the reset line.
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
const PULSE_RESET: u8 = 0xfe;

/// Status: a byte waits at the data port.
const OUTPUT_FULL: u8 = 1 << 0;

/// The output port: the reset line, which is active when it is 0, and A20, always on.
const NO_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

/// vm-superio's i8042 on the bus, at ports 0x60 and 0x64. The ports between belong to others.
pub struct I8042(Mutex<Controller>);

struct Controller {
    reset: I8042Device<FnTrigger>,
    /// What waits at the data port.
    waiting: Option<u8>,
    /// The next byte at the data port is for the output port.
    writes_output_port: bool,
}

impl Controller {
    fn read(&mut self, register: u8) -> u8 {
        match register {
            DATA => self.waiting.take().unwrap_or(0),
            COMMAND if self.waiting.is_some() => OUTPUT_FULL,
            other => self.reset.read(other),
        }
    }

    fn write(&mut self, register: u8, byte: u8) {
        let for_output_port = std::mem::take(&mut self.writes_output_port);
        let byte = match (register, byte) {
            (COMMAND, READ_OUTPUT_PORT) => {
                self.waiting = Some(NO_RESET | A20);
                return;
            }
            (COMMAND, WRITE_OUTPUT_PORT) => {
                self.writes_output_port = true;
                return;
            }
            (COMMAND, byte) => byte,
            (DATA, byte) if for_output_port && byte & NO_RESET == 0 => PULSE_RESET,
            _ => return,
        };
        let Ok(()) = self.reset.write(COMMAND, byte);
    }
}

impl I8042 {
    /// Its two ports. They are registered one by one: 0x61 is the timer's.
    pub const PORTS: [u16; 2] = [DATA_PORT, 0x64];

    /// Calls `on_reset` when the guest resets the machine.
    pub fn new(on_reset: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Mutex::new(Controller {
            reset: I8042Device::new(FnTrigger::new(on_reset)),
            waiting: None,
            writes_output_port: false,
        }))
    }

    fn register_of(base: PioAddress, offset: PioAddressOffset) -> u8 {
        let port = base.0.wrapping_add(offset);
        u8::try_from(port.wrapping_sub(DATA_PORT)).unwrap_or(u8::MAX)
    }
}

impl DevicePio for I8042 {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let mut device = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let [byte] = data {
            *byte = device.read(Self::register_of(base, offset));
        }
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let mut device = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let [byte] = data {
            device.write(Self::register_of(base, offset), *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::devices::PortBus;

    fn fixture() -> (PortBus, Arc<AtomicUsize>) {
        let resets = Arc::new(AtomicUsize::new(0));
        let seen = resets.clone();
        let device = Arc::new(I8042::new(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        }));
        let mut bus = PortBus::new();
        for port in I8042::PORTS {
            bus.register(port, 1, device.clone()).unwrap();
        }
        (bus, resets)
    }

    fn read(bus: &PortBus, port: u16) -> u8 {
        let mut byte = [0xff];
        bus.read(port, 1, &mut byte);
        byte[0]
    }

    /// As boot loaders do it, which wait for the status at each step.
    #[test]
    fn a20_can_be_switched_on() {
        let (bus, resets) = fixture();
        bus.write(0x64, 1, &[0xad]);
        assert_eq!(read(&bus, 0x64), 0);
        bus.write(0x64, 1, &[0xd0]);
        assert_eq!(read(&bus, 0x64), 1);
        let output = read(&bus, 0x60);
        assert_eq!((output, read(&bus, 0x64)), (3, 0));
        bus.write(0x64, 1, &[0xd1]);
        bus.write(0x60, 1, &[output | 2]);
        // What comes next is for the keyboard.
        bus.write(0x60, 1, &[0]);
        assert_eq!(resets.load(Ordering::Relaxed), 0);
        bus.write(0x64, 1, &[0xd1]);
        bus.write(0x60, 1, &[0xfe]);
        assert_eq!(resets.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn only_the_reset_command_at_the_command_port_resets() {
        let (bus, resets) = fixture();
        for (port, size, data) in [
            (0x60, 1, vec![0xfe]),
            (0x61, 1, vec![0xfe]),
            (0x64, 1, vec![0xaa]),
            (0x64, 2, vec![0xfe, 0]),
            (0x63, 2, vec![0, 0xfe]),
        ] {
            bus.write(port, size, &data);
            assert_eq!(resets.load(Ordering::Relaxed), 0, "{port:#x} {data:x?}");
        }
        bus.write(0x64, 1, &[0xfe]);
        assert_eq!(resets.load(Ordering::Relaxed), 1);
        assert_eq!(
            read(&bus, 0x64),
            0,
            "no byte waits and the controller takes commands"
        );
    }
}

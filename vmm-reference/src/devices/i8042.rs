// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The keyboard controller, as far as a PC without a keyboard needs it: command 0xfe at port 0x64
//! resets the machine.

use std::sync::{Mutex, PoisonError};

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_superio::I8042Device;

use super::FnTrigger;

/// The port that its register offsets count from.
const DATA_PORT: u16 = 0x60;

/// vm-superio's i8042 on the bus, at ports 0x60 and 0x64. The ports between belong to others.
pub struct I8042(Mutex<I8042Device<FnTrigger>>);

impl I8042 {
    /// Its two ports. They are registered one by one: 0x61 is the timer's.
    pub const PORTS: [u16; 2] = [DATA_PORT, 0x64];

    /// Calls `on_reset` when the guest resets the machine.
    pub fn new(on_reset: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Mutex::new(I8042Device::new(FnTrigger::new(on_reset))))
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
            let Ok(()) = device.write(Self::register_of(base, offset), *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::devices::PortBus;

    #[test]
    fn only_the_reset_command_at_the_command_port_resets() {
        let resets = Arc::new(AtomicUsize::new(0));
        let seen = resets.clone();
        let device = Arc::new(I8042::new(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        }));
        let mut bus = PortBus::new();
        for port in I8042::PORTS {
            bus.register(port, 1, device.clone()).unwrap();
        }
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
        let mut status = [0xff];
        bus.read(0x64, 1, &mut status);
        assert_eq!(
            status,
            [0],
            "no byte waits and the controller takes commands"
        );
    }
}

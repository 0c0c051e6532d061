// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The port by which a test program ends its machine with a status, as QEMU's `isa-debug-exit`.

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

/// A write to any of its ports reports the value. Reads give 0.
pub struct DebugExit(Box<dyn Fn(u32) + Send + Sync>);

impl DebugExit {
    /// How many ports it takes.
    pub const PORTS: u16 = 4;

    /// Calls `on_exit` with each value that is written.
    pub fn new(on_exit: impl Fn(u32) + Send + Sync + 'static) -> Self {
        Self(Box::new(on_exit))
    }
}

impl DevicePio for DebugExit {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(0);
    }

    fn pio_write(&self, _base: PioAddress, _offset: PioAddressOffset, data: &[u8]) {
        let mut value = [0; 4];
        for (byte, written) in value.iter_mut().zip(data) {
            *byte = *written;
        }
        (self.0)(u32::from_le_bytes(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::devices::PortBus;

    #[test]
    fn a_write_of_any_size_is_one_value() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let mut bus = PortBus::new();
        let device = DebugExit::new(move |value| sink.lock().unwrap().push(value));
        bus.register(0xf4, DebugExit::PORTS, Arc::new(device))
            .unwrap();
        bus.write(0xf4, 1, &[0x10]);
        bus.write(0xf4, 2, &[1, 2]);
        bus.write(0xf4, 4, &[1, 2, 3, 0x84]);
        bus.write(0xf7, 1, &[3]);
        // Half of this one is beyond the device, as is the other port.
        bus.write(0xf7, 2, &[9, 9]);
        bus.write(0xf8, 1, &[9]);
        assert_eq!(*seen.lock().unwrap(), [0x10, 0x201, 0x8403_0201, 3]);
        let mut data = [0xff; 4];
        bus.read(0xf4, 4, &mut data);
        assert_eq!(data, [0; 4]);
    }
}

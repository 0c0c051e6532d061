// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! System control port A, 0x92: the address line A20, which is always on, and the fast reset.

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

/// A written one resets the machine.
const RESET: u8 = 1 << 0;
/// A20 is on.
const A20: u8 = 1 << 1;

/// The port.
pub struct SystemControl(Box<dyn Fn() + Send + Sync>);

impl SystemControl {
    /// How many ports it takes.
    pub const PORTS: u16 = 1;

    /// Calls `on_reset` when the guest resets the machine.
    pub fn new(on_reset: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(on_reset))
    }
}

impl DevicePio for SystemControl {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        if let Some(byte) = data.first_mut() {
            *byte = A20;
        }
    }

    fn pio_write(&self, _base: PioAddress, _offset: PioAddressOffset, data: &[u8]) {
        if data.first().is_some_and(|byte| byte & RESET != 0) {
            (self.0)();
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
    fn a20_is_on_and_bit_0_resets() {
        let resets = Arc::new(AtomicUsize::new(0));
        let seen = resets.clone();
        let device = SystemControl::new(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let mut bus = PortBus::new();
        bus.register(0x92, SystemControl::PORTS, Arc::new(device))
            .unwrap();
        let mut byte = [0];
        // What a loader does: read, set A20, write.
        bus.read(0x92, 1, &mut byte);
        assert_eq!(byte, [2]);
        bus.write(0x92, 1, &[byte[0] | 2]);
        bus.write(0x92, 1, &[0]);
        bus.read(0x92, 1, &mut byte);
        assert_eq!((byte, resets.load(Ordering::Relaxed)), ([2], 0));
        bus.write(0x92, 1, &[3]);
        assert_eq!(resets.load(Ordering::Relaxed), 1);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The CMOS memory of a PC, as far as it tells the size of memory. There is no clock behind it, as
//! the ACPI tables say: the time reads as zeros and no update of it is ever under way.

use std::sync::atomic::{AtomicU8, Ordering};

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

use crate::layout;

/// The ports' offsets: which byte, and the byte.
const INDEX: u16 = 0;
const DATA: u16 = 1;

/// Bit 7 of the index masks NMIs.
const INDEX_BITS: u8 = 0x7f;

/// Status B: 24 hours, BCD. Status D: the battery is good.
const STATUS_B: u8 = 0x0b;
const STATUS_D: u8 = 0x0d;

/// The index and data ports.
pub struct Cmos {
    index: AtomicU8,
    bytes: [u8; 128],
}

impl Cmos {
    /// How many ports it takes.
    pub const PORTS: u16 = 2;

    /// For a machine with memory up to `low_end`, and `high` bytes of it above 4 GiB.
    pub fn new(low_end: u64, high: u64) -> Self {
        let mut bytes = [0; 128];
        let mut put = |at: usize, value: u64, width: usize| {
            let most = (1 << (8 * width)) - 1;
            let value = value.min(most).to_le_bytes();
            bytes[at..at + width].copy_from_slice(&value[..width]);
        };
        // In KiB; in KiB above 1 MiB, twice; in 64 KiB above 16 MiB; in 64 KiB above 4 GiB.
        put(0x15, layout::LOW_MEMORY_END.min(low_end) >> 10, 2);
        let extended = low_end.saturating_sub(layout::HIMEM_START) >> 10;
        put(0x17, extended, 2);
        put(0x30, extended, 2);
        put(0x34, low_end.saturating_sub(16 << 20) >> 16, 2);
        put(0x5b, high >> 16, 3);
        bytes[usize::from(STATUS_B)] = 0x02;
        bytes[usize::from(STATUS_D)] = 0x80;
        Self {
            index: AtomicU8::new(0),
            bytes,
        }
    }
}

impl DevicePio for Cmos {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        for (byte, register) in data.iter_mut().zip(offset..) {
            // The index can only be written; it floats high.
            if register == DATA {
                *byte = self.bytes[usize::from(self.index.load(Ordering::Relaxed))];
            }
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        for (byte, register) in data.iter().zip(offset..) {
            if register == INDEX {
                self.index.store(byte & INDEX_BITS, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::devices::PortBus;

    fn read(bus: &PortBus, index: u8, width: u8) -> u64 {
        (0..width).rev().fold(0, |value, at| {
            let mut byte = [0];
            bus.write(0x70, 1, &[0x80 | (index + at)]);
            bus.read(0x71, 1, &mut byte);
            value << 8 | u64::from(byte[0])
        })
    }

    fn bus(low_end: u64, high: u64) -> PortBus {
        let mut bus = PortBus::new();
        let device = Arc::new(Cmos::new(low_end, high));
        bus.register(0x70, Cmos::PORTS, device).unwrap();
        bus
    }

    #[test]
    fn it_tells_the_size_of_memory() {
        for (low_end, high, expected) in [
            (1 << 20, 0, [639, 0, 0, 0, 0]),
            (48 << 20, 0, [639, 47 << 10, 47 << 10, 32 << 4, 0]),
            (3 << 30, 5 << 30, [639, 65535, 65535, 0xbf00, 5 << 14]),
            (u64::MAX, u64::MAX, [639, 65535, 65535, 65535, 0xff_ffff]),
        ] {
            let bus = bus(low_end, high);
            let seen = [(0x15, 2), (0x17, 2), (0x30, 2), (0x34, 2), (0x5b, 3)]
                .map(|(index, width)| read(&bus, index, width));
            assert_eq!(seen, expected, "{low_end:#x} {high:#x}");
        }
    }

    #[test]
    fn no_clock_is_ever_busy() {
        let bus = bus(16 << 20, 0);
        // A write changes nothing.
        bus.write(0x70, 2, &[0x0a, 0xff]);
        assert_eq!([0x0a, 0x0b, 0x0c].map(|at| read(&bus, at, 1)), [0, 2, 0]);
        assert_eq!(read(&bus, 0x0d, 1), 0x80);
        assert_eq!(read(&bus, 0, 1), 0);
        let mut both = [0; 2];
        bus.read(0x70, 2, &mut both);
        assert_eq!(both, [0xff, 0]);
    }
}

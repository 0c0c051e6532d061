// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMU's firmware configuration device (`docs/specs/fw_cfg.rst` there), as far as small programs
//! ask it how many processors there are and how much memory: they would else take the floating bus for
//! an answer, and wait for 65,535 processors.

use std::sync::{Mutex, PoisonError};

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

/// Offsets of the selector, which is written with 16 bits, and of the data.
const DATA: u16 = 1;

/// Items by their keys.
const SIGNATURE: u16 = 0x00;
const ID: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const CPU_COUNT: u16 = 0x05;
const MAX_CPU_COUNT: u16 = 0x0f;

/// The traditional interface, without DMA.
const TRADITIONAL: u32 = 1;

/// The selector and data ports.
pub struct FwCfg {
    ram_size: u64,
    cpus: u16,
    selected: Mutex<Selected>,
}

#[derive(Default)]
struct Selected {
    key: u16,
    /// How many bytes of the item were read.
    position: usize,
}

impl FwCfg {
    /// How many ports it takes.
    pub const PORTS: u16 = 2;

    /// For a machine with so much memory and so many processors.
    pub fn new(ram_size: u64, cpus: u8) -> Self {
        Self {
            ram_size,
            cpus: cpus.into(),
            selected: Mutex::default(),
        }
    }

    /// The item's bytes: none, if there is no such item.
    fn item(&self, key: u16) -> Vec<u8> {
        match key {
            SIGNATURE => b"QEMU".to_vec(),
            ID => TRADITIONAL.to_le_bytes().to_vec(),
            RAM_SIZE => self.ram_size.to_le_bytes().to_vec(),
            CPU_COUNT | MAX_CPU_COUNT => self.cpus.to_le_bytes().to_vec(),
            _ => Vec::new(),
        }
    }
}

impl DevicePio for FwCfg {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        if offset != DATA {
            return;
        }
        let mut selected = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        let item = self.item(selected.key);
        // Behind its end an item is all zeros.
        for byte in data {
            *byte = item.get(selected.position).copied().unwrap_or(0);
            selected.position = selected.position.saturating_add(1);
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        // What is written as data is ignored, as QEMU does.
        if let (0, &[low, high]) = (offset, data) {
            let mut selected = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
            *selected = Selected {
                key: u16::from_le_bytes([low, high]),
                position: 0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(device: &FwCfg, key: u16, count: usize) -> Vec<u8> {
        let base = PioAddress(0x510);
        device.pio_write(base, 0, &key.to_le_bytes());
        (0..count)
            .map(|_| {
                let mut byte = [0xff];
                device.pio_read(base, DATA, &mut byte);
                byte[0]
            })
            .collect()
    }

    #[test]
    fn items_are_read_byte_by_byte_and_end_with_zeros() {
        let device = FwCfg::new(0x1_2345_6789, 3);
        assert_eq!(read(&device, SIGNATURE, 4), b"QEMU");
        assert_eq!(read(&device, ID, 5), [1, 0, 0, 0, 0]);
        let size = [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0];
        assert_eq!(read(&device, RAM_SIZE, 9), size);
        assert_eq!(read(&device, CPU_COUNT, 3), [3, 0, 0]);
        assert_eq!(read(&device, MAX_CPU_COUNT, 2), [3, 0]);
        assert_eq!(read(&device, 0x19, 4), [0; 4], "no files");
        assert_eq!(read(&device, 0xffff, 1), [0]);
    }

    #[test]
    fn only_two_bytes_select_and_data_are_not_written() {
        let device = FwCfg::new(0, 1);
        let base = PioAddress(0x510);
        read(&device, CPU_COUNT, 0);
        device.pio_write(base, 0, &[0]);
        device.pio_write(base, DATA, &[9, 9]);
        let mut bytes = [0xff; 4];
        device.pio_read(base, DATA, &mut bytes);
        assert_eq!(bytes, [1, 0, 0, 0]);
        let mut selector = [0xff; 2];
        device.pio_read(base, 0, &mut selector);
        assert_eq!(selector, [0xff; 2], "the selector cannot be read");
    }
}

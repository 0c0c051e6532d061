// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The bus of I/O ports, as the guest's IN, OUT, INS and OUTS see it.
//!
//! Which device has which ports is `vm_device`'s matter. This adds what a PC adds: a string
//! instruction brings many elements for one port, and a port that nobody claims reads as all ones
//! and swallows what is written.

use std::sync::Arc;

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioRange};
use vm_device::device_manager::{IoManager, PioManager};

/// The devices by their ports.
#[derive(Default)]
pub struct PortBus(IoManager);

impl PortBus {
    /// A bus without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `device` the `count` ports from `first` on.
    ///
    /// # Errors
    /// When there are no such ports, or one of them has a device.
    pub fn register(
        &mut self,
        first: u16,
        count: u16,
        device: Arc<dyn DevicePio + Send + Sync>,
    ) -> Result<(), vm_device::bus::Error> {
        self.0
            .register_pio(PioRange::new(PioAddress(first), count)?, device)
    }

    /// The guest reads `data`, elements of `size` bytes each, from `port`.
    pub fn read(&self, port: u16, size: u8, data: &mut [u8]) {
        for element in data.chunks_mut(usize::from(size).max(1)) {
            // A device fills what it has; the rest floats high.
            element.fill(0xff);
            if self.0.pio_read(PioAddress(port), element).is_err() {
                log::trace!("read of {size} bytes from port {port:#x}, which no device has");
            }
        }
    }

    /// The guest writes `data`, elements of `size` bytes each, to `port`.
    pub fn write(&self, port: u16, size: u8, data: &[u8]) {
        for element in data.chunks(usize::from(size).max(1)) {
            if self.0.pio_write(PioAddress(port), element).is_err() {
                log::trace!("write of {element:02x?} to port {port:#x}, which no device has");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use vm_device::bus::{PioAddress, PioAddressOffset};

    use super::*;

    /// Remembers writes; reads give the port's offset in every byte.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<(u16, Vec<u8>)>>);

    impl DevicePio for Recorder {
        fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
            data.fill(offset as u8);
        }

        fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
            self.0.lock().unwrap().push((offset, data.to_vec()));
        }
    }

    fn bus() -> (PortBus, Arc<Recorder>) {
        let device = Arc::new(Recorder::default());
        let mut bus = PortBus::new();
        bus.register(0x3f8, 8, device.clone()).unwrap();
        (bus, device)
    }

    #[test]
    fn a_string_instruction_writes_each_element_to_the_same_port() {
        let (bus, device) = bus();
        bus.write(0x3f9, 2, &[1, 2, 3, 4, 5, 6]);
        let expected = vec![(1, vec![1, 2]), (1, vec![3, 4]), (1, vec![5, 6])];
        assert_eq!(*device.0.lock().unwrap(), expected);
    }

    #[test]
    fn what_no_device_has_reads_as_all_ones() {
        let (bus, _) = bus();
        for (port, size) in [(0x80, 1), (0x3f7, 1), (0x400, 4), (0xffff, 4), (0x3ff, 2)] {
            let mut data = [0; 8];
            bus.read(port, size, &mut data);
            assert_eq!(data, [0xff; 8], "port {port:#x}, size {size}");
        }
    }

    #[test]
    fn ports_are_given_once_and_must_exist() {
        let (mut bus, device) = bus();
        assert!(bus.register(0x3ff, 1, device.clone()).is_err());
        assert!(bus.register(0xffff, 2, device.clone()).is_err());
        assert!(bus.register(0x10, 0, device).is_err());
    }

    proptest! {
        #[test]
        fn no_access_is_too_odd(port: u16, size: u8, mut data in prop::collection::vec(any::<u8>(), 0..64)) {
            let (bus, device) = bus();
            bus.write(port, size, &data);
            let written: Vec<u8> = device.0.lock().unwrap().iter().flat_map(|(_, d)| d.clone()).collect();
            prop_assert!(written.is_empty() || data.starts_with(&written[..written.len().min(data.len())]));
            bus.read(port, size, &mut data);
            let inside = (0x3f8..0x400).contains(&port);
            prop_assert!(inside || data.iter().all(|&byte| byte == 0xff));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The serial port: vm-superio's 16550 on the bus, with its output and input.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_superio::Serial;
use vm_superio::serial::SerialEvents;
use vmm_sys_util::eventfd::EventFd;

use super::{ConsoleOutput, EventFdTrigger};

/// Register offsets.
const DATA: u16 = 0;
const MODEM_CONTROL: u16 = 4;

/// A 16550 serial port.
pub struct SerialPort {
    uart: Mutex<Uart>,
    output: ConsoleOutput,
    room: Arc<Room>,
}

type Uart = Serial<EventFdTrigger, Arc<Room>, ConsoleOutput>;

impl SerialPort {
    /// How many ports it takes.
    pub const PORTS: u16 = 8;

    /// A port that interrupts through `interrupt` and sends to `output`. `room` is written to when
    /// it can take input again that it could not take before.
    pub fn new(interrupt: EventFd, output: ConsoleOutput, room: EventFd) -> Self {
        let room = Arc::new(Room {
            wanted: AtomicBool::new(false),
            event: room,
        });
        let trigger = EventFdTrigger::new(interrupt);
        Self {
            uart: Mutex::new(Serial::with_events(trigger, room.clone(), output.clone())),
            output,
            room,
        }
    }

    /// Gives `bytes` to the guest. Returns how many fit in the receive FIFO; if not all, `room` is
    /// told when there is more.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut uart = self.lock();
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match uart.enqueue_raw_bytes(rest) {
                // In loopback mode the line is cut off.
                Ok(0) | Err(vm_superio::serial::Error::FullFifo) => break,
                Ok(count) => taken += count,
                Err(error) => {
                    log::error!("serial port: {error}");
                    break;
                }
            }
        }
        // Under the port's lock, under which the guest empties the FIFO: it cannot be missed.
        self.room.want(taken < bytes.len());
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Uart> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DevicePio for SerialPort {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let mut uart = self.lock();
        for (byte, register) in data.iter_mut().zip(offset..) {
            *byte = uart.read(u8::try_from(register).unwrap_or(u8::MAX));
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        if offset == DATA {
            self.output.wait_for_room();
        }
        let mut uart = self.lock();
        for (byte, register) in data.iter().zip(offset..) {
            if let Err(error) = uart.write(u8::try_from(register).unwrap_or(u8::MAX), *byte) {
                log::error!("serial port: {error}");
            }
            if register == MODEM_CONTROL {
                // The guest may have left loopback mode.
                self.room.tell();
            }
        }
    }
}

/// Who waits for room in the receive FIFO.
struct Room {
    wanted: AtomicBool,
    event: EventFd,
}

impl Room {
    /// Relaxed, here and below: the port's lock orders it.
    fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    fn tell(&self) {
        if self.wanted.load(Ordering::Relaxed)
            && let Err(error) = self.event.write(1)
        {
            log::error!("serial port: cannot ask for more input: {error}");
        }
    }
}

impl SerialEvents for Room {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::io::sink;

    use super::*;
    use crate::devices::PortBus;

    const BASE: u16 = 0x3f8;

    struct Fixture {
        port: Arc<SerialPort>,
        bus: PortBus,
        interrupt: EventFd,
        room: EventFd,
    }

    fn fixture() -> Fixture {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let room = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let output = ConsoleOutput::start(sink(), |error| panic!("{error}")).unwrap();
        let port = Arc::new(SerialPort::new(
            interrupt.try_clone().unwrap(),
            output,
            room.try_clone().unwrap(),
        ));
        let mut bus = PortBus::new();
        bus.register(BASE, SerialPort::PORTS, port.clone()).unwrap();
        Fixture {
            port,
            bus,
            interrupt,
            room,
        }
    }

    fn read(bus: &PortBus, register: u16) -> u8 {
        let mut byte = [0];
        bus.read(BASE + register, 1, &mut byte);
        byte[0]
    }

    #[test]
    fn input_interrupts_and_is_read_in_order() {
        let f = fixture();
        // Received Data Available interrupts.
        f.bus.write(BASE + 1, 1, &[1]);
        assert_eq!(f.port.receive(b"ab"), 2);
        assert_eq!(f.interrupt.read().unwrap(), 1);
        assert_eq!([read(&f.bus, 0), read(&f.bus, 0)], *b"ab");
        assert!(f.room.read().is_err(), "nobody waited for room");
    }

    #[test]
    fn a_full_fifo_tells_when_it_is_empty_again() {
        let f = fixture();
        assert_eq!(f.port.receive(&[7; 100]), 64);
        for _ in 0..63 {
            read(&f.bus, 0);
        }
        assert!(f.room.read().is_err(), "not empty yet");
        read(&f.bus, 0);
        assert!(f.room.read().is_ok());
        assert_eq!(f.port.receive(&[7; 36]), 36);
        for _ in 0..36 {
            read(&f.bus, 0);
        }
        assert!(f.room.read().is_err(), "nobody waits any more");
    }

    #[test]
    fn loopback_mode_takes_no_input_until_it_ends() {
        let f = fixture();
        f.bus.write(BASE + 4, 1, &[0x10]);
        assert_eq!(f.port.receive(b"ab"), 0);
        f.bus.write(BASE + 4, 1, &[0]);
        assert!(f.room.read().is_ok());
        assert_eq!(f.port.receive(b"ab"), 2);
    }

    #[test]
    fn a_wide_access_goes_to_neighbouring_registers() {
        let f = fixture();
        f.bus.write(BASE + 6, 2, &[0, 0x5a]);
        assert_eq!(read(&f.bus, 7), 0x5a, "scratch");
        let mut data = [0; 4];
        f.bus.read(BASE + 6, 4, &mut data);
        assert_eq!(data, [0xff; 4], "half of it is beyond the device");
    }
}

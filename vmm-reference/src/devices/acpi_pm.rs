// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! ACPI's fixed power management registers: the PM1a event and control blocks and the reset
//! register (ACPI 6.5, 4.8.3).
//!
//! There is no power button and no wake-up source, so the status register stays clear. What
//! matters is that the guest can switch itself off: it writes the sleep type of S5, which the
//! DSDT's `_S5` names, together with SLP_EN.

use std::sync::{Mutex, PoisonError};

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

/// What the guest asks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PmAction {
    /// Soft off, S5.
    PowerOff,
    /// A write of the reset value to the reset register.
    Reset,
}

/// PM1 control, bit 0: the machine is in ACPI mode. Always set: there is no other mode.
const SCI_EN: u16 = 1 << 0;
/// PM1 control, bits 10 to 12: the sleep type.
const SLP_TYP_SHIFT: u16 = 10;
const SLP_TYP_MASK: u16 = 0b111;
/// PM1 control, bit 13: go to sleep. Write-only, reads as zero.
const SLP_EN: u16 = 1 << 13;

/// Offsets from the first port.
const STATUS: u16 = 0;
const ENABLE: u16 = 2;
const CONTROL: u16 = 4;
const RESET: u16 = 6;

/// The registers, one after the other: PM1a_STS, PM1a_EN, PM1a_CNT (16 bits each) and the reset
/// register (8 bits).
pub struct AcpiPm {
    registers: Mutex<Registers>,
    power_off_type: u8,
    reset_value: u8,
    on_action: Box<dyn Fn(PmAction) + Send + Sync>,
}

#[derive(Default)]
struct Registers {
    enable: u16,
    control: u16,
}

impl AcpiPm {
    /// How many ports the registers take.
    pub const PORTS: u16 = 7;
    /// Where PM1a_EVT_BLK begins, from the first port.
    pub const EVENT_BLOCK: u16 = STATUS;
    /// Where PM1a_CNT_BLK begins, from the first port.
    pub const CONTROL_BLOCK: u16 = CONTROL;
    /// Where the reset register is, from the first port.
    pub const RESET_REGISTER: u16 = RESET;

    /// `power_off_type` is what the DSDT's `_S5` names, `reset_value` the FADT's RESET_VALUE.
    pub fn new(
        power_off_type: u8,
        reset_value: u8,
        on_action: impl Fn(PmAction) + Send + Sync + 'static,
    ) -> Self {
        Self {
            registers: Mutex::default(),
            power_off_type,
            reset_value,
            on_action: Box::new(on_action),
        }
    }

    fn read_byte(registers: &Registers, offset: u16) -> u8 {
        let (value, shift) = match offset {
            ENABLE | 3 => (registers.enable, offset & 1),
            CONTROL | 5 => (registers.control | SCI_EN, offset & 1),
            _ => (0, 0),
        };
        value.to_le_bytes()[usize::from(shift)]
    }

    fn write_byte(&self, registers: &mut Registers, offset: u16, byte: u8) -> Option<PmAction> {
        let register = match offset {
            ENABLE | 3 => &mut registers.enable,
            CONTROL | 5 => &mut registers.control,
            RESET => return (byte == self.reset_value).then_some(PmAction::Reset),
            // Status bits are cleared by writing ones; none is ever set.
            _ => return None,
        };
        let mut bytes = register.to_le_bytes();
        bytes[usize::from(offset & 1)] = byte;
        *register = u16::from_le_bytes(bytes);
        if offset & !1 != CONTROL || *register & SLP_EN == 0 {
            return None;
        }
        registers.control &= !SLP_EN;
        let kind = registers.control >> SLP_TYP_SHIFT & SLP_TYP_MASK;
        if kind == u16::from(self.power_off_type) {
            return Some(PmAction::PowerOff);
        }
        log::warn!("the guest asks for sleep type {kind}, which the ACPI tables do not offer");
        None
    }
}

impl DevicePio for AcpiPm {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let registers = self
            .registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (byte, offset) in data.iter_mut().zip(offset..) {
            *byte = Self::read_byte(&registers, offset);
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let mut action = None;
        {
            let mut registers = self
                .registers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for (&byte, offset) in data.iter().zip(offset..) {
                action = action.or(self.write_byte(&mut registers, offset, byte));
            }
        }
        if let Some(action) = action {
            (self.on_action)(action);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::devices::PortBus;

    const BASE: u16 = 0x600;

    fn device() -> (PortBus, Arc<Mutex<Vec<PmAction>>>) {
        let actions = Arc::new(Mutex::new(Vec::new()));
        let seen = actions.clone();
        let device = AcpiPm::new(5, 0x01, move |action| seen.lock().unwrap().push(action));
        let mut bus = PortBus::new();
        bus.register(BASE, AcpiPm::PORTS, Arc::new(device)).unwrap();
        (bus, actions)
    }

    fn read_u16(bus: &PortBus, port: u16) -> u16 {
        let mut data = [0; 2];
        bus.read(port, 2, &mut data);
        u16::from_le_bytes(data)
    }

    #[test]
    fn sleep_type_5_with_slp_en_powers_off() {
        let (bus, actions) = device();
        let off: u16 = 5 << 10 | 1 << 13;
        bus.write(BASE + 4, 2, &(5u16 << 10).to_le_bytes());
        assert!(actions.lock().unwrap().is_empty(), "SLP_EN is not set yet");
        bus.write(BASE + 4, 2, &off.to_le_bytes());
        assert_eq!(*actions.lock().unwrap(), [PmAction::PowerOff]);
    }

    #[test]
    fn other_sleep_types_do_nothing_and_slp_en_reads_as_zero() {
        let (bus, actions) = device();
        for kind in [0u16, 1, 3, 4, 6, 7] {
            bus.write(BASE + 4, 2, &(kind << 10 | 1 << 13).to_le_bytes());
        }
        assert!(actions.lock().unwrap().is_empty());
        assert_eq!(read_u16(&bus, BASE + 4), 7 << 10 | 1);
    }

    #[test]
    fn the_reset_register_takes_one_value() {
        let (bus, actions) = device();
        bus.write(BASE + 6, 1, &[0x02]);
        assert!(actions.lock().unwrap().is_empty());
        bus.write(BASE + 6, 1, &[0x01]);
        assert_eq!(*actions.lock().unwrap(), [PmAction::Reset]);
    }

    #[test]
    fn acpi_mode_is_on_status_is_clear_and_enable_is_kept() {
        let (bus, _) = device();
        bus.write(BASE, 2, &[0xff, 0xff]);
        assert_eq!(read_u16(&bus, BASE), 0);
        bus.write(BASE + 2, 2, &[0x20, 0x01]);
        assert_eq!(read_u16(&bus, BASE + 2), 0x0120);
        assert_eq!(read_u16(&bus, BASE + 4) & 1, 1);
    }

    #[test]
    fn registers_can_be_written_byte_by_byte_or_across() {
        let (bus, actions) = device();
        bus.write(BASE + 5, 1, &[(5u16 << 10 | 1 << 13).to_le_bytes()[1]]);
        assert_eq!(*actions.lock().unwrap(), [PmAction::PowerOff]);
        bus.write(BASE + 2, 4, &[1, 0, 0, 5 << 2 | 1 << 5]);
        assert_eq!(actions.lock().unwrap().len(), 2);
    }
}

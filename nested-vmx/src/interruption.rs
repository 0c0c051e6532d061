// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Events as VMX writes them: the interruption-information format that VM-entry injection,
//! VM-exit interruption information and IDT-vectoring information share (SDM volume 3, sections
//! 26.8.3, 26.9.2 and 26.9.3).

use core::fmt;

/// What kind of event it is: bits 10:8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventType {
    /// An external interrupt.
    ExternalInterrupt = 0,
    /// Reserved.
    Reserved = 1,
    /// A non-maskable interrupt.
    Nmi = 2,
    /// A hardware exception.
    HardwareException = 3,
    /// A software interrupt: INT n.
    SoftwareInterrupt = 4,
    /// A privileged software exception: INT1.
    PrivilegedSoftwareException = 5,
    /// A software exception: INT3 or INTO.
    SoftwareException = 6,
    /// Another event: a pending MTF VM exit, with vector 0.
    Other = 7,
}

impl EventType {
    /// The type with this number (three bits; others are ignored).
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::ExternalInterrupt,
            1 => Self::Reserved,
            2 => Self::Nmi,
            3 => Self::HardwareException,
            4 => Self::SoftwareInterrupt,
            5 => Self::PrivilegedSoftwareException,
            6 => Self::SoftwareException,
            _ => Self::Other,
        }
    }

    /// Whether it comes from an instruction, whose length is then needed to deliver it.
    pub const fn is_software(self) -> bool {
        matches!(
            self,
            Self::SoftwareInterrupt | Self::PrivilegedSoftwareException | Self::SoftwareException
        )
    }
}

/// An event that is to be delivered, or was on its way when a VM exit came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// What kind it is.
    pub kind: EventType,
    /// Its vector.
    pub vector: u8,
    /// The error code that is pushed, if one is.
    pub error_code: Option<u32>,
    /// The length in bytes of the instruction that it comes from; 0 for events that come from
    /// none.
    pub instruction_length: u32,
}

/// Bit 31: there is an event.
const VALID: u32 = 1 << 31;
/// Bit 11: an error code is delivered.
const ERROR_CODE: u32 = 1 << 11;

impl Event {
    /// A non-maskable interrupt.
    pub const NMI: Self = Self::new(EventType::Nmi, 2);

    /// An event of this kind and vector, without error code and instruction.
    pub const fn new(kind: EventType, vector: u8) -> Self {
        Self {
            kind,
            vector,
            error_code: None,
            instruction_length: 0,
        }
    }

    /// An external interrupt.
    pub const fn external_interrupt(vector: u8) -> Self {
        Self::new(EventType::ExternalInterrupt, vector)
    }

    /// A hardware exception.
    pub const fn exception(vector: u8, error_code: Option<u32>) -> Self {
        Self {
            kind: EventType::HardwareException,
            vector,
            error_code,
            instruction_length: 0,
        }
    }

    /// From the three fields that hold an event. `None` if bit 31 of `information` is 0. Reserved
    /// bits are ignored.
    pub const fn from_fields(information: u32, error_code: u32, length: u32) -> Option<Self> {
        if information & VALID == 0 {
            return None;
        }
        let kind = EventType::from_bits(information >> 8);
        Some(Self {
            kind,
            vector: information as u8,
            error_code: match information & ERROR_CODE {
                0 => None,
                _ => Some(error_code),
            },
            instruction_length: match kind.is_software() {
                true => length,
                false => 0,
            },
        })
    }

    /// The interruption-information field for it, bit 31 set.
    pub const fn information(&self) -> u32 {
        let error_code = match self.error_code {
            Some(_) => ERROR_CODE,
            None => 0,
        };
        VALID | error_code | (self.kind as u32) << 8 | self.vector as u32
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:#x}", self.kind, self.vector)?;
        match self.error_code {
            Some(code) => write!(f, " (error code {code:#x})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for kind in 0..8 {
            for vector in [0, 2, 14, 255] {
                for error_code in [None, Some(0), Some(0xffff)] {
                    let kind = EventType::from_bits(kind);
                    let event = Event {
                        kind,
                        vector,
                        error_code,
                        instruction_length: if kind.is_software() { 2 } else { 0 },
                    };
                    let read = Event::from_fields(event.information(), error_code.unwrap_or(9), 2);
                    assert_eq!(read, Some(event));
                }
            }
        }
        assert_eq!(Event::from_fields(0x7fff_ffff, 0, 0), None);
    }
}

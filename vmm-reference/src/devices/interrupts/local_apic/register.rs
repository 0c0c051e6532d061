// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which registers there are, where they are, and what an x2APIC permits with them.

use super::icr;
use super::lvt::Entry;
use super::timer::DIVIDE_BITS;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Id,
    Version,
    TaskPriority,
    ArbitrationPriority,
    ProcessorPriority,
    EndOfInterrupt,
    RemoteRead,
    LogicalDestination,
    DestinationFormat,
    Spurious,
    /// One of eight, as are the next two.
    InService(u8),
    LevelTriggered(u8),
    Requested(u8),
    ErrorStatus,
    CommandLow,
    CommandHigh,
    Local(Entry),
    InitialCount,
    CurrentCount,
    Divide,
    SelfIpi,
}

/// The bits of the spurious-interrupt vector register: the vector, the software's enable, and one of
/// old processors that still is written.
pub(super) const SPURIOUS_BITS: u32 = 0x3ff;

impl Register {
    /// By the offset into an xAPIC's page, divided by 16.
    pub(super) fn of_xapic(slot: u64) -> Option<Self> {
        let slot = u8::try_from(slot).ok()?;
        Self::at(slot).filter(|register| *register != Self::SelfIpi)
    }

    /// By the MSR's number, less 0x800.
    pub(super) fn of_x2apic(slot: u8) -> Option<Self> {
        Self::at(slot).filter(|register| {
            !matches!(
                register,
                Self::ArbitrationPriority
                    | Self::RemoteRead
                    | Self::DestinationFormat
                    | Self::CommandHigh
            )
        })
    }

    fn at(slot: u8) -> Option<Self> {
        Some(match slot {
            0x02 => Self::Id,
            0x03 => Self::Version,
            0x08 => Self::TaskPriority,
            0x09 => Self::ArbitrationPriority,
            0x0a => Self::ProcessorPriority,
            0x0b => Self::EndOfInterrupt,
            0x0c => Self::RemoteRead,
            0x0d => Self::LogicalDestination,
            0x0e => Self::DestinationFormat,
            0x0f => Self::Spurious,
            0x10..=0x17 => Self::InService(slot - 0x10),
            0x18..=0x1f => Self::LevelTriggered(slot - 0x18),
            0x20..=0x27 => Self::Requested(slot - 0x20),
            0x28 => Self::ErrorStatus,
            0x30 => Self::CommandLow,
            0x31 => Self::CommandHigh,
            0x32 => Self::Local(Entry::Timer),
            0x33 => Self::Local(Entry::Thermal),
            0x34 => Self::Local(Entry::Performance),
            0x35 => Self::Local(Entry::Lint0),
            0x36 => Self::Local(Entry::Lint1),
            0x37 => Self::Local(Entry::Error),
            0x38 => Self::InitialCount,
            0x39 => Self::CurrentCount,
            0x3e => Self::Divide,
            0x3f => Self::SelfIpi,
            _ => return None,
        })
    }

    /// Whether RDMSR does not fault.
    pub(super) fn is_readable(self) -> bool {
        !matches!(self, Self::EndOfInterrupt | Self::SelfIpi)
    }

    /// The bits that may be set in what WRMSR writes. `None`: it faults.
    pub(super) fn permitted(self) -> Option<u64> {
        Some(match self {
            Self::TaskPriority | Self::SelfIpi => 0xff,
            Self::EndOfInterrupt | Self::ErrorStatus => 0,
            Self::Spurious => SPURIOUS_BITS.into(),
            // An old driver may write the delivery status, which there is none of.
            Self::CommandLow => u64::MAX << 32 | u64::from(icr::WRITABLE_LOW | 1 << 12),
            Self::Local(entry) => entry.permitted().into(),
            Self::InitialCount => u32::MAX.into(),
            Self::Divide => DIVIDE_BITS.into(),
            _ => return None,
        })
    }
}

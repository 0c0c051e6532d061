// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What travels between interrupt controllers.

/// An interrupt message: from a line of the I/O APIC, from a device (MSI), or an interprocessor
/// interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// Whom it is for. In a field of 8 bits, 0xff is everyone.
    pub destination: u32,
    /// Whether `destination` names logical destinations instead of an APIC's id.
    pub logical: bool,
    /// What it does where it arrives.
    pub mode: DeliveryMode,
    /// The vector of a fixed interrupt, the page of a start-up.
    pub vector: u8,
    /// Whether its end has to be told to the I/O APIC.
    pub level_triggered: bool,
}

/// What a message does where it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Interrupts each destination with the vector.
    Fixed,
    /// Interrupts one of the destinations with the vector: the same, where there is one processor.
    LowestPriority,
    /// A system management interrupt.
    Smi,
    /// A non-maskable interrupt.
    Nmi,
    /// Resets the processor.
    Init,
    /// Starts the processor after an INIT.
    StartUp,
    /// The 8259's interrupt: the processor asks that one for the vector.
    ExtInt,
}

impl DeliveryMode {
    /// From bits 8 to 10 of a redirection entry, the local vector table or the interrupt command
    /// register, which agree about them. The reserved one is nothing.
    pub(super) fn of_word(word: u32) -> Option<Self> {
        Some(match word >> 8 & 0b111 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::ExtInt,
            _ => return None,
        })
    }

    /// Whether the message interrupts with its own vector.
    pub(super) fn has_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// The vector in the low byte of a word.
pub(super) fn vector_of(word: u32) -> u8 {
    let [vector, ..] = word.to_le_bytes();
    vector
}

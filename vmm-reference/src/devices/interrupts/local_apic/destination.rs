// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a message's destination is this APIC.

use super::LocalApic;
use crate::devices::interrupts::message::InterruptMessage;

/// The id of the only processor.
const ID: u32 = 0;

/// Everyone, in a destination of 8 bits and in one of 32.
const EVERYONE_NARROW: u32 = 0xff;
const EVERYONE: u32 = u32::MAX;

/// The models of logical destinations, in the upper bits of the destination format register.
const MODEL_SHIFT: u32 = 28;
const FLAT: u32 = 0b1111;
const CLUSTER: u32 = 0b0000;

/// The writable bits of xAPIC's logical destination and destination format registers. The others
/// read as zeros of the one and as ones of the other.
const LOGICAL_BITS: u32 = 0xff << LOGICAL_SHIFT;
const LOGICAL_SHIFT: u32 = 24;
const FORMAT_BITS: u32 = 0xf << MODEL_SHIFT;

/// x2APIC's logical id of id 0: the first processor of the first cluster.
const X2APIC_LOGICAL: u32 = (ID >> 4) << 16 | 1 << (ID & 0xf);

impl LocalApic {
    /// Whether the message of another device is for this APIC.
    pub(super) fn is_addressed_by(&self, message: &InterruptMessage) -> bool {
        // Other devices know 8 bits of destinations, whatever kind of APIC this is, and nobody
        // has the id 0xff.
        message.destination == EVERYONE_NARROW
            || self.is_addressed(message.destination, message.logical)
    }

    /// Whether a destination that this APIC itself names is itself.
    pub(super) fn is_addressed(&self, destination: u32, logical: bool) -> bool {
        let x2apic = self.base.is_x2apic();
        let everyone = if x2apic { EVERYONE } else { EVERYONE_NARROW };
        if destination == everyone {
            true
        } else if !logical {
            destination == ID
        } else if x2apic {
            let (cluster, members) = (destination >> 16, destination & 0xffff);
            cluster == X2APIC_LOGICAL >> 16 && members & X2APIC_LOGICAL != 0
        } else {
            self.is_addressed_by_xapic_logical(destination)
        }
    }

    fn is_addressed_by_xapic_logical(&self, destination: u32) -> bool {
        let own = self.logical_destination >> LOGICAL_SHIFT;
        match self.destination_format >> MODEL_SHIFT {
            FLAT => destination <= EVERYONE_NARROW && destination & own != 0,
            CLUSTER => destination >> 4 == own >> 4 && destination & own & 0xf != 0,
            _ => false,
        }
    }

    /// The id register.
    pub(super) fn id_register(&self) -> u32 {
        if self.base.is_x2apic() { ID } else { ID << 24 }
    }

    /// The logical destination register.
    pub(super) fn logical_destination_register(&self) -> u32 {
        if self.base.is_x2apic() {
            X2APIC_LOGICAL
        } else {
            self.logical_destination
        }
    }

    pub(super) fn set_logical_destination(&mut self, value: u32) {
        self.logical_destination = value & LOGICAL_BITS;
    }

    pub(super) fn set_destination_format(&mut self, value: u32) {
        self.destination_format = value | !FORMAT_BITS;
    }
}

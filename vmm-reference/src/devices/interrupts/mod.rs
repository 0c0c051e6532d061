// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The interrupt controllers of a PC with one processor, for a machine whose hypervisor has none of
//! them: plain state machines that know no threads, no clock and no other device.
//!
//! Whoever owns them carries what one tells the other: an [`IoApic`]'s messages to the [`LocalApic`],
//! and the ends of its level-triggered interrupts back. The time is given with each call as a [`Now`].

mod io_apic;
mod local_apic;
mod message;
mod now;
mod pic;
mod register_bytes;
mod vector_set;

pub use io_apic::IoApic;
pub use local_apic::{ApicMsrFault, Lint, LocalApic, Signals};
pub use message::{DeliveryMode, InterruptMessage};
pub use now::Now;
pub use pic::Pics;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's extended page tables (EPT12): what L1 makes of L2's guest-physical addresses (SDM volume 3,
//! section 30.3).
//!
//! [`Ept::translate`] is what the processor would do for one access, in L1's memory: a translation,
//! with accessed and dirty flags set, or what L1 is told in its place. [`ShadowEntry`] is what L0
//! makes of the translation for its own tables, which the processor uses while L2 runs.

mod access;
mod entry;
mod eptp;
mod fault;
mod flags;
mod invalidation;
mod level;
mod log;
mod shadow;
mod translate;
mod virtualization_exception;
mod walk;

pub use access::{Access, AccessKind, LinearPage, Origin};
pub use entry::{Entry, MemoryType, Permissions};
pub use eptp::{Eptp, EptpError};
pub use fault::{EptFault, Misconfiguration, Violation};
pub use invalidation::Invalidation;
pub use level::PageSize;
pub use log::PageModificationLog;
pub use shadow::{HostPage, ShadowEntry};
pub use translate::{Ept, Translation};
pub use virtualization_exception::VirtualizationException;

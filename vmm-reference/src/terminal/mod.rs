// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The terminal that the guest's console is shown on.

mod escape;
mod raw;

pub use escape::{Command, EscapeKeys};
pub use raw::{RawTerminal, restore_on_panic};

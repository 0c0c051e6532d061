// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The devices that KVM does not emulate itself: a serial port, the keyboard controller's reset
//! line, ACPI's power management registers, and what little programs expect of a PC (CMOS memory,
//! A20, QEMU's firmware configuration, a port that ends a test), on a bus of I/O ports. There is no PCI bus: its ports read as all
//! ones, like all that nobody has.
//!
//! The interrupt controllers and the timer are KVM's own, but for guests with VMX in software
//! ([`crate::soft`]): theirs are here. Nothing here trusts the guest: any port, any access size, any
//! number of elements is answered.

mod acpi_pm;
mod cmos;
mod console_input;
mod console_output;
mod debug_exit;
mod fd_sink;
mod fw_cfg;
mod i8042;
pub mod interrupts;
mod pit;
mod port_bus;
mod serial;
mod system_control;
mod trigger;

pub use acpi_pm::{AcpiPm, PmAction};
pub use cmos::Cmos;
pub use console_input::ConsoleInput;
pub use console_output::{ConsoleOutput, Unwritten};
pub use debug_exit::DebugExit;
pub use fd_sink::FdSink;
pub use fw_cfg::FwCfg;
pub use i8042::I8042;
pub use pit::Pit;
pub use port_bus::PortBus;
pub use serial::SerialPort;
pub use system_control::SystemControl;
pub use trigger::{EventFdTrigger, FnTrigger};

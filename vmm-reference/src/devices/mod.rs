// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The devices that KVM does not emulate itself: a serial port, the keyboard controller's reset
//! line and ACPI's power management registers, on a bus of I/O ports.
//!
//! The interrupt controllers and the timer are KVM's own. Nothing here trusts
//! the guest: any port, any access size, any number of elements is answered.

mod acpi_pm;
mod console_input;
mod console_output;
mod fd_sink;
mod i8042;
mod port_bus;
mod serial;
mod trigger;

pub use acpi_pm::{AcpiPm, PmAction};
pub use console_input::ConsoleInput;
pub use console_output::{ConsoleOutput, Unwritten};
pub use fd_sink::FdSink;
pub use i8042::I8042;
pub use port_bus::PortBus;
pub use serial::SerialPort;
pub use trigger::{EventFdTrigger, FnTrigger};

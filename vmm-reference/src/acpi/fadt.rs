// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The FADT: the registers of power management, and what this PC does not have.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::layout;

/// IA-PC boot architecture flags (ACPI 6.5, 5.2.9.3). The flag of the keyboard controller is not
/// among them: it only serves to reset the machine, and no keyboard is to be looked for.
mod boot_arch {
    /// There are devices on an ISA-like bus: the serial port.
    pub(super) const LEGACY_DEVICES: u16 = 1 << 0;
    pub(super) const NO_VGA: u16 = 1 << 2;
    pub(super) const NO_RTC: u16 = 1 << 5;
}

pub(super) fn fadt(facs: u64, dsdt: u64) -> FADT {
    let io = |port: u16, len: u8, access| {
        GAS::new(AddressSpace::SystemIo, len * 8, 0, access, port.into())
    };
    let (event, control) = (layout::PM1A_EVENT_PORT, layout::PM1A_CONTROL_PORT);
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .firmware_ctrl_64(facs)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        // No buttons and no alarm among the fixed registers.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        // Caches are coherent, C1 works on all processors.
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    table.sci_int = u16::from(layout::SCI_IRQ).into();
    // No SMI command port: the machine is in ACPI mode from the start.
    table.pm1a_evt_blk = u32::from(event).into();
    table.pm1_evt_len = layout::PM1_EVENT_LEN;
    table.x_pm1a_evt_blk = io(event, layout::PM1_EVENT_LEN, AccessSize::WordAccess);
    table.pm1a_cnt_blk = u32::from(control).into();
    table.pm1_cnt_len = layout::PM1_CONTROL_LEN;
    table.x_pm1a_cnt_blk = io(control, layout::PM1_CONTROL_LEN, AccessSize::WordAccess);
    table.reset_reg = io(layout::ACPI_RESET_PORT, 1, AccessSize::ByteAccess);
    table.reset_value = layout::ACPI_RESET_VALUE;
    // Deeper idle states than C1 are not there: these latencies say so.
    table.p_lvl2_lat = 101.into();
    table.p_lvl3_lat = 1001.into();
    table.iapc_boot_arch =
        (boot_arch::LEGACY_DEVICES | boot_arch::NO_VGA | boot_arch::NO_RTC).into();
    table.finalize()
}

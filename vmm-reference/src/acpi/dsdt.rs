// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The DSDT: the serial port, the ports of power management, and how to switch off.

use acpi_tables::Aml;
use acpi_tables::aml::{Device, EISAName, IO, Interrupt, Name, Package, ResourceTemplate};
use acpi_tables::sdt::Sdt;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, bytes_of};
use crate::devices::AcpiPm;
use crate::layout;

const HEADER_LEN: u32 = 36;
const REVISION: u8 = 2;

pub(super) fn dsdt() -> Sdt {
    let mut table = Sdt::new(
        *b"DSDT",
        HEADER_LEN,
        REVISION,
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
    );
    let (com1, pm) = (layout::COM1_PORT, layout::ACPI_PM_PORT);
    let serial_port = device(
        "\\_SB_.COM1",
        "PNP0501",
        vec![
            &IO::new(com1, com1, 1, layout::COM1_PORT_COUNT as u8),
            &Interrupt::new(true, true, false, false, layout::COM1_IRQ),
        ],
    );
    // "Motherboard resources": the guest is to place nothing there.
    let power_management = device(
        "\\_SB_.PMIO",
        "PNP0C02",
        vec![&IO::new(pm, pm, 1, AcpiPm::PORTS as u8)],
    );
    table.append_slice(&serial_port);
    table.append_slice(&power_management);

    // What to write to PM1a's and PM1b's sleep type; there is no PM1b.
    let off = Package::new(vec![&layout::S5_SLP_TYP, &0u8, &0u8, &0u8]);
    table.append_slice(&bytes_of(&Name::new("\\_S5_".into(), &off)));
    table
}

/// The only device of its kind, with these resources.
fn device(path: &str, id: &str, resources: Vec<&dyn Aml>) -> Vec<u8> {
    bytes_of(&Device::new(
        path.into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new(id)),
            &Name::new("_UID".into(), &1u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(resources)),
        ],
    ))
}

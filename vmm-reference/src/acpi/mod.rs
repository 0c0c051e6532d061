// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The ACPI tables: how many processors, where the interrupt controllers are, how to switch off
//! and reset, and that there is one serial port.
//!
//! The machine is not "hardware-reduced": it has the PC's interrupt controllers and timer (KVM
//! emulates them), and a hardware-reduced Linux would ignore those. It has no PCI bus, no VGA, no
//! real-time clock and no keyboard, and says so, so that no driver looks for them.
//!
//! All tables are in one run of bytes from [`layout::ACPI`] on, the RSDP first.

mod dsdt;
mod fadt;
mod madt;

#[cfg(test)]
mod tests;

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;

use crate::layout;

const OEM_ID: [u8; 6] = *b"RUSTVM";
const OEM_TABLE_ID: [u8; 8] = *b"VMMREFER";
const OEM_REVISION: u32 = 1;

/// The FACS must lie on a multiple of 64; the others may too.
const ALIGNMENT: usize = 64;

/// The tables for `vcpus` processors, to be written at [`layout::ACPI`]'s start, where the RSDP
/// then is.
pub fn tables(vcpus: u8) -> Vec<u8> {
    let mut tables = Tables {
        // The RSDP comes last, when all addresses are known, and goes first.
        bytes: vec![0; Rsdp::len()],
    };
    let facs = tables.push(&FACS::new());
    let dsdt = tables.push(&dsdt::dsdt());
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(tables.push(&fadt::fadt(facs, dsdt)));
    xsdt.add_entry(tables.push(&madt::madt(vcpus)));
    let xsdt = tables.push(&xsdt);
    let rsdp = bytes_of(&Rsdp::new(OEM_ID, xsdt));
    tables.bytes[..rsdp.len()].copy_from_slice(&rsdp);
    tables.bytes
}

struct Tables {
    bytes: Vec<u8>,
}

impl Tables {
    /// Adds a table and returns its address.
    fn push(&mut self, table: &dyn Aml) -> u64 {
        let at = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(at, 0);
        table.to_aml_bytes(&mut self.bytes);
        layout::ACPI.start + at as u64
    }
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

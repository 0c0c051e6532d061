// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The tables are walked as an operating system does, from the RSDP on.

use super::*;
use crate::config::MAX_VCPUS;

struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    fn at(&self, address: u64, len: usize) -> &[u8] {
        let start = usize::try_from(address - layout::ACPI.start).unwrap();
        &self.bytes[start..start + len]
    }

    fn u32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.at(address, 4).try_into().unwrap())
    }

    fn u64(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.at(address, 8).try_into().unwrap())
    }

    /// A table with a valid checksum.
    fn table(&self, address: u64, signature: &[u8; 4]) -> &[u8] {
        let table = self.at(address, self.u32(address + 4) as usize);
        assert_eq!(&table[..4], signature);
        assert_eq!(sum(table), 0, "checksum of {signature:?}");
        table
    }

    fn xsdt_entry(&self, index: u64) -> u64 {
        let xsdt = self.u64(layout::ACPI.start + 24);
        assert_eq!(self.table(xsdt, b"XSDT").len(), 36 + 2 * 8);
        self.u64(xsdt + 36 + index * 8)
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn reader(vcpus: u8) -> Reader {
    Reader {
        bytes: tables(vcpus),
    }
}

#[test]
fn the_largest_tables_fit_their_place() {
    let len = tables(MAX_VCPUS).len() as u64;
    assert!(len <= layout::ACPI.end - layout::ACPI.start, "{len}");
}

#[test]
fn the_fadt_names_the_registers_of_the_device() {
    let tables = reader(1);
    assert_eq!(&tables.at(layout::ACPI.start, 8), b"RSD PTR ");
    assert_eq!(sum(tables.at(layout::ACPI.start, 20)), 0);
    assert_eq!(sum(tables.at(layout::ACPI.start, 36)), 0);

    let fadt = tables.xsdt_entry(0);
    let bytes = tables.table(fadt, b"FACP");
    assert_eq!(tables.u32(fadt + 56), u32::from(layout::PM1A_EVENT_PORT));
    assert_eq!(tables.u32(fadt + 64), u32::from(layout::PM1A_CONTROL_PORT));
    assert_eq!((bytes[88], bytes[89]), (4, 2));
    assert_eq!(tables.u64(fadt + 120), u64::from(layout::ACPI_RESET_PORT));
    assert_eq!(bytes[128], layout::ACPI_RESET_VALUE);
    let facs = tables.u64(fadt + 132);
    assert_eq!(facs % 64, 0);
    assert_eq!(tables.at(facs, 4), b"FACS");
    tables.table(tables.u64(fadt + 140), b"DSDT");
}

#[test]
fn the_madt_has_a_local_apic_for_each_vcpu() {
    for vcpus in [1, 2, 254] {
        let tables = reader(vcpus);
        let madt = tables.table(tables.xsdt_entry(1), b"APIC");
        let mut ids = Vec::new();
        let mut kinds = Vec::new();
        let mut rest = &madt[44..];
        while let [kind, len, ..] = *rest {
            if kind == 0 {
                assert_eq!(rest[4..8], [1, 0, 0, 0]);
                ids.push(rest[3]);
            }
            kinds.push(kind);
            rest = &rest[usize::from(len)..];
        }
        assert!(ids.into_iter().eq(0..vcpus));
        kinds.dedup();
        assert_eq!(kinds, [0, 1, 2, 4]);
    }
}

/// `\_S5` is a package whose first element is what the device takes for "off".
#[test]
fn the_dsdt_names_the_sleep_type() {
    let tables = reader(1);
    let fadt = tables.xsdt_entry(0);
    let dsdt = tables.table(tables.u64(fadt + 140), b"DSDT");
    let at = dsdt.windows(4).position(|name| name == b"_S5_").unwrap();
    // Package, its length, four elements, a byte. (Zeros have an opcode of their own.)
    assert_eq!(dsdt[at + 4..at + 9], [0x12, 7, 4, 0x0a, layout::S5_SLP_TYP]);
    assert!(dsdt.windows(4).any(|name| name == b"COM1"));
}

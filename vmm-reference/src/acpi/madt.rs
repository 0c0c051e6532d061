// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The MADT: a local APIC for each vCPU, one I/O APIC, and how the PC's interrupt lines reach it.

use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::sdt::Sdt;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, bytes_of};
use crate::layout;

const HEADER_LEN: u32 = 36;
const REVISION: u8 = 5;
/// There are two 8259 interrupt controllers too.
const PCAT_COMPAT: u32 = 1;
/// KVM's I/O APIC.
const IO_APIC_ID: u8 = 0;

/// The timer is on line 2 of the I/O APIC, as on every PC.
const TIMER: Override = Override {
    isa_irq: 0,
    line: 2,
    flags: Override::AS_ISA,
};
/// ACPI's interrupt is level-triggered and active-high, as KVM's lines are.
const SCI: Override = Override {
    isa_irq: layout::SCI_IRQ,
    line: layout::SCI_IRQ as u32,
    flags: Override::LEVEL | Override::ACTIVE_HIGH,
};

pub(super) fn madt(vcpus: u8) -> Sdt {
    let mut table = Sdt::new(
        *b"APIC",
        HEADER_LEN,
        REVISION,
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
    );
    table.append_slice(&layout::LOCAL_APIC.to_le_bytes());
    table.append_slice(&PCAT_COMPAT.to_le_bytes());
    for id in 0..vcpus {
        let cpu = ProcessorLocalApic::new(id, id, EnabledStatus::Enabled);
        table.append_slice(&bytes_of(&cpu));
    }
    table.append_slice(&bytes_of(&IoApic::new(IO_APIC_ID, layout::IO_APIC, 0)));
    table.append_slice(&TIMER.encode());
    table.append_slice(&SCI.encode());
    table.append_slice(&local_apic_nmi());
    table
}

/// An interrupt source override (ACPI 6.5, 5.2.12.5), which acpi_tables does not have.
struct Override {
    isa_irq: u8,
    line: u32,
    flags: u16,
}

impl Override {
    const AS_ISA: u16 = 0;
    const ACTIVE_HIGH: u16 = 0b01;
    const LEVEL: u16 = 0b11 << 2;

    fn encode(&self) -> [u8; 10] {
        let [l0, l1, l2, l3] = self.line.to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        [2, 10, 0, self.isa_irq, l0, l1, l2, l3, f0, f1]
    }
}

/// Input 1 of every local APIC is the NMI (5.2.12.7), as on every PC.
fn local_apic_nmi() -> [u8; 6] {
    const ALL_PROCESSORS: u8 = 0xff;
    [4, 6, ALL_PROCESSORS, 0, 0, 1]
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest-physical address space and the I/O ports: what is where, once for all modules.
//!
//! ```text
//! 0x0000_0500  GDT that the kernel is entered with (all protocols)
//! 0x0000_6000  PVH: start info, list of modules, memory map; multiboot: the like
//! 0x0000_7000  64-bit protocol: boot parameters ("zero page")
//! 0x0000_8ff0  boot stack, growing down
//! 0x0000_9000  page tables that map the first 4 GiB to themselves, up to 0xf000
//! 0x0002_0000  kernel command line
//! 0x0009_fc00  end of low memory (640 KiB, less the 1 KiB of an EBDA)
//! 0x000e_0000  ACPI tables, the RSDP first, up to 1 MiB
//! 0x0010_0000  high memory: the kernel where it wants to be, the initrd as high as possible
//! 0xc000_0000  gap for devices: I/O APIC, local APICs, KVM's own pages
//! 0x1_0000_0000  the rest of the memory
//! ```

use std::ops::{Range, RangeInclusive};

use vm_memory::{Address, GuestMemoryRegion};

use crate::devices::{AcpiPm, Cmos, FwCfg, SerialPort, SystemControl};

/// The global descriptor table at boot.
pub const BOOT_GDT: u64 = 0x500;
/// PVH: `hvm_start_info`.
pub const PVH_START_INFO: u64 = 0x6000;
/// PVH: the list of modules (the initrd).
pub const PVH_MODULES: u64 = 0x6100;
/// PVH: the memory map.
pub const PVH_MEMORY_MAP: u64 = 0x6200;
/// Multiboot: the information structure. (A kernel is entered by one protocol only.)
pub const MULTIBOOT_INFO: u64 = 0x6000;
/// Multiboot: the boot loader's name.
pub const MULTIBOOT_LOADER_NAME: u64 = 0x6080;
/// Multiboot: the list of modules (the initrd).
pub const MULTIBOOT_MODULES: u64 = 0x6100;
/// Multiboot: the memory map.
pub const MULTIBOOT_MEMORY_MAP: u64 = 0x6200;
/// Linux's boot parameters.
pub const ZERO_PAGE: u64 = 0x7000;
/// The stack pointer at boot.
pub const BOOT_STACK: u64 = 0x8ff0;
/// The page-map level-4 table; the tables below it follow.
pub const BOOT_PML4: u64 = 0x9000;
/// The kernel command line.
pub const CMDLINE: u64 = 0x2_0000;
/// The first byte that is no low memory.
pub const LOW_MEMORY_END: u64 = 0x9_fc00;
/// ACPI tables. A guest that is told nothing finds the RSDP here too.
pub const ACPI: Range<u64> = 0xe_0000..HIMEM_START;
/// The start of high memory.
pub const HIMEM_START: u64 = 0x10_0000;

/// No memory here, but devices.
pub const MMIO_GAP: Range<u64> = 0xc000_0000..0x1_0000_0000;
/// The I/O APIC that KVM emulates.
pub const IO_APIC: u32 = 0xfec0_0000;
/// The local APICs that KVM emulates.
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// For `KVM_SET_IDENTITY_MAP_ADDR`: a page that KVM uses on hosts without unrestricted guests.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// For `KVM_SET_TSS_ADDR`: three pages that KVM uses there.
pub const KVM_TSS: u64 = 0xfffb_d000;

/// COM1's first port.
pub const COM1_PORT: u16 = 0x3f8;
/// COM1's ports.
pub const COM1_PORT_COUNT: u16 = 8;
/// COM1's interrupt line.
pub const COM1_IRQ: u32 = 4;
/// The keyboard controller's data port.
pub const I8042_DATA_PORT: u16 = 0x60;
/// The keyboard controller's command port.
pub const I8042_COMMAND_PORT: u16 = 0x64;
/// The CMOS memory's index port; its data port follows.
pub const CMOS_PORT: u16 = 0x70;
/// QEMU's firmware configuration device.
pub const FW_CFG_PORT: u16 = 0x510;
/// System control port A.
pub const SYSTEM_CONTROL_PORT: u16 = 0x92;

/// The first port of ACPI's power management registers, see [`crate::devices::AcpiPm`].
pub const ACPI_PM_PORT: u16 = 0x600;
/// ACPI PM1a event block: status (16 bits, a written 1 clears) and enable (16 bits, kept as
/// written: the guest reads back what it enables).
pub const PM1A_EVENT_PORT: u16 = ACPI_PM_PORT + AcpiPm::EVENT_BLOCK;
/// Length of the event block in bytes.
pub const PM1_EVENT_LEN: u8 = 4;
/// ACPI PM1a control block, 16 bits.
pub const PM1A_CONTROL_PORT: u16 = ACPI_PM_PORT + AcpiPm::CONTROL_BLOCK;
/// Length of the control block in bytes.
pub const PM1_CONTROL_LEN: u8 = 2;
/// ACPI reset register, 8 bits.
pub const ACPI_RESET_PORT: u16 = ACPI_PM_PORT + AcpiPm::RESET_REGISTER;
/// What resets the machine when it is written there.
pub const ACPI_RESET_VALUE: u8 = 1;
/// The sleep type that means "off" here, as the DSDT's `\_S5` says.
pub const S5_SLP_TYP: u8 = 5;
/// The interrupt line of ACPI's own events.
pub const SCI_IRQ: u8 = 9;

/// The ports of the interrupt controllers and of the timer.
pub const CHIPSET_PORTS: [RangeInclusive<u16>; 5] = [
    0x20..=0x21,
    0xa0..=0xa1,
    0x4d0..=0x4d1,
    0x40..=0x43,
    0x61..=0x61,
];

/// The ports that are somebody's in every machine: those of KVM's devices, then the VMM's own.
pub const PORTS: [(RangeInclusive<u16>, &str); 13] = [
    (0x20..=0x21, "interrupt controller"),
    (0xa0..=0xa1, "interrupt controller"),
    (0x4d0..=0x4d1, "interrupt controller"),
    (0x40..=0x43, "timer"),
    (0x61..=0x61, "timer"),
    (I8042_DATA_PORT..=I8042_DATA_PORT, "keyboard controller"),
    (
        I8042_COMMAND_PORT..=I8042_COMMAND_PORT,
        "keyboard controller",
    ),
    (CMOS_PORT..=CMOS_PORT + Cmos::PORTS - 1, "CMOS memory"),
    (
        SYSTEM_CONTROL_PORT..=SYSTEM_CONTROL_PORT + SystemControl::PORTS - 1,
        "system control port",
    ),
    (COM1_PORT..=COM1_PORT + SerialPort::PORTS - 1, "serial port"),
    (
        FW_CFG_PORT..=FW_CFG_PORT + FwCfg::PORTS - 1,
        "firmware configuration",
    ),
    (
        ACPI_PM_PORT..=ACPI_PM_PORT + AcpiPm::PORTS - 1,
        "power management registers",
    ),
    (0xcf8..=0xcff, "PCI bus, which is not there"),
];

/// The first address behind `region`.
pub(crate) fn end_of(region: &impl GuestMemoryRegion) -> u64 {
    region.start_addr().raw_value().saturating_add(region.len())
}

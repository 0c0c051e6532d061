// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Linux's own boot protocol: the boot parameters ("zero page").

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{BootError, Handover};
use crate::config::MAX_CMDLINE_LEN;
use crate::{layout, memory};

const BOOT_FLAG: u16 = 0xaa55;
const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// "Undefined loader": no number is assigned to this one.
const LOADER: u8 = 0xff;

pub(super) fn write(memory: &GuestMemoryMmap, handover: &Handover) -> Result<(), BootError> {
    let params = BootParams::new(
        &parameters(memory, handover),
        GuestAddress(layout::ZERO_PAGE),
    );
    Ok(LinuxBootConfigurator::write_bootparams(&params, memory)?)
}

fn parameters(memory: &GuestMemoryMmap, handover: &Handover) -> boot_params {
    let initrd = handover.initrd.clone().unwrap_or_default();
    let mut params = boot_params {
        // A bzImage gets its own header back; an ELF kernel has none, and reads these few fields.
        hdr: handover.setup_header.unwrap_or(setup_header {
            boot_flag: BOOT_FLAG,
            header: HEADER_MAGIC,
            cmdline_size: MAX_CMDLINE_LEN as u32,
            ..Default::default()
        }),
        acpi_rsdp_addr: handover.rsdp,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER;
    // The command line and the initrd lie below 4 GiB by their placement.
    params.hdr.cmd_line_ptr = layout::CMDLINE as u32;
    params.hdr.ramdisk_image = initrd.start as u32;
    params.hdr.ramdisk_size = (initrd.end - initrd.start) as u32;
    for (slot, entry) in params.e820_table.iter_mut().zip(memory::map(memory)) {
        *slot = boot_e820_entry {
            addr: entry.range.start,
            size: entry.range.end - entry.range.start,
            r#type: entry.kind as u32,
        };
        params.e820_entries += 1;
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    /// At the offsets that Documentation/arch/x86/zero-page.rst gives.
    #[test]
    fn fields_are_where_linux_reads_them() {
        let memory = memory::create(&crate::config::MemoryConfig { size_mib: 16 }).unwrap();
        let handover = Handover {
            initrd: Some(0x80_0000..0x80_0123),
            rsdp: 0xe_0000,
            setup_header: None,
        };
        write(&memory, &handover).unwrap();
        let word = |offset: u64| -> u32 {
            memory
                .read_obj(GuestAddress(layout::ZERO_PAGE + offset))
                .unwrap()
        };
        assert_eq!(word(0x70), 0xe_0000);
        assert_eq!(word(0x1e8) & 0xff, 4);
        assert_eq!(word(0x1fe) & 0xffff, 0xaa55);
        assert_eq!(word(0x202).to_le_bytes(), *b"HdrS");
        assert_eq!(word(0x210) & 0xff, 0xff);
        assert_eq!(word(0x218), 0x80_0000);
        assert_eq!(word(0x21c), 0x123);
        assert_eq!(word(0x228), 0x2_0000);
        assert_eq!(word(0x238), 2047);
        // The fourth entry of the memory map: 1 MiB to 16 MiB.
        assert_eq!(
            [word(0x2d0 + 60), word(0x2d0 + 68), word(0x2d0 + 76)],
            [0x10_0000, 0xf0_0000, 1]
        );
    }
}

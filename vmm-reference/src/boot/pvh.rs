// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The PVH boot protocol: the start-of-day structure, its memory map and its list of modules.

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{BootError, Handover};
use crate::{layout, memory};

pub(super) fn write(memory: &GuestMemoryMmap, handover: &Handover) -> Result<(), BootError> {
    let map: Vec<_> = memory::map(memory)
        .into_iter()
        .map(|entry| hvm_memmap_table_entry {
            addr: entry.range.start,
            size: entry.range.end - entry.range.start,
            type_: entry.kind as u32,
            reserved: 0,
        })
        .collect();
    let modules: Vec<_> = handover
        .initrd
        .iter()
        .map(|initrd| hvm_modlist_entry {
            paddr: initrd.start,
            size: initrd.end - initrd.start,
            ..Default::default()
        })
        .collect();
    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: modules.len() as u32,
        modlist_paddr: layout::PVH_MODULES,
        cmdline_paddr: layout::CMDLINE,
        rsdp_paddr: handover.rsdp,
        memmap_paddr: layout::PVH_MEMORY_MAP,
        // Two ranges of memory give at most five entries.
        memmap_entries: map.len() as u32,
        ..Default::default()
    };
    let mut params = BootParams::new(&info, GuestAddress(layout::PVH_START_INFO));
    params.set_sections(&map, GuestAddress(layout::PVH_MEMORY_MAP));
    if !modules.is_empty() {
        params.set_modules(&modules, GuestAddress(layout::PVH_MODULES));
    }
    Ok(PvhBootConfigurator::write_bootparams(&params, memory)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn the_structures_refer_to_one_another() {
        let memory = memory::create(&crate::config::MemoryConfig { size_mib: 16 }).unwrap();
        let handover = Handover {
            initrd: Some(0x80_0000..0x80_0123),
            rsdp: 0xe_0000,
            setup_header: None,
        };
        write(&memory, &handover).unwrap();
        let info: hvm_start_info = memory
            .read_obj(GuestAddress(layout::PVH_START_INFO))
            .unwrap();
        assert_eq!((info.magic, info.version), (0x336e_c578, 1));
        assert_eq!(
            (info.cmdline_paddr, info.rsdp_paddr),
            (layout::CMDLINE, 0xe_0000)
        );
        assert_eq!((info.nr_modules, info.memmap_entries), (1, 4));
        let module: hvm_modlist_entry = memory.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
        assert_eq!((module.paddr, module.size), (0x80_0000, 0x123));
        let last: hvm_memmap_table_entry = memory
            .read_obj(GuestAddress(info.memmap_paddr + 3 * 24))
            .unwrap();
        assert_eq!(
            (last.addr, last.size, last.type_),
            (0x10_0000, 0xf0_0000, 1)
        );
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The multiboot 1 protocol: the information structure, its memory map and its list of modules
//! (Multiboot Specification version 0.6.96, chapter 3.3).

use std::path::Path;

use vm_memory::GuestMemoryMmap;

use super::{BootError, Handover, write};
use crate::memory::{self, MapEntry, MapKind};
use crate::{config, layout};

/// What EAX holds at the entry.
pub(super) const MAGIC: u64 = 0x2bad_b002;

const LOADER_NAME: &[u8] = b"vmm-reference\0";

/// Which fields are valid: the memory's size, the command line, modules, the memory map, the
/// loader's name. There is no boot device.
const MEMORY: u32 = 1 << 0;
const CMDLINE: u32 = 1 << 2;
const MODULES: u32 = 1 << 3;
const MEMORY_MAP: u32 = 1 << 6;
const LOADER: u32 = 1 << 9;

/// The information structure, in words.
const INFO_WORDS: usize = 29;
/// What a map's entry has behind its first word, which says this.
const MAP_ENTRY_LEN: u32 = 20;

/// The command line for a multiboot kernel. The default one is Linux's, and means nothing to
/// others: they get the name of their file, which many take the first word for anyway.
pub(super) fn cmdline(text: &str, kernel: &Path) -> String {
    if text != config::DEFAULT_CMDLINE {
        return text.to_owned();
    }
    let name = kernel.file_name().unwrap_or_default().to_string_lossy();
    name.chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect()
}

pub(super) fn write_info(memory: &GuestMemoryMmap, handover: &Handover) -> Result<(), BootError> {
    let map = memory::map(memory);
    // All that is pointed to lies below 4 GiB.
    let mut info = [0u32; INFO_WORDS];
    info[0] = MEMORY | CMDLINE | MEMORY_MAP | LOADER;
    info[1] = kib_from(&map, 0);
    info[2] = kib_from(&map, layout::HIMEM_START);
    info[4] = layout::CMDLINE as u32;
    if let Some(initrd) = &handover.initrd {
        info[0] |= MODULES;
        info[5] = 1;
        info[6] = layout::MULTIBOOT_MODULES as u32;
        // First byte, first byte behind, text: an empty one, as the loader's name ends.
        let no_text = layout::MULTIBOOT_LOADER_NAME as usize + LOADER_NAME.len() - 1;
        let module = [initrd.start as u32, initrd.end as u32, no_text as u32, 0];
        let module = bytes(&module);
        write(
            "list of modules",
            memory,
            layout::MULTIBOOT_MODULES,
            &module,
        )?;
    }
    let mut entries = Vec::new();
    for MapEntry { range, kind } in &map {
        entries.extend(MAP_ENTRY_LEN.to_le_bytes());
        entries.extend(range.start.to_le_bytes());
        entries.extend((range.end - range.start).to_le_bytes());
        entries.extend((*kind as u32).to_le_bytes());
    }
    info[11] = entries.len() as u32;
    info[12] = layout::MULTIBOOT_MEMORY_MAP as u32;
    info[16] = layout::MULTIBOOT_LOADER_NAME as u32;
    write("memory map", memory, layout::MULTIBOOT_MEMORY_MAP, &entries)?;
    let name = layout::MULTIBOOT_LOADER_NAME;
    write("boot loader's name", memory, name, LOADER_NAME)?;
    let info = bytes(&info);
    write("boot information", memory, layout::MULTIBOOT_INFO, &info)
}

/// How much memory begins at `start`.
fn kib_from(map: &[MapEntry], start: u64) -> u32 {
    map.iter()
        .find(|entry| entry.range.start == start && entry.kind == MapKind::Ram)
        .map_or(0, |entry| ((entry.range.end - start) / 1024) as u32)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    /// Information for a machine with `mib`, as a kernel reads it.
    fn words(mib: u32, initrd: Option<std::ops::Range<u64>>) -> (GuestMemoryMmap, Vec<u32>) {
        let memory = memory::create(&config::MemoryConfig { size_mib: mib }).unwrap();
        let handover = Handover {
            initrd,
            rsdp: 0xe_0000,
            setup_header: None,
        };
        write_info(&memory, &handover).unwrap();
        let words = (0..INFO_WORDS as u64)
            .map(|index| word(&memory, layout::MULTIBOOT_INFO + 4 * index))
            .collect();
        (memory, words)
    }

    fn word(memory: &GuestMemoryMmap, address: u64) -> u32 {
        memory.read_obj(GuestAddress(address)).unwrap()
    }

    fn text(memory: &GuestMemoryMmap, address: u32) -> String {
        (u64::from(address)..)
            .map(|at| memory.read_obj::<u8>(GuestAddress(at)).unwrap())
            .take_while(|byte| *byte != 0)
            .map(char::from)
            .collect()
    }

    #[test]
    fn the_structures_refer_to_one_another() {
        let (memory, info) = words(16, Some(0x80_0000..0x80_0123));
        assert_eq!(info[0], 0b10_0100_1101);
        assert_eq!((info[1], info[2]), (639, 15 * 1024));
        assert_eq!((info[3], info[4]), (0, layout::CMDLINE as u32));
        assert_eq!(info[5], 1);
        let module = u64::from(info[6]);
        assert_eq!(
            [word(&memory, module), word(&memory, module + 4)],
            [0x80_0000, 0x80_0123]
        );
        assert_eq!(text(&memory, word(&memory, module + 8)), "");
        assert_eq!(text(&memory, info[16]), "vmm-reference");
    }

    #[test]
    fn without_an_initrd_there_are_no_modules() {
        let (_, info) = words(16, None);
        assert_eq!((info[0] & MODULES, info[5], info[6]), (0, 0, 0));
    }

    /// Each entry's first word is how far the next one is from its second.
    #[test]
    fn the_map_is_that_of_the_machine() {
        for mib in [1, 16, 4096] {
            let (memory, info) = words(mib, None);
            let (mut at, end) = (u64::from(info[12]), u64::from(info[12] + info[11]));
            assert!(end <= layout::MULTIBOOT_INFO + 0x1000);
            let mut seen = Vec::new();
            while at < end {
                let long = |at: u64| memory.read_obj::<u64>(GuestAddress(at)).unwrap();
                let (start, len) = (long(at + 4), long(at + 12));
                seen.push((start..start + len, word(&memory, at + 20)));
                at += u64::from(word(&memory, at)) + 4;
            }
            let expected: Vec<_> = memory::map(&memory)
                .into_iter()
                .map(|entry| (entry.range, entry.kind as u32))
                .collect();
            assert_eq!((at, seen), (end, expected));
        }
        // The size is that of the first piece, up to the gap for devices.
        let (_, info) = words(4096, None);
        assert_eq!(info[2], 3 * 1024 * 1024 - 1024);
        let (_, info) = words(1, None);
        assert_eq!((info[1], info[2]), (639, 0));
    }

    #[test]
    fn the_default_command_line_is_the_files_name() {
        let kernel = Path::new("/some/where/a test\u{e9}.flat");
        assert_eq!(cmdline(config::DEFAULT_CMDLINE, kernel), "a_test_.flat");
        assert_eq!(cmdline("a  b=c", kernel), "a  b=c");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Images that are booted, and all the ways in which one can be bad.

mod bad;
mod multiboot;
pub(crate) mod samples;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;

const LIMIT: u64 = 1 << 20;

fn memory(mib: u32) -> GuestMemoryMmap {
    crate::memory::create(&crate::config::MemoryConfig { size_mib: mib }).unwrap()
}

fn load(image: Vec<u8>, mib: u32) -> Result<LoadedKernel, KernelError> {
    Image::parse(image, LIMIT)?.load(&memory(mib), 0)
}

#[test]
fn an_elf_kernel_is_entered_by_pvh() {
    let memory = memory(32);
    let image = Image::parse(samples::elf(), LIMIT).unwrap();
    let loaded = image.load(&memory, 0).unwrap();
    assert_eq!(
        loaded.entry,
        Entry::Pvh(GuestAddress(samples::PVH_ENTRY.into()))
    );
    assert_eq!(
        loaded.memory,
        samples::TEXT..samples::DATA + samples::DATA_MEMORY_LEN
    );
    let mut text = vec![0; samples::TEXT_LEN as usize];
    memory
        .read_slice(&mut text, GuestAddress(samples::TEXT))
        .unwrap();
    assert_eq!(text, samples::text());
}

#[test]
fn without_a_pvh_note_it_is_entered_in_long_mode() {
    let mut image = samples::elf();
    image[samples::NOTE + 8] = 17;
    let loaded = load(image, 32).unwrap();
    assert_eq!(loaded.entry, Entry::Linux64(GuestAddress(samples::TEXT)));
}

#[test]
fn each_compression_is_unpacked_to_the_same_elf() {
    for (name, payload) in samples::packed(&samples::elf()) {
        let image = samples::bzimage(&payload);
        assert!(extract_elf(&image).unwrap() == samples::elf(), "{name}");
        let loaded = load(image, 32).unwrap();
        assert_eq!(
            loaded.entry.address().0,
            u64::from(samples::PVH_ENTRY),
            "{name}"
        );
    }
    assert_eq!(extract_elf(&samples::elf()).unwrap(), samples::elf());
}

/// Linux's build puts relocations behind the ELF file before it packs both.
#[test]
fn what_follows_the_elf_file_is_left_out() {
    let mut with_relocations = samples::elf();
    with_relocations.extend([0xaa; 100]);
    for (name, payload) in samples::packed(&with_relocations) {
        let image = samples::bzimage(&payload);
        assert!(extract_elf(&image).unwrap() == samples::elf(), "{name}");
    }
}

#[test]
fn an_unknown_compression_boots_the_bzimage_itself() {
    for payload in [
        &b"BZh91AY"[..],
        b"\x5d\0\0\0\x04",
        b"\x89LZO\0\r\n",
        b"what is this",
    ] {
        let image = samples::bzimage(payload);
        assert!(extract_elf(&image).is_err());
        let loaded = load(image, 32).unwrap();
        assert_eq!(
            loaded.entry,
            Entry::Linux64(GuestAddress(samples::TEXT + 0x200))
        );
        assert_eq!(loaded.memory, samples::TEXT..samples::TEXT + 0x30_0000);
        assert!(loaded.setup_header.is_some());
    }
}

#[test]
fn a_relocatable_bzimage_moves_when_it_must() {
    // Too little memory for the address it prefers.
    let small = load(samples::bzimage(b"what is this"), 8).unwrap();
    assert_eq!(small.memory.start, 0x20_0000);
    let image = Image::parse(samples::bzimage(b"what is this"), LIMIT).unwrap();
    let above = image.load(&memory(64), 0x150_0000).unwrap();
    assert_eq!(above.memory.start, 0x160_0000);
}

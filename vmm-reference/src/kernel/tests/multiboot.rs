// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Multiboot kernels: where the header may be, what it may demand, and what is loaded by it.

use proptest::prelude::*;

use super::super::*;
use super::samples::{self, MULTIBOOT_CODE, MultibootElf};
use super::{LIMIT, memory};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MIB: u64 = 1 << 20;

fn try_load(image: Vec<u8>) -> Result<(GuestMemoryMmap, LoadedKernel), KernelError> {
    let memory = memory(16);
    let loaded = Image::parse(image, LIMIT)?.load(&memory, 0)?;
    Ok((memory, loaded))
}

fn refusal(image: Vec<u8>) -> String {
    let line = try_load(image).unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn bytes_at(memory: &GuestMemoryMmap, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory
        .read_slice(&mut bytes, GuestAddress(address))
        .unwrap();
    bytes
}

/// A flat file: a header at `at` with these flags and address fields, code behind it.
fn flat(at: usize, flags: u32, fields: [u32; 5]) -> Vec<u8> {
    let mut image = vec![0x90; at];
    for word in samples::multiboot_header(flags)
        .into_iter()
        .chain(fields.map(u32::to_le_bytes))
    {
        image.extend(word);
    }
    image.extend(MULTIBOOT_CODE);
    image
}

/// One that is loaded as a whole at 1 MiB and entered behind the header.
fn whole(at: usize) -> Vec<u8> {
    let base = MIB as u32;
    let header = base + at as u32;
    flat(at, 1 << 16, [header, base, 0, 0, header + 32])
}

#[test]
fn elf_files_of_both_classes_are_entered_by_multiboot() {
    for bits in [32, 64] {
        let (memory, loaded) = try_load(MultibootElf::new(bits).bytes()).unwrap();
        let entry = MIB + 12;
        assert_eq!(loaded.entry, Entry::Multiboot(GuestAddress(entry)));
        assert_eq!(loaded.memory, MIB..MIB + 0x1000);
        let code = bytes_at(&memory, entry, MULTIBOOT_CODE.len() + 1);
        assert_eq!(code[..MULTIBOOT_CODE.len()], MULTIBOOT_CODE);
        assert_eq!(code.last(), Some(&0));
    }
}

/// A kernel that is linked high names its entry point by the address that it is linked at.
#[test]
fn an_entry_point_may_be_the_linked_address() {
    for bits in [32, 64] {
        let mut elf = MultibootElf::new(bits);
        elf.linked = 0xc010_0000;
        elf.entry = 0xc010_000c;
        let (_, loaded) = try_load(elf.bytes()).unwrap();
        assert_eq!(loaded.entry.address(), GuestAddress(MIB + 12));
        // Or the physical one.
        elf.entry = MIB + 12;
        let (_, loaded) = try_load(elf.bytes()).unwrap();
        assert_eq!(loaded.entry.address(), GuestAddress(MIB + 12));
        elf.entry = 0xc020_0000;
        assert!(refusal(elf.bytes()).contains("entry point 0xc0200000"));
    }
}

/// A linker may put the file's headers into a segment that reaches into the next one's addresses.
#[test]
fn an_entry_point_is_where_instructions_are() {
    for bits in [32, 64] {
        let mut elf = MultibootElf::new(bits);
        // Both are linked at the entry point; the second one comes first in memory.
        elf.physical = 2 * MIB;
        elf.linked = MIB;
        elf.second = Some(MIB + 12);
        elf.second_flags = 4;
        let (_, loaded) = try_load(elf.bytes()).unwrap();
        assert_eq!(loaded.entry.address(), GuestAddress(2 * MIB + 12));
        elf.second_flags = 5;
        let (_, loaded) = try_load(elf.bytes()).unwrap();
        assert_eq!(loaded.entry.address(), GuestAddress(MIB + 12));
    }
}

#[test]
fn a_header_is_found_at_any_aligned_place_within_8_kib() {
    for at in (0..=8192 - 32).step_by(4) {
        let (memory, loaded) = try_load(whole(at)).unwrap();
        let entry = MIB + at as u64 + 32;
        assert_eq!(loaded.entry, Entry::Multiboot(GuestAddress(entry)), "{at}");
        let code = bytes_at(&memory, entry, MULTIBOOT_CODE.len());
        assert_eq!(code, MULTIBOOT_CODE, "{at}");
    }
    for at in (0..64)
        .filter(|at| at % 4 != 0)
        .chain([8192 - 8, 8192, 8196, 1 << 16])
    {
        assert!(refusal(whole(at)).contains("is not a kernel"), "{at}");
    }
    // The header is there, but not all of its fields.
    for at in [8192 - 28, 8192 - 12] {
        assert!(refusal(whole(at)).contains("within the first 8192"), "{at}");
    }
}

#[test]
fn the_first_header_whose_checksum_is_right_counts() {
    let mut image = MultibootElf::new(32).bytes();
    let header = image.len() - MULTIBOOT_CODE.len() - 12;
    image[header + 8] ^= 1;
    let line = refusal(image.clone());
    assert!(line.contains("checksum is wrong") && line.contains(&format!("{header:#x}")));
    // In a file of 64 bits as well, which is not entered in long mode then.
    let mut long = MultibootElf::new(64).bytes();
    let header = long.len() - MULTIBOOT_CODE.len() - 12;
    long[header + 8] ^= 1;
    assert!(refusal(long).contains("checksum is wrong"));
    image.resize(image.len().next_multiple_of(4), 0);
    image.extend(samples::multiboot_header(0).concat());
    assert!(try_load(image).is_ok());
}

#[test]
fn what_a_header_demands_is_given_or_the_kernel_refused() {
    for flags in [0, 1, 2, 3, 0xfffe_0000] {
        let mut elf = MultibootElf::new(32);
        elf.flags = flags;
        assert!(try_load(elf.bytes()).is_ok(), "{flags:#x}");
    }
    for (flags, expected) in [
        (4, "demands a video mode"),
        (7, "demands a video mode"),
        (8, "flags 0x8;"),
        (0x8003, "flags 0x8000;"),
        (0x1_fff8, "flags 0xfff8;"),
    ] {
        let mut elf = MultibootElf::new(64);
        elf.flags = flags;
        let line = refusal(elf.bytes());
        assert!(line.contains(expected), "{flags:#x}: {line}");
    }
}

#[test]
fn a_pvh_note_comes_before_a_multiboot_header() {
    let mut image = samples::elf();
    for (at, word) in (samples::TEXT_AT..)
        .step_by(4)
        .zip(samples::multiboot_header(4))
    {
        image[at..at + 4].copy_from_slice(&word);
    }
    let entry = |image: &[u8]| {
        Image::parse(image.to_vec(), LIMIT).map(|image| image.load(&memory(32), 0).unwrap().entry)
    };
    let pvh = Entry::Pvh(GuestAddress(samples::PVH_ENTRY.into()));
    assert_eq!(entry(&image).unwrap(), pvh);
    // Whatever is in the header, which is not looked at.
    let mut broken = image.clone();
    broken[samples::TEXT_AT + 8] ^= 1;
    assert_eq!(entry(&broken).unwrap(), pvh);
    // Without the note the header counts, and its demands.
    image[samples::NOTE + 8] = 17;
    assert!(matches!(entry(&image), Err(KernelError::MultibootVideo)));
    let good = samples::multiboot_header(0).concat();
    image[samples::TEXT_AT..][..12].copy_from_slice(&good);
    let multiboot = Entry::Multiboot(GuestAddress(samples::TEXT));
    assert_eq!(entry(&image).unwrap(), multiboot);
}

/// The guest that the tests of nested VMX run has a note and a header.
#[test]
fn the_nested_vmx_guest_has_both_and_is_entered_by_either() {
    let image = guest_l1::elf(&guest_l1::image(guest_l1::Mode::Scenarios));
    let entry = |image: Vec<u8>| {
        let image = Image::parse(image, LIMIT).unwrap();
        image.load(&memory(16), 0).unwrap().entry
    };
    let code = GuestAddress(guest_l1::layout::CODE);
    assert_eq!(entry(image.clone()), Entry::Pvh(code));
    assert_eq!(
        entry(samples::without_pvh_note(image)),
        Entry::Multiboot(code)
    );
}

#[test]
fn address_fields_say_what_is_loaded() {
    let base = MIB as u32;
    // From the header on: 16 bytes of the file before it are left out; 4 KiB of memory follow.
    let fields = [base, base, base + 36, base + 0x1000, base + 32];
    let mut image = flat(16, 1 << 16, fields);
    image.extend([0xaa; 100]);
    let (memory, loaded) = try_load(image.clone()).unwrap();
    assert_eq!(loaded.memory, MIB..MIB + 0x1000);
    assert_eq!(loaded.entry, Entry::Multiboot(GuestAddress(MIB + 32)));
    assert_eq!(bytes_at(&memory, MIB, 36), image[16..16 + 36]);
    assert_eq!(bytes_at(&memory, MIB + 36, 100), [0; 100]);
    // In an ELF file they hold instead of its headers, which may be for any loader.
    let mut elf = MultibootElf::new(32);
    elf.flags = 1 << 16;
    let mut image = elf.bytes();
    let header = image.len() - MULTIBOOT_CODE.len() - 12;
    for (at, field) in (header + 12..).step_by(4).zip([
        base + header as u32,
        base,
        0,
        0,
        base + header as u32 + 32,
    ]) {
        image.resize(image.len().max(at + 4), 0);
        image[at..at + 4].copy_from_slice(&field.to_le_bytes());
    }
    image.push(0xf4);
    let (memory, loaded) = try_load(image.clone()).unwrap();
    let entry = MIB + header as u64 + 32;
    assert_eq!(loaded.entry, Entry::Multiboot(GuestAddress(entry)));
    assert_eq!(bytes_at(&memory, MIB, image.len()), image);
}

#[test]
fn bad_address_fields() {
    let base = MIB as u32;
    let good = [base + 8, base, 0, 0, base + 40];
    let with = |index: usize, value: u32| {
        let mut fields = good;
        fields[index] = value;
        flat(8, 1 << 16, fields)
    };
    assert!(try_load(flat(8, 1 << 16, good)).is_ok());
    for (index, value, expected) in [
        (0, base - 1, "before the file's first byte"),
        (0, base + 9, "before the file's first byte"),
        (0, u32::MAX, "before the file's first byte"),
        (1, 0, "before the file's first byte"),
        (1, u32::MAX, "before the file's first byte"),
        (2, base, "load_end_addr is not above load_addr"),
        (2, 1, "load_end_addr is not above load_addr"),
        (2, base + 0x1000, "its multiboot image ends at byte 4096"),
        (2, u32::MAX, "its multiboot image ends at byte"),
        (3, base, "bss_end_addr is below"),
        (3, u32::MAX, "where devices begin"),
        (3, 32 << 20, "raise --memory size_mib"),
        (4, 0, "entry point 0x0"),
        (4, base + 0x1000, "entry point 0x101000"),
    ] {
        let line = refusal(with(index, value));
        assert!(line.contains(expected), "{index} {value:#x}: {line}");
    }
    let low = flat(8, 1 << 16, good.map(|field| field.saturating_sub(base)));
    assert!(refusal(low).contains("begins at 0x0, below 0x100000"));
    let high = flat(8, 1 << 16, [u32::MAX, u32::MAX, 0, 0, u32::MAX]);
    assert!(refusal(high).contains("where devices begin"));
    let neither = flat(8, 0, good);
    assert!(refusal(neither).contains("is not an ELF file; link it as one"));
}

#[test]
fn bad_elf_files() {
    for bits in [32, 64] {
        let good = MultibootElf::new(bits);
        let bad = |change: fn(&mut MultibootElf)| {
            let mut elf = good.clone();
            change(&mut elf);
            refusal(elf.bytes())
        };
        for (line, expected) in [
            (bad(|elf| elf.physical = 0x1000), "below 0x100000"),
            (bad(|elf| elf.physical = 0xbfff_f800), "where devices begin"),
            (bad(|elf| elf.physical = 0xffff_f000), "where devices begin"),
            (
                bad(|elf| elf.physical = 0xfff001),
                "raise --memory size_mib",
            ),
            (bad(|elf| elf.in_memory = 4), "larger in the file"),
            (bad(|elf| elf.second = Some(MIB + 0xfff)), "overlap"),
            (bad(|elf| elf.entry = MIB - 1), "entry point 0xfffff"),
            (bad(|elf| elf.machine ^= 1), "is for ELF machine"),
        ] {
            assert!(line.contains(expected), "{bits}: {line}");
        }
    }
    let mut x32 = MultibootElf::new(32);
    x32.machine = 62;
    assert!(refusal(x32.bytes()).contains("x86-64 with 32-bit pointers"));
    let mut plain = MultibootElf::new(32).bytes();
    let header = plain.len() - MULTIBOOT_CODE.len() - 12;
    plain[header] = 0;
    assert!(refusal(plain).contains("has no multiboot header"));
}

/// A program's header says so, a kernel may have thread-local storage.
#[test]
fn a_kernel_may_have_thread_local_storage() {
    let mut elf = MultibootElf::new(64);
    elf.second = Some(0);
    elf.second_kind = 7;
    assert!(try_load(elf.bytes()).is_ok());
}

#[test]
fn truncated_at_any_byte() {
    for image in [
        MultibootElf::new(32).bytes(),
        MultibootElf::new(64).bytes(),
        flat(0, 1 << 16, {
            let base = MIB as u32;
            [base, base, base + 32 + MULTIBOOT_CODE.len() as u32, 0, base]
        }),
    ] {
        for len in 0..image.len() {
            assert!(Image::parse(image[..len].to_vec(), LIMIT).is_err(), "{len}");
        }
    }
}

proptest! {
    /// Any bytes, with a header somewhere among them: refused in one line, or loaded into memory.
    #[test]
    fn any_bytes(
        mut image in prop::collection::vec(any::<u8>(), 64..9000),
        at: prop::sample::Index,
        flags in prop_oneof![Just(0u32), Just(1 << 16), any::<u32>()],
        elf in prop_oneof![Just(None), Just(Some(32)), Just(Some(64))],
        fields in prop::array::uniform5(prop_oneof![0x0f_ff00u32..0x10_4000, any::<u32>()]),
    ) {
        if let Some(bits) = elf {
            let elf = MultibootElf::new(bits).bytes();
            let len = image.len().min(0x60);
            image.splice(..len, elf[..len].iter().copied());
        }
        let words = samples::multiboot_header(flags).into_iter().chain(fields.map(u32::to_le_bytes));
        let header: Vec<u8> = words.flatten().collect();
        let at = at.index(image.len() / 4) * 4;
        for (byte, value) in image.iter_mut().skip(at).zip(header) {
            *byte = value;
        }
        match try_load(image) {
            Ok((_, loaded)) => {
                prop_assert!(loaded.memory.start >= MIB && loaded.memory.end <= 16 * MIB);
                prop_assert!(loaded.memory.contains(&loaded.entry.address().0));
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }

    #[test]
    fn changed_bytes(
        bits in prop_oneof![Just(32), Just(64)],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut image = MultibootElf::new(bits).bytes();
        for (at, byte) in changes {
            let len = image.len();
            image[at.index(len)] = byte;
        }
        if let Ok((_, loaded)) = try_load(image) {
            prop_assert!(loaded.memory.start >= MIB && loaded.memory.end <= 16 * MIB);
            prop_assert!(loaded.memory.contains(&loaded.entry.address().0));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each bad image gives one clear line and leaves guest memory as it was.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::super::*;
use super::{LIMIT, load, memory, samples};

/// The line that refuses `image`, in a guest with 32 MiB.
fn refusal(image: Vec<u8>) -> String {
    let line = load(image, 32).unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

/// Where, and what to write there.
type Patch<'a> = (usize, &'a [u8]);

/// The sample with some bytes changed.
fn patched(patches: &[Patch]) -> Vec<u8> {
    let mut image = samples::elf();
    for (at, bytes) in patches {
        image[*at..][..bytes.len()].copy_from_slice(bytes);
    }
    image
}

/// An image that is cut off at any byte is refused.
#[test]
fn truncated_at_any_byte() {
    let mut images = vec![("ELF", samples::elf())];
    for (name, payload) in samples::packed(&samples::elf()) {
        images.push((name, samples::bzimage(&payload)));
    }
    images.push(("as it is", samples::bzimage(b"BZh91AY")));
    for (name, image) in images {
        for len in 0..image.len() {
            let cut = image[..len].to_vec();
            assert!(extract_elf(&cut).is_err(), "{name} with {len} bytes");
            assert!(Image::parse(cut, LIMIT).is_err(), "{name} with {len} bytes");
        }
    }
}

/// A payload that is cut off inside a complete file is refused too.
#[test]
fn a_truncated_payload() {
    for (name, payload) in samples::packed(&samples::elf()) {
        // The last four bytes are the length, which is not relied on.
        for len in 8..payload.len() - 4 {
            let image = samples::bzimage(&payload[..len]);
            assert!(
                Image::parse(image, LIMIT).is_err(),
                "{name} with {len} bytes"
            );
        }
    }
}

#[test]
fn not_a_kernel() {
    let mut arm64 = vec![0; 4096];
    arm64[56..60].copy_from_slice(b"ARM\x64");
    let mut riscv = vec![0; 4096];
    riscv[56..60].copy_from_slice(b"RSC\x05");
    for (image, expected) in [
        (b"".to_vec(), "is not a kernel"),
        (b"#!/bin/sh\n".to_vec(), "is not a kernel"),
        (vec![0; 1 << 16], "is not a kernel"),
        (arm64, "is for ARM64"),
        (riscv, "is for RISC-V"),
        (b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "is a gzip file"),
        (b"\xfd7zXZ\0\0\0".to_vec(), "is a xz file"),
        (patched(&[(4, &[1]), (18, &[3])]), "is for 32-bit x86"),
        (patched(&[(18, &[183])]), "is for ARM64"),
        (patched(&[(5, &[2])]), "big-endian"),
        (patched(&[(18, &[99])]), "is for ELF machine 99"),
        (patched(&[(16, &[1])]), "not an executable"),
        (
            patched(&[(samples::PROGRAM_HEADERS + 56, &[3])]),
            "is a program",
        ),
        (
            patched(&[(samples::PROGRAM_HEADERS + 56, &[7])]),
            "is a program",
        ),
        (std::fs::read("/proc/self/exe").unwrap(), "is a program"),
    ] {
        let line = refusal(image);
        assert!(line.contains(expected), "{line}");
    }
}

/// Headers of the ELF file that contradict themselves or the guest's memory.
#[test]
fn bad_elf_headers() {
    const FIRST: usize = samples::PROGRAM_HEADERS;
    const SECOND: usize = FIRST + 56;
    let huge = &u64::MAX.to_le_bytes();
    let word = |value: u64| value.to_le_bytes();
    let cases: &[(&[Patch], &str)] = &[
        (&[(54, &[55])], "names no program headers"),
        (&[(56, &[0])], "names no program headers"),
        (&[(56, &[255, 255])], "program header table ends at byte"),
        (&[(32, huge)], "program header table ends at byte"),
        (&[(40, huge)], "section header table ends at byte"),
        (&[(58, &[1])], "section headers have a wrong size"),
        (&[(FIRST + 8, huge)], "overflows"),
        (&[(FIRST + 32, huge)], "overflows"),
        (&[(FIRST + 24, huge)], "overflows"),
        (&[(FIRST + 40, huge)], "overflows"),
        (
            &[(FIRST + 32, &word(0x10_0000))],
            "its last segment ends at byte",
        ),
        (
            &[(FIRST + 40, &word(1))],
            "larger in the file than in memory",
        ),
        (&[(SECOND + 24, &word(samples::TEXT + 1))], "overlap"),
        (&[(24, huge)], "entry point 0xffffffffffffffff"),
        (&[(24, &word(samples::TEXT - 1))], "entry point 0xffffff"),
        (&[(samples::NOTE + 16, &[0; 4])], "entry point 0x0"),
        (&[(samples::NOTE + 4, &[2])], "PVH note"),
        (&[(SECOND + 24, &word(0xd000_0000))], "where devices begin"),
        (&[(SECOND + 40, &word(0xd000_0000))], "where devices begin"),
        (
            &[(SECOND + 24, &word(0x1_0000_0000))],
            "where devices begin",
        ),
        (
            &[(SECOND + 24, &word(0x200_0000))],
            "needs guest memory up to 0x2001000",
        ),
        (
            &[(SECOND + 24, &word(0x1000))],
            "begins at 0x1000, below 0x100000",
        ),
    ];
    for (patches, expected) in cases {
        let line = refusal(patched(patches));
        assert!(line.contains(expected), "{patches:x?}: {line}");
    }
}

#[test]
fn bad_setup_headers() {
    let good = samples::bzimage(&samples::elf());
    for (at, bytes, expected) in [
        (0x206, &[0x0b, 0x02][..], "before Linux 3.8"),
        (0x211, &[0], "before Linux 3.8"),
        (0x236, &[0], "is for 32-bit x86"),
        (0x1f4, &[255; 4], "its kernel ends at byte"),
        (0x1f4, &[0; 4], "names no payload"),
        (0x248, &[255; 4], "names no payload"),
        (0x24c, &[255; 4], "names no payload"),
        (0x24c, &[0; 4], "names no payload"),
        (0x80 + 24 + 144, &[255; 4], "its signature ends at byte"),
    ] {
        let mut image = good.clone();
        image[at..][..bytes.len()].copy_from_slice(bytes);
        let line = refusal(image);
        assert!(line.contains(expected), "{at:#x}: {line}");
    }
}

/// A few bytes that unpack to more than is allowed.
#[test]
fn a_decompression_bomb() {
    for (name, payload) in samples::packed(&vec![0; LIMIT as usize + 1]) {
        if name == "uncompressed" {
            continue;
        }
        let error = Image::parse(samples::bzimage(&payload), LIMIT).unwrap_err();
        assert!(
            matches!(error, KernelError::TooLargeUnpacked { limit: LIMIT }),
            "{name}: {error}"
        );
    }
}

/// No bzImage inside a bzImage, no shell script either.
#[test]
fn a_payload_that_is_no_kernel() {
    for (name, payload) in samples::packed(b"#!/bin/sh\nexit 1\n") {
        let parsed = Image::parse(samples::bzimage(&payload), LIMIT);
        // Without a compression's magic word it is not known to be anything.
        assert_eq!(parsed.is_err(), name != "uncompressed", "{name}");
    }
}

#[test]
fn a_refused_kernel_leaves_memory_alone() {
    let memory = memory(18);
    let image = Image::parse(samples::elf(), LIMIT).unwrap();
    // The text segment would fit.
    assert!(image.load(&memory, 0).is_err());
    let mut text = vec![0xff; samples::TEXT_LEN as usize];
    memory
        .read_slice(&mut text, GuestAddress(samples::TEXT))
        .unwrap();
    assert!(text.iter().all(|byte| *byte == 0));
}

proptest! {
    /// Nothing that is changed in an image makes this code panic, and what is then still loaded
    /// lies in memory.
    #[test]
    fn changed_bytes(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), which: prop::sample::Index) {
        let mut images = vec![samples::elf()];
        images.extend(samples::packed(&samples::elf()).iter().map(|(_, payload)| samples::bzimage(payload)));
        let mut image = images.swap_remove(which.index(images.len()));
        // Most of the interesting bytes are in the headers.
        for (at, byte) in changes {
            let len = image.len().min(0x300);
            image[at.index(len)] = byte;
        }
        if let Ok(loaded) = load(image, 32) {
            prop_assert!(loaded.memory.end <= 32 << 20);
            prop_assert!(loaded.memory.contains(&loaded.entry.address().0));
        }
    }
}

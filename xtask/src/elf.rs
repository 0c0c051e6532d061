// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! As much of an ELF file as decides how to pack it: is it one of ours, and which interpreter
//! loads it.

/// What the header of an x86-64 ELF file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elf {
    /// No interpreter: it brings everything along.
    Static,
    /// Loaded by the interpreter at this path.
    Dynamic(String),
    /// For another machine.
    Foreign,
}

const PROGRAM_HEADER_SIZE: usize = 56;
const PT_INTERP: u32 = 3;
const EM_X86_64: u16 = 62;

/// Reads the headers in `image`; `None` when it is no ELF file, or one that is cut off.
pub fn read(image: &[u8]) -> Option<Elf> {
    if image.get(..4)? != b"\x7fELF" {
        return None;
    }
    let (class, order) = (*image.get(4)?, *image.get(5)?);
    if (class, order) != (2, 1) || u16_at(image, 18)? != EM_X86_64 {
        return Some(Elf::Foreign);
    }
    let table = usize::try_from(u64_at(image, 32)?).ok()?;
    for index in 0..usize::from(u16_at(image, 56)?) {
        let header = table.checked_add(index.checked_mul(PROGRAM_HEADER_SIZE)?)?;
        let header = image.get(header..)?;
        if u32_at(header, 0)? == PT_INTERP {
            let offset = usize::try_from(u64_at(header, 8)?).ok()?;
            let size = usize::try_from(u64_at(header, 32)?).ok()?;
            let path = image
                .get(offset..offset.checked_add(size)?)?
                .strip_suffix(b"\0")?;
            return Some(Elf::Dynamic(str::from_utf8(path).ok()?.to_owned()));
        }
    }
    Some(Elf::Static)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and one program header of type `kind`, whose contents are `data`.
    fn image(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 64 + PROGRAM_HEADER_SIZE];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[18] = 62;
        image[32] = 64;
        image[56] = 1;
        image[64] = kind as u8;
        image[64 + 8] = 120;
        image[64 + 32] = data.len() as u8;
        image.extend_from_slice(data);
        image
    }

    #[test]
    fn interpreter() {
        assert_eq!(
            read(&image(3, b"/lib64/ld.so\0")),
            Some(Elf::Dynamic("/lib64/ld.so".into()))
        );
        assert_eq!(read(&image(1, b"")), Some(Elf::Static));
    }

    #[test]
    fn another_machine() {
        let mut arm = image(1, b"");
        arm[18] = 183;
        assert_eq!(read(&arm), Some(Elf::Foreign));
    }

    #[test]
    fn cut_off_anywhere() {
        let whole = image(3, b"/lib64/ld.so\0");
        for length in 0..whole.len() {
            assert!(
                !matches!(read(&whole[..length]), Some(Elf::Dynamic(_))),
                "{length}"
            );
        }
        assert_eq!(read(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn offsets_past_the_end() {
        for at in [32, 64 + 8, 64 + 32] {
            let mut image = image(3, b"/x\0");
            image[at..at + 8].fill(0xff);
            assert_eq!(read(&image), None, "field at {at}");
        }
    }

    #[test]
    fn this_test_is_a_dynamic_program() {
        let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(read(&image), Some(Elf::Dynamic(_))));
    }
}

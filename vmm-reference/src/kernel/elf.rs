// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An ELF `vmlinux`, checked as a whole before a byte of it reaches guest memory.
//!
//! The loader copies segments one by one and trusts their headers; so everything that it will
//! use is checked here: that the file holds all of each segment (and of the section table, which
//! is last in the file: that is how a cut-off end is seen), that segments do not overlap, and
//! that the entry points lie in them.

use std::ops::Range;

use super::bytes::{slice, u16_at, u32_at, u64_at};
use super::{KernelError, pvh_note};

pub(super) const MAGIC: &[u8] = b"\x7fELF";

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXEC: u16 = 2;
const TYPE_DYN: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const HEADER_LEN: u64 = 64;
const PROGRAM_HEADER_LEN: u64 = 56;
const SECTION_HEADER_LEN: u64 = 64;
const SECTION_NOBITS: u32 = 8;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;
/// What only programs have: the path of their dynamic linker, thread-local storage.
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_TLS: u32 = 7;

/// What booting needs to know of an ELF kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// The entry point of the 64-bit boot protocol, a physical address.
    pub(super) entry: u64,
    /// The entry point of the PVH boot protocol, if it has one.
    pub(super) pvh_entry: Option<u32>,
    /// The guest-physical memory of each segment, in ascending order.
    pub(super) segments: Vec<Range<u64>>,
    /// Where the ELF file ends. Linux's build appends relocations, which only its own
    /// decompressor reads.
    pub(super) file_len: u64,
}

impl Elf {
    /// Checks all of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        check_identity(bytes)?;
        let field =
            |offset| u64_at(bytes, offset).ok_or_else(|| truncated("header", bytes, HEADER_LEN));
        let word =
            |offset| u16_at(bytes, offset).ok_or_else(|| truncated("header", bytes, HEADER_LEN));
        let (entry, headers, sections) = (field(24)?, field(32)?, field(40)?);
        let (entry_len, count) = (word(54)?, word(56)?);
        let (section_len, section_count) = (word(58)?, word(60)?);
        if u64::from(entry_len) != PROGRAM_HEADER_LEN || headers < HEADER_LEN || count == 0 {
            return Err(KernelError::Damaged(
                "its ELF header names no program headers",
            ));
        }
        let headers = table(
            "program header table",
            bytes,
            headers,
            count,
            PROGRAM_HEADER_LEN,
        )?;

        let mut file_len = headers.end;
        let mut segments = Vec::new();
        let mut pvh_entry = None;
        for header in headers.step_by(PROGRAM_HEADER_LEN as usize) {
            let segment = Segment::parse(bytes, header)?;
            file_len = file_len.max(segment.file.end);
            match segment.kind {
                SEGMENT_LOAD if !segment.memory.is_empty() => segments.push(segment.memory),
                SEGMENT_NOTE if pvh_entry.is_none() => {
                    pvh_entry = pvh_note::entry(slice(bytes, segment.file).unwrap_or_default())?;
                }
                SEGMENT_INTERPRETER | SEGMENT_TLS => return Err(KernelError::Program),
                _ => {}
            }
        }
        let sections = check_sections(bytes, sections, section_count, section_len)?;

        segments.sort_by_key(|segment| segment.start);
        for (first, second) in segments.iter().zip(segments.iter().skip(1)) {
            if first.end > second.start {
                return Err(KernelError::Overlap {
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
        for entry in [Some(entry), pvh_entry.map(u64::from)]
            .into_iter()
            .flatten()
        {
            if !segments.iter().any(|segment| segment.contains(&entry)) {
                return Err(KernelError::EntryOutside { entry });
            }
        }
        Ok(Self {
            entry,
            pvh_entry,
            segments,
            file_len: file_len.max(sections),
        })
    }
}

struct Segment {
    kind: u32,
    file: Range<u64>,
    memory: Range<u64>,
}

impl Segment {
    fn parse(bytes: &[u8], header: u64) -> Result<Self, KernelError> {
        // The table was checked to lie in the file.
        let word = |at: u64| u64_at(bytes, header + at).unwrap_or_default();
        let kind = u32_at(bytes, header).unwrap_or_default();
        let (offset, physical, in_file, in_memory) = (word(8), word(24), word(32), word(40));
        if !matches!(kind, SEGMENT_LOAD | SEGMENT_NOTE) {
            return Ok(Self {
                kind,
                file: 0..0,
                memory: 0..0,
            });
        }
        let overflow = KernelError::Damaged("a segment's address or size overflows");
        let Some(file_end) = offset.checked_add(in_file) else {
            return Err(overflow);
        };
        let Some(memory_end) = physical.checked_add(in_memory) else {
            return Err(overflow);
        };
        if in_file > 0 && file_end > bytes.len() as u64 {
            return Err(truncated("last segment", bytes, file_end));
        }
        if kind == SEGMENT_LOAD && in_file > in_memory {
            return Err(KernelError::Damaged(
                "a segment is larger in the file than in memory",
            ));
        }
        Ok(Self {
            kind,
            file: if in_file > 0 { offset..file_end } else { 0..0 },
            memory: physical..memory_end,
        })
    }
}

fn check_identity(bytes: &[u8]) -> Result<(), KernelError> {
    if !bytes.starts_with(MAGIC) {
        return Err(KernelError::NotAKernel);
    }
    if (bytes.len() as u64) < HEADER_LEN {
        return Err(truncated("header", bytes, HEADER_LEN));
    }
    let machine = u16_at(bytes, 18).unwrap_or_default();
    if bytes[5] != LITTLE_ENDIAN {
        return Err(KernelError::WrongArchitecture(
            "a big-endian machine".into(),
        ));
    }
    if bytes[4] != CLASS_64 || machine != MACHINE_X86_64 {
        return Err(KernelError::WrongArchitecture(architecture(
            machine, bytes[4],
        )));
    }
    match u16_at(bytes, 16) {
        Some(TYPE_EXEC | TYPE_DYN) => Ok(()),
        _ => Err(KernelError::Damaged(
            "it is an ELF object or core file, not an executable",
        )),
    }
}

fn architecture(machine: u16, class: u8) -> String {
    let name = match machine {
        3 => "32-bit x86",
        40 => "32-bit ARM",
        183 => "ARM64",
        243 => "RISC-V",
        21 => "PowerPC64",
        22 => "S/390",
        258 => "LoongArch",
        MACHINE_X86_64 if class != CLASS_64 => "x86-64 with 32-bit pointers",
        _ => return format!("ELF machine {machine}"),
    };
    name.to_owned()
}

/// The offsets of a table in the file, all of which is there.
fn table(
    what: &'static str,
    bytes: &[u8],
    start: u64,
    count: u16,
    entry_len: u64,
) -> Result<Range<u64>, KernelError> {
    let end = start.saturating_add(u64::from(count) * entry_len);
    if end > bytes.len() as u64 {
        return Err(truncated(what, bytes, end));
    }
    Ok(start..end)
}

/// Is all of the section table there, and all that it names? Returns where that ends.
fn check_sections(
    bytes: &[u8],
    start: u64,
    count: u16,
    entry_len: u16,
) -> Result<u64, KernelError> {
    if start == 0 || count == 0 {
        return Ok(0);
    }
    if u64::from(entry_len) != SECTION_HEADER_LEN {
        return Err(KernelError::Damaged(
            "its section headers have a wrong size",
        ));
    }
    let headers = table(
        "section header table",
        bytes,
        start,
        count,
        SECTION_HEADER_LEN,
    )?;
    let mut last = headers.end;
    for header in headers.step_by(SECTION_HEADER_LEN as usize) {
        let word = |at: u64| u64_at(bytes, header + at).unwrap_or_default();
        if u32_at(bytes, header + 4) == Some(SECTION_NOBITS) {
            continue;
        }
        let end = word(24).saturating_add(word(32));
        if end > bytes.len() as u64 {
            return Err(truncated("last section", bytes, end));
        }
        last = last.max(end);
    }
    Ok(last)
}

fn truncated(what: &'static str, bytes: &[u8], needed: u64) -> KernelError {
    KernelError::Truncated {
        what,
        len: bytes.len() as u64,
        needed,
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An ELF kernel, checked as a whole before a byte of it reaches guest memory.
//!
//! The loader copies segments one by one and trusts their headers; so everything that it will
//! use is checked here: that the file holds all of each segment (and of the section table, which
//! is last in the file: that is how a cut-off end is seen), that segments do not overlap, and
//! that the entry points lie in them.

use std::ops::Range;

use super::bytes::{slice, u16_at, u32_at};
use super::elf_class::Class;
use super::{KernelError, pvh_note};

pub(super) const MAGIC: &[u8] = b"\x7fELF";

const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXEC: u16 = 2;
const TYPE_DYN: u16 = 3;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const SECTION_NOBITS: u32 = 8;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;
const FLAG_EXECUTE: u32 = 1;
/// What only programs have: the path of their dynamic linker, thread-local storage.
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_TLS: u32 = 7;

/// What an ELF kernel is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A Linux kernel: of 64 bits, and its entry point is a physical address.
    Linux,
    /// A multiboot kernel: of 32 or 64 bits. Its header tells it from a program.
    Multiboot,
}

/// What booting needs to know of an ELF kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// The entry point as the header has it. A Linux kernel's is that of the 64-bit boot protocol,
    /// a physical address.
    pub(super) entry: u64,
    /// The entry point of the PVH boot protocol, if it has one.
    pub(super) pvh_entry: Option<u32>,
    /// What is loaded where, in ascending order.
    pub(super) segments: Vec<Segment>,
    /// Where the ELF file ends. Linux's build appends relocations, which only its own
    /// decompressor reads.
    pub(super) file_len: u64,
}

/// A part of a file, and guest memory that it is loaded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where in the file it is.
    pub(super) file: Range<u64>,
    /// Guest-physical memory, of the file's length or longer.
    pub(super) memory: Range<u64>,
    /// The address that it is linked at.
    linked: u64,
    /// It holds instructions.
    executable: bool,
}

impl Elf {
    /// Checks all of `bytes`. Only an ELF file of 64 bits can have a PVH entry point.
    pub(super) fn parse(bytes: &[u8], expected: Expected) -> Result<Self, KernelError> {
        let class = check_identity(bytes, expected)?;
        let at = class.offsets();
        let cut_off = || truncated("header", bytes, at.header_len);
        let field = |offset| class.word_at(bytes, offset).ok_or_else(cut_off);
        let count = |index: u64| u16_at(bytes, at.counts + 2 * index).ok_or_else(cut_off);
        let (entry, headers, sections) = (
            field(at.entry)?,
            field(at.program_headers)?,
            field(at.section_headers)?,
        );
        if u64::from(count(0)?) != at.segment_len || headers < at.header_len || count(1)? == 0 {
            return Err(KernelError::Damaged(
                "its ELF header names no program headers",
            ));
        }
        let what = "program header table";
        let headers = table(what, bytes, headers, count(1)?, at.segment_len)?;

        let mut file_len = headers.end;
        let mut segments = Vec::new();
        let mut pvh_entry = None;
        for header in headers.step_by(at.segment_len as usize) {
            // The table was checked to lie in the file.
            let kind = u32_at(bytes, header).unwrap_or_default();
            match kind {
                SEGMENT_LOAD | SEGMENT_NOTE => {}
                SEGMENT_INTERPRETER | SEGMENT_TLS if expected == Expected::Linux => {
                    return Err(KernelError::Program);
                }
                _ => continue,
            }
            let segment = Segment::parse(bytes, class, header)?;
            file_len = file_len.max(segment.file.end);
            if kind == SEGMENT_LOAD {
                segment.check()?;
                if !segment.memory.is_empty() {
                    segments.push(segment);
                }
            } else if pvh_entry.is_none() && class == Class::Elf64 {
                pvh_entry = pvh_note::entry(slice(bytes, segment.file).unwrap_or_default())?;
            }
        }
        let sections = check_sections(bytes, class, sections, count(3)?, count(2)?)?;

        segments.sort_by_key(|segment| segment.memory.start);
        for (first, second) in segments.iter().zip(segments.iter().skip(1)) {
            if first.memory.end > second.memory.start {
                return Err(KernelError::Overlap {
                    first: first.memory.clone(),
                    second: second.memory.clone(),
                });
            }
        }
        let elf = Self {
            entry,
            pvh_entry,
            segments,
            file_len: file_len.max(sections),
        };
        if let Some(entry) = pvh_entry {
            elf.check_entry(entry.into())?;
        }
        if expected == Expected::Linux {
            elf.check_entry(entry)?;
        }
        Ok(elf)
    }

    /// The entry point's physical address, where the header may have either it or the address that
    /// it is linked at, as loaders of multiboot kernels take it. Segments may be linked at the same
    /// address when one of them only holds the file's headers.
    pub(super) fn physical_entry(&self) -> Result<u64, KernelError> {
        let within = |segment: &Segment| {
            let offset = self.entry.checked_sub(segment.linked)?;
            let address = segment.memory.start.checked_add(offset)?;
            segment.memory.contains(&address).then_some(address)
        };
        let mut executable = self.segments.iter().filter(|segment| segment.executable);
        let linked = executable.find_map(within);
        match linked.or_else(|| self.segments.iter().find_map(within)) {
            Some(entry) => Ok(entry),
            None => self.check_entry(self.entry).map(|()| self.entry),
        }
    }

    fn check_entry(&self, entry: u64) -> Result<(), KernelError> {
        let mut segments = self.segments.iter();
        match segments.any(|segment| segment.memory.contains(&entry)) {
            true => Ok(()),
            false => Err(KernelError::EntryOutside { entry }),
        }
    }
}

impl Segment {
    /// One that is linked where it is loaded.
    pub(super) fn flat(file: Range<u64>, memory: Range<u64>) -> Self {
        let linked = memory.start;
        Self {
            file,
            memory,
            linked,
            executable: true,
        }
    }

    /// The one whose header is at `header`, which lies in the file.
    fn parse(bytes: &[u8], class: Class, header: u64) -> Result<Self, KernelError> {
        let at = class.offsets();
        let word = |at: u64| class.word_at(bytes, header + at).unwrap_or_default();
        let (offset, in_file) = (word(at.segment_offset), word(at.segment_in_file));
        let (physical, in_memory) = (word(at.segment_physical), word(at.segment_in_memory));
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
        Ok(Self {
            file: if in_file > 0 { offset..file_end } else { 0..0 },
            memory: physical..memory_end,
            linked: word(at.segment_virtual),
            executable: u32_at(bytes, header + at.segment_flags).unwrap_or_default() & FLAG_EXECUTE
                != 0,
        })
    }

    fn check(&self) -> Result<(), KernelError> {
        let len = |range: &Range<u64>| range.end - range.start;
        if len(&self.file) > len(&self.memory) {
            return Err(KernelError::Damaged(
                "a segment is larger in the file than in memory",
            ));
        }
        Ok(())
    }
}

fn check_identity(bytes: &[u8], expected: Expected) -> Result<Class, KernelError> {
    if !bytes.starts_with(MAGIC) {
        return Err(KernelError::NotAKernel);
    }
    let shortest = Class::Elf32.offsets().header_len;
    if (bytes.len() as u64) < shortest {
        return Err(truncated("header", bytes, shortest));
    }
    let machine = u16_at(bytes, 18).unwrap_or_default();
    if bytes[5] != LITTLE_ENDIAN {
        return Err(KernelError::WrongArchitecture(
            "a big-endian machine".into(),
        ));
    }
    let class = match (bytes[4], machine, expected) {
        (CLASS_64, MACHINE_X86_64, _) => Class::Elf64,
        (CLASS_32, MACHINE_386, Expected::Multiboot) => Class::Elf32,
        (CLASS_32, MACHINE_386, Expected::Linux) => return Err(KernelError::Only32Bit),
        (class, machine, _) => {
            return Err(KernelError::WrongArchitecture(architecture(machine, class)));
        }
    };
    match u16_at(bytes, 16) {
        Some(TYPE_EXEC | TYPE_DYN) => Ok(class),
        _ => Err(KernelError::Damaged(
            "it is an ELF object or core file, not an executable",
        )),
    }
}

fn architecture(machine: u16, class: u8) -> String {
    let name = match machine {
        MACHINE_386 => "32-bit x86",
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
    class: Class,
    start: u64,
    count: u16,
    entry_len: u16,
) -> Result<u64, KernelError> {
    if start == 0 || count == 0 {
        return Ok(0);
    }
    let at = class.offsets();
    if u64::from(entry_len) != at.section_len {
        return Err(KernelError::Damaged(
            "its section headers have a wrong size",
        ));
    }
    let headers = table("section header table", bytes, start, count, at.section_len)?;
    let mut last = headers.end;
    for header in headers.step_by(at.section_len as usize) {
        let word = |at: u64| class.word_at(bytes, header + at).unwrap_or_default();
        if u32_at(bytes, header + 4) == Some(SECTION_NOBITS) {
            continue;
        }
        let end = word(at.section_offset).saturating_add(word(at.section_size));
        if end > bytes.len() as u64 {
            return Err(truncated("last section", bytes, end));
        }
        last = last.max(end);
    }
    Ok(last)
}

pub(super) fn truncated(what: &'static str, bytes: &[u8], needed: u64) -> KernelError {
    KernelError::Truncated {
        what,
        len: bytes.len() as u64,
        needed,
    }
}

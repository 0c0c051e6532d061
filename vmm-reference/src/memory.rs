// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's memory: below the gap for devices as far as it goes, the rest above 4 GiB; and the
//! map of it that the guest is given, one for all boot protocols.

use std::ops::Range;

use thiserror::Error;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::config::MemoryConfig;
use crate::layout;

/// Memory that the guest can't have.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// None at all.
    #[error(
        "guest memory of 0 MiB: use --memory size_mib=1 or more (a Linux kernel needs some 128)"
    )]
    Zero,
    /// More than there is.
    #[error(
        "guest memory of {mib} MiB is more than this host's {host_mib} MiB: lower --memory size_mib"
    )]
    AboveHost {
        /// What was asked for.
        mib: u64,
        /// The host's memory.
        host_mib: u64,
    },
    /// The host can't map it.
    #[error("cannot map {mib} MiB of guest memory: {reason}; lower --memory size_mib")]
    Map {
        /// What was asked for.
        mib: u64,
        /// Why.
        reason: vm_memory::mmap::FromRangesError,
    },
}

/// What a range of guest-physical addresses is, in the numbers that e820 and PVH share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// Memory for the guest's use.
    Ram = 1,
    /// Not for use.
    Reserved = 2,
}

/// An entry of the memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// The addresses.
    pub range: Range<u64>,
    /// What they are.
    pub kind: MapKind,
}

/// Where `size` bytes of memory lie.
pub fn ranges(size: u64) -> Vec<Range<u64>> {
    let gap = layout::MMIO_GAP;
    let below = size.min(gap.start);
    let above = gap.end..gap.end.saturating_add(size - below);
    [0..below, above]
        .into_iter()
        .filter(|range| !range.is_empty())
        .collect()
}

/// Maps the guest's memory, which is all zeros.
///
/// # Errors
/// [`MemoryError`] when the size is 0 or more than the host has.
pub fn create(config: &MemoryConfig) -> Result<GuestMemoryMmap, MemoryError> {
    create_on(config, host_memory_kib())
}

fn create_on(config: &MemoryConfig, host_kib: Option<u64>) -> Result<GuestMemoryMmap, MemoryError> {
    let mib = u64::from(config.size_mib);
    if mib == 0 {
        return Err(MemoryError::Zero);
    }
    // The host hands out pages when they are touched, so mapping alone would not tell.
    if let Some(host_mib) = host_kib.map(|kib| kib / 1024).filter(|host| mib > *host) {
        return Err(MemoryError::AboveHost { mib, host_mib });
    }
    let map = |reason| MemoryError::Map { mib, reason };
    let regions: Vec<_> = ranges(mib << 20)
        .into_iter()
        .map(|range| {
            (
                GuestAddress(range.start),
                (range.end - range.start) as usize,
            )
        })
        .collect();
    GuestMemoryMmap::from_ranges(&regions).map_err(map)
}

/// The map of `memory` for the guest: all of it but the video memory and ROM area below 1 MiB,
/// where the ACPI tables are.
pub fn map(memory: &GuestMemoryMmap) -> Vec<MapEntry> {
    let entry = |range, kind| MapEntry { range, kind };
    let mut map = Vec::new();
    for region in memory.iter() {
        let (mut start, end) = (region.start_addr().0, layout::end_of(region));
        if start < layout::HIMEM_START {
            let low_end = end.min(layout::LOW_MEMORY_END);
            map.push(entry(start..low_end, MapKind::Ram));
            map.push(entry(layout::LOW_MEMORY_END..0xa_0000, MapKind::Reserved));
            map.push(entry(layout::ACPI, MapKind::Reserved));
            start = layout::HIMEM_START;
        }
        if start < end {
            map.push(entry(start..end, MapKind::Ram));
        }
    }
    map
}

/// The host's memory, if it tells.
fn host_memory_kib() -> Option<u64> {
    mem_total_kib(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn mem_total_kib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_around_the_gap() {
        const GIB: u64 = 1 << 30;
        for size in [1, 256 << 20, 3 * GIB] {
            let below = 0..size;
            assert_eq!(ranges(size), [below]);
        }
        assert_eq!(ranges(3 * GIB + 1), [0..3 * GIB, 4 * GIB..4 * GIB + 1]);
        assert_eq!(ranges(8 * GIB), [0..3 * GIB, 4 * GIB..9 * GIB]);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_remedy() {
        let create = |size_mib, host| create_on(&MemoryConfig { size_mib }, Some(host));
        let line = |result: Result<_, MemoryError>| result.unwrap_err().to_string();
        assert!(line(create(0, 1 << 20)).contains("size_mib=1"));
        let above = line(create(1025, 1 << 20));
        assert!(
            above.contains("1025 MiB") && above.contains("1024 MiB"),
            "{above}"
        );
        let memory = create(1024, 1 << 20).unwrap();
        assert_eq!(
            memory.iter().map(|region| region.len()).sum::<u64>(),
            1 << 30
        );
    }

    #[test]
    fn the_map_covers_all_memory_but_the_rom_area() {
        let memory = create_on(&MemoryConfig { size_mib: 16 }, None).unwrap();
        let ram = |range| MapEntry {
            range,
            kind: MapKind::Ram,
        };
        let reserved = |range| MapEntry {
            range,
            kind: MapKind::Reserved,
        };
        let expected = [
            ram(0..0x9_fc00),
            reserved(0x9_fc00..0xa_0000),
            reserved(0xe_0000..0x10_0000),
            ram(0x10_0000..0x100_0000),
        ];
        assert_eq!(map(&memory), expected);
        // 1 MiB is no more than the low memory.
        let least = create_on(&MemoryConfig { size_mib: 1 }, None).unwrap();
        assert_eq!(map(&least), expected[..3]);
    }

    #[test]
    fn memory_above_the_gap_is_in_the_map() {
        // Nothing is touched, so this costs address space only.
        let memory = create_on(&MemoryConfig { size_mib: 4096 }, None).unwrap();
        let ram: Vec<_> = map(&memory)
            .into_iter()
            .filter(|entry| entry.kind == MapKind::Ram)
            .map(|entry| entry.range)
            .collect();
        let gib = 1 << 30;
        assert_eq!(ram, [0..0x9_fc00, 0x10_0000..3 * gib, 4 * gib..5 * gib]);
    }

    #[test]
    fn the_hosts_memory_is_read() {
        let meminfo = "MemFree: 1 kB\nMemTotal:       16307256 kB\n";
        assert_eq!(mem_total_kib(meminfo), Some(16_307_256));
        assert_eq!(mem_total_kib("MemTotal: much"), None);
        assert_eq!(mem_total_kib(""), None);
    }
}

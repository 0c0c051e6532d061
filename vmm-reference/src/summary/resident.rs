// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The process's resident memory, the guest's and the VMM's own apart.

use std::ops::Range;

/// Resident memory, by what it is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) own_kib: u64,
    pub(super) guest_kib: u64,
}

impl Resident {
    /// Adds up `/proc/self/smaps`; mappings that overlap `guest` are the guest's.
    pub(super) fn of(smaps: &str, guest: &[Range<u64>]) -> Self {
        let mut resident = Self {
            own_kib: 0,
            guest_kib: 0,
        };
        let mut is_guest = false;
        for line in smaps.lines() {
            if let Some(mapping) = mapping_of(line) {
                is_guest = guest
                    .iter()
                    .any(|range| range.start < mapping.end && mapping.start < range.end);
            } else if let Some(kib) = line.strip_prefix("Rss:").and_then(kib_of) {
                match is_guest {
                    true => resident.guest_kib += kib,
                    false => resident.own_kib += kib,
                }
            }
        }
        resident
    }
}

/// "7f00a000-7f00b000 rw-p …"
fn mapping_of(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// "     12 kB"
fn kib_of(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_not_the_vmms() {
        let smaps = "\
00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/vmm
Rss:                 100 kB
Pss:                  50 kB
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
Rss:               65536 kB
7f0010000000-7f0010100000 rw-p 00000000 00:00 0
Rss:                   8 kB
";
        let guest: Range<u64> = 0x7f00_0000_0000..0x7f00_1000_0000;
        assert_eq!(
            Resident::of(smaps, std::slice::from_ref(&guest)),
            Resident {
                own_kib: 108,
                guest_kib: 65536
            }
        );
    }
}

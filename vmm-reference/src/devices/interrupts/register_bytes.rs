// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accesses to registers of 32 bits that are 16 bytes apart, as both kinds of APIC have them.

/// From one register to the next.
const SLOT: u64 = 16;

/// Fills `data`, which begins at `offset`, with the bytes of the registers. `register` gives that of
/// a slot. What lies between two of them reads as zeros.
pub(super) fn read(offset: u64, data: &mut [u8], mut register: impl FnMut(u64) -> u32) {
    let mut last = None;
    for (index, byte) in (0..).zip(data) {
        let at = offset.wrapping_add(index);
        let slot = at / SLOT;
        // One access is one read of a register, however many bytes of it are asked for.
        let value = match last {
            Some((known, value)) if known == slot => value,
            _ => register(slot),
        };
        last = Some((slot, value));
        *byte = usize::try_from(at % SLOT)
            .ok()
            .and_then(|at| value.to_le_bytes().get(at).copied())
            .unwrap_or(0);
    }
}

/// The slot and the value of a write that begins where a register does and covers it. No other has
/// a defined meaning, and they have none here.
pub(super) fn written(offset: u64, data: &[u8]) -> Option<(u64, u32)> {
    let value = u32::from_le_bytes(*data.first_chunk()?);
    offset
        .is_multiple_of(SLOT)
        .then_some((offset / SLOT, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_takes_the_bytes_it_covers() {
        for (offset, length, expected) in [
            (0, 4, vec![1, 2, 3, 4]),
            (1, 2, vec![2, 3]),
            (2, 4, vec![3, 4, 0, 0]),
            (4, 4, vec![0; 4]),
            (14, 4, vec![0, 0, 2, 3]),
            (0, 0, vec![]),
            (u64::MAX, 3, vec![0, 1, 2]),
        ] {
            let mut data = vec![0xff; length];
            let mut reads = Vec::new();
            read(offset, &mut data, |slot| {
                assert!(!reads.contains(&slot), "read twice");
                reads.push(slot);
                0x0403_0201 + if slot == 1 { 0x0101_0101 } else { 0 }
            });
            assert_eq!(data, expected, "{offset:#x} {length}");
        }
    }

    #[test]
    fn a_write_has_to_cover_a_register() {
        let data = [1, 0, 0, 0, 9, 9, 9, 9];
        for (offset, length, expected) in [
            (0x20, 4, Some((2, 1))),
            (0x20, 8, Some((2, 1))),
            (0x20, 3, None),
            (0x20, 0, None),
            (0x24, 4, None),
            (0x1f, 4, None),
        ] {
            assert_eq!(written(offset, &data[..length]), expected, "{offset:#x}");
        }
    }
}

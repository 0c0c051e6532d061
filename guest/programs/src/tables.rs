// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The tables that the processor reads: of interrupts, of segments, of pages.

use crate::handlers::Handlers;
use crate::layout;
use crate::mode::Mode;

/// The code segment's selector.
pub(crate) const CODE: u16 = 8;
/// The data segments' selector.
pub(crate) const DATA: u16 = 16;
/// The task state segment's selector.
pub(crate) const TASK: u16 = 24;
/// The task state segment's limit: it has no I/O permission map.
pub(crate) const TSS_LIMIT: u16 = 0x67;

/// Descriptors of flat segments: 32-bit code, 64-bit code, data.
const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
const CODE_64: u64 = 0x00af_9b00_0000_ffff;
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
/// A busy task state segment (32-bit, in long mode 64-bit), without its base and limit.
const TASK_DESCRIPTOR: u64 = 0x8b00_0000_0000;
/// An interrupt gate (32-bit, in long mode 64-bit), without its offset, selector and stack.
const INTERRUPT_GATE: u64 = 0x8e00_0000_0000;

/// Offsets in the task state segment.
const TSS_IST1: u64 = 36;
const TSS_IO_MAP: u64 = 102;

/// Page table entries: present and writable, at the page directory's level a page of 2 MiB.
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;

/// Writes `bytes` at `address` of the guest's memory.
pub(crate) fn put(image: &mut [u8], address: u64, bytes: &[u8]) {
    let room = image.iter_mut().skip(address as usize);
    for (to, from) in room.zip(bytes) {
        *to = *from;
    }
}

fn put_quadword(image: &mut [u8], address: u64, value: u64) {
    put(image, address, &value.to_le_bytes());
}

/// Writes the tables of `mode`. With `ist`, long mode switches stacks for some vectors.
pub(crate) fn write(image: &mut [u8], mode: Mode, handlers: Handlers, ist: bool) {
    for vector in 0..=u8::MAX {
        write_vector(image, mode, vector, handlers.entry(vector), ist);
    }
    if mode == Mode::Real {
        return;
    }
    write_segments(image, mode);
    if mode == Mode::Long {
        write_pages(image);
    }
}

/// Makes `handler` that of `vector`.
fn write_vector(image: &mut [u8], mode: Mode, vector: u8, handler: u64, ist: bool) {
    let index = u64::from(vector);
    let gate = (handler & 0xffff)
        | u64::from(CODE) << 16
        | INTERRUPT_GATE
        | (handler >> 16 & 0xffff) << 48;
    match mode {
        // A segment of 0, and the offset before it.
        Mode::Real => {
            let handler = handler as u32 & 0xffff;
            put(image, layout::IVT + 4 * index, &handler.to_le_bytes());
        }
        Mode::Protected => put_quadword(image, layout::IDT + 8 * index, gate),
        Mode::Long => {
            let stack = layout::ist_index(vector).filter(|_| ist).unwrap_or(0);
            let address = layout::IDT + 16 * index;
            put_quadword(image, address, gate | u64::from(stack) << 32);
            put_quadword(image, address + 8, handler >> 32);
        }
    }
}

fn write_segments(image: &mut [u8], mode: Mode) {
    let code = if mode == Mode::Long { CODE_64 } else { CODE_32 };
    let task = u64::from(TSS_LIMIT) | layout::TSS << 16 | TASK_DESCRIPTOR;
    put_quadword(image, layout::GDT + u64::from(CODE), code);
    put_quadword(image, layout::GDT + u64::from(DATA), DATA_DESCRIPTOR);
    // The upper half of long mode's descriptor is 0: the base has no more bits.
    put_quadword(image, layout::GDT + u64::from(TASK), task);

    if mode == Mode::Long {
        for index in (1..).take(layout::IST_VECTORS.len()) {
            let address = layout::TSS + TSS_IST1 + 8 * u64::from(index - 1);
            put_quadword(image, address, layout::ist_top(index));
        }
    }
    let io_map = TSS_LIMIT + 1;
    put(image, layout::TSS + TSS_IO_MAP, &io_map.to_le_bytes());
}

/// The first 2 MiB, mapped to themselves.
fn write_pages(image: &mut [u8]) {
    put_quadword(image, layout::PML4, layout::PDPT | PRESENT_WRITABLE);
    put_quadword(image, layout::PDPT, layout::PD | PRESENT_WRITABLE);
    put_quadword(image, layout::PD, LARGE | PRESENT_WRITABLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(mode: Mode, handlers: Handlers, ist: bool) -> Vec<u8> {
        let mut image = vec![0; layout::SIZE];
        write(&mut image, mode, handlers, ist);
        image
    }

    fn quadword(image: &[u8], address: u64) -> u64 {
        let bytes = &image[address as usize..][..8];
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    /// The offset of a gate, whose other fields must be an interrupt gate's; and its stack's index.
    fn offset_and_stack(gate: u64) -> (u64, u64) {
        assert_eq!(gate >> 16 & 0xffff, 8, "selector");
        assert_eq!(gate >> 40 & 0xff, 0x8e, "present, ring 0, interrupt gate");
        let offset = (gate & 0xffff) | (gate >> 48 << 16);
        (offset, gate >> 32 & 0xff)
    }

    #[test]
    fn each_vector_leads_to_its_handler() {
        for handlers in Handlers::ALL {
            let real = image(Mode::Real, handlers, false);
            let protected = image(Mode::Protected, handlers, false);
            let long = image(Mode::Long, handlers, false);
            for vector in 0..=255 {
                let index = u64::from(vector);
                let handler = handlers.entry(vector);
                // Segment 0, offset before it.
                let pair = quadword(&real, layout::IVT + 4 * index) & 0xffff_ffff;
                assert_eq!(pair, handler);
                let gate = quadword(&protected, layout::IDT + 8 * index);
                assert_eq!(offset_and_stack(gate), (handler, 0));
                let gate = quadword(&long, layout::IDT + 16 * index);
                assert_eq!(offset_and_stack(gate), (handler, 0));
                assert_eq!(quadword(&long, layout::IDT + 16 * index + 8), 0);
            }
        }
    }

    #[test]
    fn three_vectors_have_stacks_in_long_mode_if_asked() {
        let long = image(Mode::Long, Handlers::Short, true);
        for vector in 0..=255 {
            let gate = quadword(&long, layout::IDT + 16 * u64::from(vector));
            let stack = match vector {
                2 => 1,
                8 => 2,
                13 => 3,
                _ => 0,
            };
            let handler = Handlers::Short.entry(vector);
            assert_eq!(offset_and_stack(gate), (handler, stack));
        }
        for index in 1..=3 {
            let pointer = quadword(&long, layout::TSS + 0x24 + 8 * u64::from(index - 1));
            assert_eq!(pointer, layout::ist_top(index));
        }
        for mode in [Mode::Real, Mode::Protected] {
            let without = image(mode, Handlers::Short, false);
            assert_eq!(image(mode, Handlers::Short, true), without);
        }
    }
}

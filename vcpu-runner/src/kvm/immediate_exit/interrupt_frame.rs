// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The frames that were pushed while a single step was on, put right.
//!
//! A single step is mostly made of RFLAGS.TF, and whatever is delivered meanwhile pushes it: the event
//! that was to be injected, but also a fault of the instruction that is stepped, or an interrupt that
//! nobody foresaw. When the handler returns, the guest would single-step, though nobody asked it to.
//! (SDM 3, 7.12.1: the processor pushes RFLAGS, then clears TF.)

use kvm_bindings::kvm_sregs;

use super::linear_memory::Linear;
use super::situation::Situation;

/// TF in the second byte of RFLAGS.
const TF: u8 = 1;
/// The longest instruction: a frame's instruction pointer is that of the instruction that was stepped,
/// or of the one behind it.
const LONGEST: u64 = 15;

/// A stack on which a frame may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stack {
    /// What is added to the stack pointer.
    base: u64,
    /// Where the stack pointer wraps.
    mask: u64,
    /// The stack pointer before the frame was pushed.
    top: u64,
    /// Bytes of each value.
    width: u64,
    /// Values above the error code.
    values: u64,
}

impl Stack {
    /// The linear address of the value `index` of a frame, counted from the instruction pointer.
    fn value(&self, index: u64) -> u64 {
        let depth = (self.values - index) * self.width;
        let address = self
            .base
            .wrapping_add(self.top.wrapping_sub(depth) & self.mask);
        match self.width {
            8 => address,
            _ => address & u64::from(u32::MAX),
        }
    }
}

/// Removes the step from every frame that was pushed when the guest was entered in the situation
/// `before` with the step on: on the task's own stack, on that of a lower ring, or on one of the
/// interrupt stacks.
pub(super) fn remove_step(before: &Situation, memory: &Linear<'_>) {
    for stack in stacks(before, memory) {
        // The error code, if there is one, is below the instruction pointer, where nobody looks.
        clear_tf(before, &stack, memory);
    }
}

fn clear_tf(before: &Situation, stack: &Stack, memory: &Linear<'_>) -> Option<()> {
    let ip = read_word(memory, stack.value(0), stack.width)?;
    let code_segment = u16::from_le_bytes(memory.read(stack.value(1)).ok()?);
    let second_byte = stack.value(2).wrapping_add(1);
    let [flags] = memory.read(second_byte).ok()?;
    let mask = u64::MAX >> (64 - 8 * stack.width);
    let ahead = ip.wrapping_sub(before.regs.rip) & mask;
    if ahead <= LONGEST && code_segment == before.sregs.cs.selector && flags & TF != 0 {
        memory.write(second_byte, flags & !TF).ok()?;
    }
    Some(())
}

fn read_word(memory: &Linear<'_>, address: u64, width: u64) -> Option<u64> {
    let mut word = [0; 8];
    let bytes = word.get_mut(..usize::try_from(width).ok()?)?;
    let len = bytes.len();
    (memory.read_some(address, bytes) == len).then(|| u64::from_le_bytes(word))
}

/// Offsets in a 64-bit TSS (SDM 3, 9.7): RSP0 to RSP2, IST1 to IST7.
const TSS64_RSP0: u64 = 0x04;
const TSS64_IST1: u64 = 0x24;
/// Offset in a 32-bit TSS (SDM 3, 9.2.1): a stack pointer and its segment for each of rings 0 to 2.
const TSS32_ESP0: u64 = 4;
const RINGS: u64 = 3;
const INTERRUPT_STACKS: u64 = 7;

fn stacks(before: &Situation, memory: &Linear<'_>) -> Vec<Stack> {
    let sregs = &before.sregs;
    if before.is_long() {
        return long_mode(before, memory);
    }
    let own = |width| Stack {
        base: sregs.ss.base,
        mask: if sregs.ss.db == 0 {
            0xffff
        } else {
            u64::from(u32::MAX)
        },
        top: before.regs.rsp,
        width,
        values: 3,
    };
    if !before.is_protected() {
        return vec![own(2)];
    }
    // The handlers' gates may be 16 bits wide, or 32.
    let mut stacks = vec![own(2), own(4)];
    for ring in 0..RINGS.min(sregs.ss.dpl.into()) {
        let at = sregs.tr.base.wrapping_add(TSS32_ESP0 + 8 * ring);
        if let Some(top) = read_word(memory, at, 4) {
            // The segment is taken to be flat, as every system has it.
            stacks.extend([2, 4].map(|width| Stack {
                base: 0,
                mask: u32::MAX.into(),
                top,
                width,
                values: 5,
            }));
        }
    }
    stacks
}

fn long_mode(before: &Situation, memory: &Linear<'_>) -> Vec<Stack> {
    let sregs = &before.sregs;
    let mut tops = vec![before.linear_rsp()];
    let rings = (0..RINGS.min(sregs.ss.dpl.into())).map(|ring| TSS64_RSP0 + 8 * ring);
    let interrupts = (0..INTERRUPT_STACKS).map(|index| TSS64_IST1 + 8 * index);
    tops.extend(
        rings
            .chain(interrupts)
            .filter_map(|offset| tss_quad(sregs, memory, offset)),
    );
    tops.retain(|top| *top != 0);
    tops.dedup();
    let stack = |top: u64| Stack {
        base: 0,
        mask: u64::MAX,
        // Stack segment and pointer are pushed in any case, below a multiple of 16.
        top: top & !0xf,
        width: 8,
        values: 5,
    };
    tops.into_iter().map(stack).collect()
}

fn tss_quad(sregs: &kvm_sregs, memory: &Linear<'_>, offset: u64) -> Option<u64> {
    let last = offset + 7;
    let inside = last <= u64::from(sregs.tr.limit);
    let at = sregs.tr.base.wrapping_add(offset);
    inside.then(|| read_word(memory, at, 8)).flatten()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use kvm_bindings::kvm_regs;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;

    const TSS: u64 = 0x8000;
    const RIP: u64 = 0x1234;
    const LMA: u64 = 1 << 10;

    fn ram() -> GuestMemoryMmap {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2_0000)]).unwrap();
        for (offset, value) in [(4, 0x5008_u64), (0x24, 0x6000), (0x2c, 0x7000)] {
            ram.write_obj(value, GuestAddress(TSS + offset)).unwrap();
        }
        ram
    }

    fn situation(rsp: u64, cpl: u8, efer: u64, cr0: u64) -> Situation {
        let mut sregs = kvm_sregs {
            efer,
            cr0,
            ..Default::default()
        };
        sregs.cs.selector = 0x10 | u16::from(cpl);
        sregs.cs.l = u8::from(efer != 0);
        sregs.ss.dpl = cpl;
        sregs.ss.db = u8::from(cr0 != 0);
        (sregs.tr.base, sregs.tr.limit) = (TSS, 0x67);
        let regs = kvm_regs {
            rsp,
            rip: RIP,
            ..Default::default()
        };
        Situation::of(regs, sregs)
    }

    /// Whether the flags of a frame at `ip` are put right, each value `width` bytes wide.
    fn is_put_right(before: &Situation, ip: u64, width: u64, frame: [u64; 3]) -> bool {
        let ram = ram();
        let put = |index: u64, value: u64| {
            let bytes = &value.to_le_bytes()[..width as usize];
            let at = GuestAddress(ip + index * width);
            ram.write_slice(bytes, at).unwrap();
        };
        (0..)
            .zip(frame)
            .for_each(|(index, value)| put(index, value));
        let identity = |address| Some(address);
        remove_step(before, &Linear::new(&identity, &ram));
        let mut flags = [0; 2];
        ram.read_slice(&mut flags, GuestAddress(ip + 2 * width))
            .unwrap();
        flags[1] & TF == 0
    }

    #[test]
    fn the_frame_is_where_the_processor_pushes_it() {
        let long = |rsp, cpl| situation(rsp, cpl, LMA, 1);
        let frame = |cpl: u64| [RIP, 0x10 | cpl, 0x302];
        // Aligned to 16 bytes, then SS, RSP, RFLAGS, CS, RIP.
        assert!(is_put_right(&long(0x4008, 0), 0x4000 - 40, 8, frame(0)));
        // From ring 3: RSP0 of the TSS. In any ring: the interrupt stacks.
        assert!(is_put_right(&long(0x4008, 3), 0x5000 - 40, 8, frame(3)));
        assert!(!is_put_right(&long(0x4008, 0), 0x5000 - 40, 8, frame(0)));
        assert!(is_put_right(&long(0x4008, 0), 0x6000 - 40, 8, frame(0)));
        assert!(is_put_right(&long(0x4008, 3), 0x7000 - 40, 8, frame(3)));
        let protected = |rsp, cpl| situation(rsp, cpl, 0, 1);
        assert!(is_put_right(
            &protected(0x4008, 0),
            0x4008 - 12,
            4,
            frame(0)
        ));
        assert!(is_put_right(&protected(0x4008, 0), 0x4008 - 6, 2, frame(0)));
        assert!(is_put_right(
            &protected(0x4008, 3),
            0x5008 - 20,
            4,
            frame(3)
        ));
        let real = |rsp| situation(rsp, 0, 0, 0);
        assert!(is_put_right(&real(0x4008), 0x4008 - 6, 2, frame(0)));
        // The stack pointer of real mode wraps.
        assert!(is_put_right(&real(0), 0xfffa, 2, frame(0)));
    }

    #[test]
    fn only_a_frame_of_the_stepped_instruction_is_touched() {
        let before = situation(0x4000, 0, LMA, 1);
        let at = 0x4000 - 40;
        assert!(is_put_right(&before, at, 8, [RIP + 15, 0x10, 0x302]));
        for other in [
            [RIP + 16, 0x10, 0x302],
            [RIP - 1, 0x10, 0x302],
            [RIP, 0x18, 0x302],
        ] {
            assert!(!is_put_right(&before, at, 8, other), "{other:x?}");
        }
    }

    #[test]
    fn stacks_outside_of_memory_are_passed_over() {
        let ram = ram();
        let identity = |address| Some(address);
        for rsp in [0, 7, u64::MAX, 0x2_0000 + 8] {
            for (efer, cr0) in [(LMA, 1), (0, 1), (0, 0)] {
                let mut before = situation(rsp, 3, efer, cr0);
                before.sregs.tr.base = u64::MAX - 3;
                remove_step(&before, &Linear::new(&identity, &ram));
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Exceptions of user code's that are taken back: what they have pushed, and user code as it was before.

use super::engine::Came;
use super::error::SoftError;
use super::idt::{descriptor, vector};
use super::space::{Space, word};
use super::state::{CpuState, LOW, Segment, Stale};
use super::vcpu::{SoftVcpu, UserStep};
use super::world::World;
use crate::registers::rflags;

/// What an exception of user code's has pushed: one without error code, or with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserFrame {
    pub(super) vector: u8,
    rip: u64,
    code: (u16, Segment),
    rflags: u64,
    rsp: u64,
    stack: (u16, Segment),
}

impl UserFrame {
    /// Reads it from the top of the stack. What the segments of user code are, its last registers say, or
    /// the descriptors where others were loaded since. `None`: there is none of user code's.
    fn read(
        vector: u8,
        last: Option<&CpuState>,
        state: &CpuState,
        space: &Space<'_>,
    ) -> Option<Self> {
        let has_error_code = vector == vector::GENERAL_PROTECTION;
        let size = if state.is_long() { 8 } else { 4 };
        let mut bytes = [0; 6 * 8];
        let bytes = bytes.get_mut(..(5 + usize::from(has_error_code)) * size)?;
        space.read(state.linear_rsp(), bytes).ok()?;
        let mut words = bytes.chunks(size).map(word);
        if has_error_code && words.next()? & LOW != 0 {
            return None;
        }
        let (rip, cs, flags) = (words.next()?, words.next()? as u16, words.next()?);
        let (rsp, ss) = (words.next()?, words.next()? as u16);
        if cs & 3 != 3 || flags & rflags::VM != 0 {
            return None;
        }
        let segment = |selector: u16, had: fn(&CpuState) -> (u16, Segment)| {
            let last = last.filter(|last| last.cpl() == 3).map(had);
            match last.filter(|(last, _)| *last == selector) {
                Some((_, segment)) => Some(segment),
                None => descriptor(selector, state, space),
            }
        };
        Some(Self {
            vector,
            rip,
            code: (cs, segment(cs, CpuState::code_segment)?),
            rflags: flags,
            rsp,
            stack: (ss, segment(ss, CpuState::stack_segment)?),
        })
    }

    /// The registers as they were before the exception. A fault sets RF for the instruction's next try.
    pub(super) fn before(&self, state: &CpuState) -> CpuState {
        let mut user = state.clone();
        user.load_code_segment(self.code.0, &self.code.1);
        user.load_stack_segment(self.stack.0, &self.stack.1);
        user.set_rip(self.rip);
        user.set_rsp(self.rsp);
        user.set_rflags(self.rflags & !rflags::RF);
        user.changed(Stale::All);
        user
    }
}

impl<W: World> SoftVcpu<W> {
    pub(super) fn handler_of(&mut self, vector: u8) -> Option<u64> {
        self.with_handlers(|handlers, state, space| handlers.address(vector, state, space))
    }

    /// What an exception of user code's, whose `last` registers these were, has pushed if the guest stands
    /// at its handler. Gates of 16 bits push what does not show where user code was.
    pub(super) fn user_frame(&mut self, vector: u8, last: Option<&CpuState>) -> Option<UserFrame> {
        if self.state.cpl() == 3 || self.handler_of(vector) != Some(self.state.linear_rip()) {
            return None;
        }
        self.handlers.gate(vector).filter(|gate| !gate.is_16_bit)?;
        self.with_space(|state, space| UserFrame::read(vector, last, state, space))
    }

    /// A trap and a stop end in user code as an exception of L2's, which stands at its handler: user code
    /// must not execute the HLT of a stop. Takes it back.
    pub(super) fn end_user_step(&mut self, before: &CpuState) -> Result<(), SoftError> {
        if before.cpl() == 3
            && self.user_step == UserStep::Trap
            && let Some(frame) = self.user_frame(vector::DEBUG, Some(before))
        {
            // A breakpoint of L2's own is a fault, and L2's to have. The flag in the frame tells nothing:
            // a trap whose delivery was interrupted comes with a later entry.
            if self.engine_mut().take_trap()? {
                self.state = frame.before(&self.state);
            }
            return Ok(());
        }
        let Some(frame) = self.user_frame(vector::GENERAL_PROTECTION, Some(before)) else {
            return Ok(());
        };
        let handler = self.state.clone();
        self.state = frame.before(&handler);
        let at = self.state.linear_rip();
        let found = self.with_space(|_, space| space.code(at));
        let is_stop = found.is_ok_and(|physical| self.sites.contains(physical));
        if !is_stop {
            self.state = handler;
        }
        Ok(())
    }

    /// Takes the flag of a trap out of the registers of user code that had these flags.
    pub(super) fn hide_trap(&mut self, flags: u64) {
        if self.user_step == UserStep::Trap && self.state.cpl() == 3 {
            let others = self.state.rflags() & !rflags::TF;
            self.state.set_rflags(others | flags & rflags::TF);
        }
    }

    /// Likewise behind an instruction whose I/O the VMM has done: KVM, too, may have made a trap.
    pub(super) fn end_trap(&mut self, flags: u64) -> Result<(), SoftError> {
        if self.user_step == UserStep::Trap && self.state.cpl() == 3 {
            self.engine_mut().take_back(Came::Step)?;
        }
        self.hide_trap(flags);
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::capability::{Capabilities, Processor};
    use crate::memory::L1Memory;
    use crate::model::ModelMemory;
    use crate::soft::vmcs01::vmcs01;
    use crate::vmcs::Field;

    const STACK: u64 = 0x800;
    const TABLE: u64 = 0x100;
    const LIMIT: u64 = 0x1f;
    const CODE: u64 = 0x10;
    const DATA: u64 = 0x18;

    /// A kernel of 64 bits without paging, which no processor has and no access needs.
    fn kernel(is_long: bool) -> CpuState {
        let mut state = CpuState::new(vmcs01(&Capabilities::software(Processor::new(40))));
        for (field, value) in [
            (Field::GuestCr0, 1),
            (Field::GuestIa32Efer, if is_long { 0x500 } else { 0 }),
            (Field::GuestCsArBytes, if is_long { 0xa09b } else { 0xc09b }),
            (Field::GuestSsArBytes, 0xc093),
            (Field::GuestRsp, STACK),
            (Field::GuestGdtrBase, TABLE),
            (Field::GuestGdtrLimit, LIMIT),
        ] {
            state.vmcs.write(field, value);
        }
        state
    }

    fn read(vector: u8, is_long: bool, words: &[u64]) -> Option<UserFrame> {
        let memory = ModelMemory::new(0x1000);
        let size = if is_long { 8 } else { 4 };
        for (word, at) in words.iter().zip((STACK..).step_by(size)) {
            memory.write(at, &word.to_le_bytes()[..size]).unwrap();
        }
        for (at, descriptor) in [
            (CODE, 0x00af_fb00_0000_ffff_u64),
            (DATA, 0x00cf_f312_3456_00ff),
        ] {
            memory.write(TABLE + at, &descriptor.to_le_bytes()).unwrap();
        }
        let state = kernel(is_long);
        let space = Space::new(&memory, None, state.paging(Processor::new(40)));
        UserFrame::read(vector, None, &state, &space)
    }

    const FRAME: [u64; 5] = [0x1234, CODE | 3, 0x1_0302, 0x5678, DATA | 3];

    #[test]
    fn user_code_is_as_it_was() {
        for is_long in [true, false] {
            let frame = read(vector::INVALID_OPCODE, is_long, &FRAME).unwrap();
            let with_code: Vec<u64> = core::iter::once(0).chain(FRAME).collect();
            let same = read(vector::GENERAL_PROTECTION, is_long, &with_code).unwrap();
            assert_eq!(
                UserFrame {
                    vector: vector::INVALID_OPCODE,
                    ..same
                },
                frame
            );
            let user = frame.before(&kernel(is_long));
            assert_eq!((user.rip(), user.rsp(), user.cpl()), (0x1234, 0x5678, 3));
            assert_eq!(user.rflags(), 0x302, "without RF");
            let stack = Segment {
                base: 0x12_3456,
                limit: 0xf00f_ffff,
                rights: 0xc0f3,
            };
            assert_eq!(user.stack_segment(), ((DATA | 3) as u16, stack));
        }
    }

    #[test]
    fn other_frames_are_not_user_codes() {
        let with = |at: usize, value: u64| {
            let mut frame = FRAME;
            frame[at] = value;
            read(vector::INVALID_OPCODE, true, &frame)
        };
        assert!(with(0, 0).is_some());
        assert_eq!(with(1, CODE), None, "the kernel's");
        assert_eq!(with(1, 0x20 | 3), None, "no descriptor");
        assert_eq!(with(2, 0x2_0002), None, "virtual-8086 mode");
        assert_eq!(with(4, 4 | 3), None, "no LDT");
        let with_code: Vec<u64> = core::iter::once(0x10).chain(FRAME).collect();
        assert_eq!(read(vector::GENERAL_PROTECTION, true, &with_code), None);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is below L2's stack pointer.

use super::exits;
use super::space::Space;
use super::state::CpuState;

/// What L2 has below its stack pointer, where the delivery of an exception pushes its frame: of one
/// that exits instead, there must be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BelowStack {
    pub(super) linear: u64,
    /// The offset in the stack segment.
    offset: u64,
    /// A frame with an error code has 48 bytes, from the aligned pointer downwards.
    pub(super) bytes: [u8; 48],
}

impl BelowStack {
    pub(super) fn read(state: &CpuState, space: &Space<'_>) -> Option<Self> {
        let mut bytes = [0; 48];
        let top = match state.is_long() {
            true => state.rsp() & !0xf,
            false => state.rsp(),
        };
        let offset = top.wrapping_sub(bytes.len() as u64);
        let base = exits::segment_base(iced_x86::Register::SS, state);
        let linear = base.wrapping_add(offset);
        space.read(linear, &mut bytes).ok()?;
        Some(Self {
            linear,
            offset,
            bytes,
        })
    }

    pub(super) fn contains(&self, offset: u64) -> bool {
        offset.wrapping_sub(self.offset) < self.bytes.len() as u64
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's interrupt handlers, and what the delivery of an event accesses (SDM volume 3,
//! sections 7.10 to 7.14 and 22.1.4).

use alloc::vec::Vec;

use super::space::{Fault, Space};
use super::state::{CpuState, LOW, Segment};
use crate::interruption::{Event, EventType};
use crate::l0::PendingException;
use crate::operand::Mode;
use crate::paging::Access;

/// Exceptions by their vectors (SDM volume 3, table 7-1).
pub(crate) mod vector {
    pub(crate) const DIVIDE: u8 = 0;
    pub(crate) const DEBUG: u8 = 1;
    pub(crate) const INVALID_OPCODE: u8 = 6;
    pub(crate) const DOUBLE_FAULT: u8 = 8;
    pub(crate) const GENERAL_PROTECTION: u8 = 13;
    pub(crate) const PAGE_FAULT: u8 = 14;
}

/// Present, in a gate's access byte.
const PRESENT: u8 = 0x80;
/// The gate is a task gate.
const TASK_GATE: u8 = 0x5;

/// The guest's handlers, as the IDT (in real mode, the IVT) has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handlers {
    /// The table's bytes, to see whether it has changed.
    bytes: Vec<u8>,
    /// The size of an entry.
    size: usize,
    /// The base of the code segment is added to a real-mode address.
    real: bool,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The offset of the handler; in real mode the linear address.
    pub(crate) offset: u64,
    pub(crate) selector: u16,
    /// The number of the stack in the TSS, in IA-32e mode.
    pub(crate) ist: u8,
    /// The lowest privilege that software may go through it with.
    pub(crate) dpl: u8,
    /// A gate of 16 bits pushes half as much.
    pub(crate) is_16_bit: bool,
}

impl Handlers {
    /// Reads the table, as far as there is one.
    pub(crate) fn read(state: &CpuState, space: &Space<'_>) -> Self {
        let real = !state.is_protected();
        let size = match (real, state.is_long()) {
            (true, _) => 4,
            (false, false) => 8,
            (false, true) => 16,
        };
        let limit = state.vmcs.guest_idtr_limit() as usize & 0xffff;
        let length = (limit + 1).min(256 * size) / size * size;
        let mut bytes = alloc::vec![0; length];
        let base = state.vmcs.guest_idtr_base();
        // What cannot be read delivers nothing. User code cannot, but the processor does.
        if space
            .implicitly(|space| space.read(base, &mut bytes))
            .is_err()
        {
            bytes.clear();
        }
        Self { bytes, size, real }
    }

    /// The entry of a vector, if an event can go through it.
    pub(crate) fn gate(&self, vector: u8) -> Option<Gate> {
        let start = usize::from(vector) * self.size;
        let entry = self.bytes.get(start..start + self.size)?;
        let word = |at: usize| match entry.get(at..at + 2) {
            Some([low, high]) => u16::from_le_bytes([*low, *high]),
            _ => 0,
        };
        if self.real {
            let offset = (u64::from(word(2)) << 4) + u64::from(word(0));
            return Some(Gate {
                offset,
                selector: word(2),
                ist: 0,
                dpl: 3,
                is_16_bit: true,
            });
        }
        let [ist, access] = word(4).to_le_bytes();
        if access & PRESENT == 0 || access & 0xf == TASK_GATE {
            return None;
        }
        let high = u64::from(word(8)) << 32 | u64::from(word(10)) << 48;
        Some(Gate {
            offset: u64::from(word(0)) | u64::from(word(6)) << 16 | high,
            selector: word(2),
            ist: ist & 7,
            dpl: access >> 5 & 3,
            is_16_bit: access & 0x8 == 0,
        })
    }

    /// The linear addresses of all handlers, each once.
    pub(crate) fn addresses(&self, state: &CpuState, space: &Space<'_>) -> Vec<u64> {
        let mut all: Vec<u64> = (0..=255)
            .filter_map(|vector| self.address(vector, state, space))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The linear address of a vector's handler.
    pub(crate) fn address(&self, vector: u8, state: &CpuState, space: &Space<'_>) -> Option<u64> {
        let gate = self.gate(vector)?;
        if self.real || state.is_long() {
            return Some(gate.offset);
        }
        let base = descriptor(gate.selector, state, space)?.base;
        Some(base.wrapping_add(gate.offset) & LOW)
    }

    /// Where the code segments begin that addresses of handlers depend on.
    pub(crate) fn bases(&self, state: &CpuState, space: &Space<'_>) -> Vec<(u16, u64)> {
        if self.real || state.is_long() {
            return Vec::new();
        }
        let mut selectors: Vec<u16> = (0..=255)
            .filter_map(|vector| self.gate(vector))
            .map(|gate| gate.selector)
            .collect();
        selectors.sort_unstable();
        selectors.dedup();
        let base = |selector| descriptor(selector, state, space).map(|found| found.base);
        selectors
            .into_iter()
            .filter_map(|selector| Some((selector, base(selector)?)))
            .collect()
    }
}

/// The linear address of code in protected mode, if there is such a segment.
pub(crate) fn code_address(
    selector: u16,
    offset: u64,
    state: &CpuState,
    space: &Space<'_>,
) -> Option<u64> {
    let found = descriptor(selector, state, space)?;
    Some(match state.is_long() && found.is_long() {
        true => offset,
        false => found.base.wrapping_add(offset) & LOW,
    })
}

/// The segment that a selector names, if there is such a descriptor.
pub(crate) fn descriptor(selector: u16, state: &CpuState, space: &Space<'_>) -> Option<Segment> {
    let (table, limit) = match selector & 4 {
        0 => (state.vmcs.guest_gdtr_base(), state.vmcs.guest_gdtr_limit()),
        _ => (state.vmcs.guest_ldtr_base(), state.vmcs.guest_ldtr_limit()),
    };
    let offset = u64::from(selector & !7);
    if offset + 7 > u64::from(limit) {
        return None;
    }
    let mut bytes = [0; 8];
    let at = table.wrapping_add(offset);
    space.implicitly(|space| space.read(at, &mut bytes)).ok()?;
    let [l0, l1, b0, b1, b2, access, flags, b3] = bytes;
    let limit = u64::from(u32::from_le_bytes([l0, l1, flags & 0xf, 0]));
    Some(Segment {
        base: u32::from_le_bytes([b0, b1, b2, b3]).into(),
        limit: match flags >> 7 {
            0 => limit,
            _ => limit << 12 | 0xfff,
        },
        rights: u32::from(access) | u32::from(flags >> 4) << 12,
    })
}

/// What is in the way of an event's delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// An access that EPT12 refuses.
    Ept(Fault),
    /// An exception. Where L1 does not want it, it is the processor's to find, too.
    Exception(PendingException),
}

/// Makes the accesses that the delivery of this event makes, as far as they can be told.
///
/// # Errors
///
/// The first one that is refused.
pub(crate) fn check_delivery(
    event: &Event,
    state: &CpuState,
    space: &Space<'_>,
) -> Result<(), Obstacle> {
    let vector = event.vector;
    let obstacle = |result: Result<(), Fault>| match result {
        Err(fault @ Fault::Ept { .. }) => Err(Obstacle::Ept(fault)),
        Err(Fault::Page(fault)) => Err(Obstacle::Exception(PendingException::page_fault(
            fault.error_code,
            fault.address,
        ))),
        _ => Ok(()),
    };
    let size: u64 = match (state.is_protected(), state.is_long()) {
        (false, _) => 4,
        (true, false) => 8,
        (true, true) => 16,
    };
    let offset = u64::from(vector) * size;
    if state.is_protected() && offset + size - 1 > u64::from(state.vmcs.guest_idtr_limit()) {
        // SDM volume 3, section 7.13: the IDT's, and EXT unless an instruction asked for it.
        let external = u32::from(event.kind != EventType::SoftwareInterrupt);
        let code = u32::from(vector) << 3 | 1 << 1 | external;
        let fault = PendingException::fault(vector::GENERAL_PROTECTION, Some(code));
        return Err(Obstacle::Exception(fault));
    }
    let entry = state.vmcs.guest_idtr_base().wrapping_add(offset);
    obstacle(space.check(entry, size as usize, Access::Read))?;
    let Some(gate) = Handlers::read(state, space).gate(vector) else {
        return Ok(());
    };
    let stack = match stack(&gate, event.error_code.is_some(), state, space) {
        Ok(Some(stack)) => stack,
        Ok(None) => return Ok(()),
        Err(fault) => return obstacle(Err(fault)),
    };
    // Pushes go downwards.
    let word = if state.is_long() { 8 } else { 2 };
    let first = stack.bottom.wrapping_add((stack.length - word) as u64);
    obstacle(space.check(first, word, Access::Write))?;
    obstacle(space.check(stack.bottom, stack.length, Access::Write))
}

/// Where the frame of an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bottom: u64,
    pub(crate) length: usize,
}

/// The frame that delivery through `gate` pushes, as far as it can be told.
pub(crate) fn stack(
    gate: &Gate,
    has_error_code: bool,
    state: &CpuState,
    space: &Space<'_>,
) -> Result<Option<Frame>, Fault> {
    if !state.is_protected() {
        let top = state.rsp() & 0xffff;
        let bottom = state
            .vmcs
            .guest_ss_base()
            .wrapping_add(top.wrapping_sub(6) & 0xffff);
        return Ok(Some(Frame { bottom, length: 6 }));
    }
    let target = descriptor(gate.selector, state, space);
    let switches = target.is_some_and(|target| target.dpl() < state.cpl());
    let tss = state.vmcs.guest_tr_base();
    let error = usize::from(has_error_code);
    if state.is_long() {
        let from_tss = |offset: u64| -> Result<Option<u64>, Fault> {
            let mut bytes = [0; 8];
            match space.read(tss.wrapping_add(offset), &mut bytes) {
                Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
                Err(fault @ Fault::Ept { .. }) => Err(fault),
                Err(_) => Ok(None),
            }
        };
        let top = match (gate.ist, switches) {
            (0, false) => Some(state.rsp()),
            // RSP0; handlers of other levels than 0 are rare enough.
            (0, true) => from_tss(4)?,
            (ist, _) => from_tss(0x24 + 8 * (u64::from(ist) - 1))?,
        };
        let length = 8 * (5 + error);
        return Ok(top.map(|top| Frame {
            bottom: (top & !0xf).wrapping_sub(length as u64),
            length,
        }));
    }
    let size = if gate.is_16_bit { 2 } else { 4 };
    if switches {
        // The stack of the TSS, whose segment starts where L1 likes: the processor's to find.
        return Ok(None);
    }
    let length = size * (3 + error);
    let big = state.vmcs.guest_ss_ar_bytes() >> 14 & 1 != 0;
    let mask = if big { 0xffff_ffff } else { 0xffff };
    let top = state.rsp().wrapping_sub(length as u64) & mask;
    let bottom = state.vmcs.guest_ss_base().wrapping_add(top) & 0xffff_ffff;
    Ok(Some(Frame { bottom, length }))
}

/// The size of code as iced-x86 wants it.
pub(crate) const fn bitness(mode: Mode) -> u32 {
    match mode {
        Mode::Bits16 => 16,
        Mode::Bits32 => 32,
        Mode::Bits64 => 64,
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The handlers of the 256 vectors, and how far in one the guest is.

use std::fmt;

use kvm_bindings::kvm_regs;

use crate::code::lengths;
use crate::layout;
use crate::mode::Mode;

/// One-byte NOPs that a stub begins with.
const STUB_NOPS: u64 = 8;

/// What handles a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handlers {
    /// A stub for each vector: eight NOPs, INC of the vector's counter in memory, ADD to the stack
    /// pointer where the vector's exception pushes an error code, IRET.
    Short,
    /// One handler for all vectors that never returns: 4096 NOPs, then INC of ECX (RCX in long mode)
    /// and JMP back to it. RCX is 0 when a program begins, and no program changes it.
    Endless,
}

impl Handlers {
    /// Each kind.
    pub const ALL: [Self; 2] = [Self::Short, Self::Endless];

    /// The address of the first instruction of `vector`'s handler.
    pub(crate) fn entry(self, vector: u8) -> u64 {
        match self {
            Self::Short => layout::STUBS + layout::STUB * u64::from(vector),
            Self::Endless => layout::SLED,
        }
    }

    /// How many of the handler's instructions are behind a guest with these registers.
    pub(crate) fn executed(self, mode: Mode, vector: u8, regs: &kvm_regs) -> Option<u64> {
        let offset = regs.rip.checked_sub(self.entry(vector))?;
        match self {
            Self::Short => executed_of_stub(mode, vector, offset),
            Self::Endless => executed_of_sled(mode, offset, regs.rcx),
        }
    }
}

fn executed_of_stub(mode: Mode, vector: u8, offset: u64) -> Option<u64> {
    let lengths = lengths(mode);
    if offset <= STUB_NOPS {
        return Some(offset);
    }
    let counted = STUB_NOPS + lengths.count;
    if offset == counted {
        return Some(STUB_NOPS + 1);
    }
    let dropped = counted + lengths.drop;
    (mode.pushes_error_code(vector) && offset == dropped).then_some(STUB_NOPS + 2)
}

fn executed_of_sled(mode: Mode, offset: u64, rounds: u64) -> Option<u64> {
    if offset < layout::SLED_NOPS {
        return Some(offset);
    }
    // Two instructions a round. At the JMP its round is counted already, at the INC it is not.
    let executed = layout::SLED_NOPS.wrapping_add(rounds.wrapping_mul(2));
    if offset == layout::SLED_NOPS {
        return Some(executed);
    }
    (offset == layout::SLED_NOPS + lengths(mode).sled).then(|| executed.wrapping_sub(1))
}

impl fmt::Display for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "short handlers",
            Self::Endless => "an endless handler",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executed(handlers: Handlers, mode: Mode, vector: u8, offset: u64, rcx: u64) -> Option<u64> {
        let regs = kvm_regs {
            rip: handlers.entry(vector).wrapping_add(offset),
            rcx,
            ..Default::default()
        };
        handlers.executed(mode, vector, &regs)
    }

    #[test]
    fn each_instruction_of_a_stub_has_its_number() {
        for mode in Mode::ALL {
            let lengths = lengths(mode);
            for vector in 0..=255 {
                let mut starts: Vec<u64> = (0..=8).collect();
                starts.push(8 + lengths.count);
                if mode.pushes_error_code(vector) {
                    starts.push(8 + lengths.count + lengths.drop);
                }
                // Up to the next vector's stub, and a byte of the one before.
                for offset in (0..=layout::STUB).chain([u64::MAX]) {
                    let expected = starts.iter().position(|start| *start == offset);
                    assert_eq!(
                        executed(Handlers::Short, mode, vector, offset, 7),
                        expected.map(|index| index as u64),
                        "{mode}, vector {vector}, offset {offset}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_endless_handler_counts_on_in_its_loop() {
        for mode in Mode::ALL {
            let jump = 4096 + lengths(mode).sled;
            let at = |offset, rcx| executed(Handlers::Endless, mode, 99, offset, rcx);
            assert_eq!(at(0, 0), Some(0));
            assert_eq!(at(4095, 0), Some(4095));
            assert_eq!(at(4096, 0), Some(4096));
            assert_eq!(at(jump, 1), Some(4097));
            assert_eq!(at(4096, 1), Some(4098));
            assert_eq!(at(jump, 2), Some(4099));
            assert_eq!(at(jump + 1, 2), None);
            assert_eq!(at(jump + 2, 2), None);
            assert_eq!(at(u64::MAX, 2), None);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the processor pushes when it delivers an interrupt or an exception: SDM volume 3, sections
//! "Exception- or Interrupt-Handler Procedures" and "64-Bit Mode Stack Frame", and for real mode
//! "Interrupt and Exception Handling".

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::error::{self, Error};
use crate::mode::Mode;

/// An interrupt's frame on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The instruction to return to.
    pub ip: u64,
    /// Its code segment.
    pub cs: u64,
    /// The flags to return with.
    pub flags: u64,
    /// The error code, if one was pushed.
    pub error_code: Option<u32>,
    /// The stack pointer to return to, in long mode. The other modes do not push it.
    pub sp: Option<u64>,
}

/// Words of a frame, without the error code.
const fn words(mode: Mode) -> u64 {
    match mode {
        Mode::Real | Mode::Protected => 3,
        Mode::Long => 5,
    }
}

/// Bytes of a frame. Real mode pushes no error code.
pub(crate) fn len(mode: Mode, error_code: bool) -> u64 {
    let error_code = error_code && mode != Mode::Real;
    mode.word() * (words(mode) + u64::from(error_code))
}

fn read(mode: Mode, memory: &GuestMemoryMmap, address: u64) -> Result<u64, Error> {
    let at = GuestAddress(address);
    match mode {
        Mode::Real => memory.read_obj::<u16>(at).map(u64::from),
        Mode::Protected => memory.read_obj::<u32>(at).map(u64::from),
        Mode::Long => memory.read_obj::<u64>(at),
    }
    .map_err(error::memory(address))
}

/// The frame at the stack pointer `sp`.
pub(crate) fn decode(
    mode: Mode,
    memory: &GuestMemoryMmap,
    sp: u64,
    error_code: bool,
) -> Result<Frame, Error> {
    let error_code = error_code && mode != Mode::Real;
    let base = sp.wrapping_add(mode.word() * u64::from(error_code));
    let word = |index: u64| read(mode, memory, base.wrapping_add(index * mode.word()));
    Ok(Frame {
        ip: word(0)?,
        cs: word(1)?,
        flags: word(2)?,
        // The processor's error codes have 32 bits, its push in long mode 64.
        error_code: error_code
            .then(|| read(mode, memory, sp).map(|code| code as u32))
            .transpose()?,
        sp: (mode == Mode::Long).then(|| word(3)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: &[u8]) -> GuestMemoryMmap {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        memory.write_slice(bytes, GuestAddress(0x100)).unwrap();
        memory
    }

    fn words<const N: usize>(words: &[[u8; N]]) -> GuestMemoryMmap {
        memory(&words.concat())
    }

    #[test]
    fn a_real_mode_frame_has_three_short_words_and_no_error_code() {
        let memory = words(&[0x1234_u16, 0x5, 0x202].map(u16::to_le_bytes));
        let expected = Frame {
            ip: 0x1234,
            cs: 5,
            flags: 0x202,
            error_code: None,
            sp: None,
        };
        for error_code in [false, true] {
            let frame = decode(Mode::Real, &memory, 0x100, error_code).unwrap();
            assert_eq!(frame, expected);
            assert_eq!(len(Mode::Real, error_code), 6);
        }
    }

    #[test]
    fn a_protected_mode_frame_begins_with_the_error_code() {
        let memory = words(&[0x18_u32, 0xa000, 8, 0x202].map(u32::to_le_bytes));
        let expected = Frame {
            ip: 0xa000,
            cs: 8,
            flags: 0x202,
            error_code: Some(0x18),
            sp: None,
        };
        let frame = decode(Mode::Protected, &memory, 0x100, true).unwrap();
        assert_eq!(frame, expected);
        assert_eq!(len(Mode::Protected, true), 16);
        let expected = Frame {
            error_code: None,
            ..expected
        };
        let frame = decode(Mode::Protected, &memory, 0x104, false).unwrap();
        assert_eq!(frame, expected);
        assert_eq!(len(Mode::Protected, false), 12);
    }

    #[test]
    fn a_long_mode_frame_has_the_stack_pointer() {
        let memory = words(&[0x18_u64, 0xa000, 8, 0x202, 0xc000, 0x10].map(u64::to_le_bytes));
        let expected = Frame {
            ip: 0xa000,
            cs: 8,
            flags: 0x202,
            error_code: Some(0x18),
            sp: Some(0xc000),
        };
        let frame = decode(Mode::Long, &memory, 0x100, true).unwrap();
        assert_eq!(frame, expected);
        assert_eq!(len(Mode::Long, true), 48);
        let expected = Frame {
            error_code: None,
            ..expected
        };
        let frame = decode(Mode::Long, &memory, 0x108, false).unwrap();
        assert_eq!(frame, expected);
        assert_eq!(len(Mode::Long, false), 40);
    }

    #[test]
    fn a_stack_pointer_outside_memory_is_an_error() {
        let memory = memory(&[]);
        for mode in Mode::ALL {
            for sp in [0xfff, 0x1000, u64::MAX] {
                assert!(decode(mode, &memory, sp, true).is_err(), "{mode}, {sp:#x}");
            }
        }
    }
}

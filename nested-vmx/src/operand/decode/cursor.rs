// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bytes of an instruction, one after the other.

use super::DecodeError;

/// The most that an instruction has (SDM volume 2, section 2.3.11).
const LONGEST: u8 = 15;

pub(super) struct Cursor<'a> {
    bytes: core::slice::Iter<'a, u8>,
    position: u8,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            position: 0,
        }
    }

    /// How many bytes were taken.
    pub(super) const fn position(&self) -> u8 {
        self.position
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        if self.position >= LONGEST {
            return Err(DecodeError::TooLong);
        }
        let byte = self.bytes.next().copied().ok_or(DecodeError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// A displacement of 8 bits, sign-extended.
    pub(super) fn displacement_8(&mut self) -> Result<u64, DecodeError> {
        Ok(i64::from(i8::from_le_bytes(self.bytes()?)) as u64)
    }

    /// A displacement of 16 bits, sign-extended.
    pub(super) fn displacement_16(&mut self) -> Result<u64, DecodeError> {
        Ok(i64::from(i16::from_le_bytes(self.bytes()?)) as u64)
    }

    /// A displacement of 32 bits, sign-extended.
    pub(super) fn displacement_32(&mut self) -> Result<u64, DecodeError> {
        Ok(i64::from(i32::from_le_bytes(self.bytes()?)) as u64)
    }
}

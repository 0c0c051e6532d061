// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The LZ4 "legacy" frame (`lz4 -l`), which Linux uses for kernels: a magic word, then blocks of
//! up to 8 MiB, each behind its compressed length. No crate of today reads it; the blocks
//! themselves are lz4_flex's.

use std::io::{self, Read};

pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// The most that a block holds, unpacked.
const BLOCK_LEN: usize = 8 << 20;

/// Reads a legacy frame that is in memory.
pub(super) struct Decoder<'a> {
    /// What is not decoded yet: whole blocks.
    packed: &'a [u8],
    block: Vec<u8>,
    /// How much of `block` holds data, and how much of that was read.
    len: usize,
    read: usize,
}

impl<'a> Decoder<'a> {
    /// `frame` begins with [`MAGIC`].
    pub(super) fn new(frame: &'a [u8]) -> Self {
        Self {
            packed: frame.get(MAGIC.len()..).unwrap_or_default(),
            block: Vec::new(),
            len: 0,
            read: 0,
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let (len, rest) = self
            .packed
            .split_first_chunk()
            .ok_or_else(|| damaged("a block's length is cut off"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let (block, rest) = rest
            .split_at_checked(len)
            .ok_or_else(|| damaged("a block is cut off"))?;
        if self.block.is_empty() {
            self.block = vec![0; BLOCK_LEN];
        }
        self.len = lz4_flex::block::decompress_into(block, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.read = 0;
        self.packed = rest;
        if self.len == 0 {
            return Err(damaged("a block is empty"));
        }
        Ok(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.len {
            if self.packed.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let mut data = &self.block[self.read..self.len];
        let len = data.read(buffer)?;
        self.read += len;
        Ok(len)
    }
}

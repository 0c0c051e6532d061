// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a kernel's payload is compressed, and undoing it on the host, which is faster than the
//! guest's own way and works where guest kernels are emulated.
//!
//! The output is bounded by the caller and memory for it grows as it comes, so that a few bytes
//! can't ask for gigabytes. So are the decoders' windows.

use std::fmt;
use std::io::{self, Read};

use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::FrameDecoderError;

use super::{KernelError, elf, lz4_legacy};

/// The largest window or dictionary that Linux's own build uses: 128 MiB, by `zstd --ultra -22`.
const MAX_WINDOW: u64 = 128 << 20;

/// A way to compress a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Their names are all there is to say.
#[non_exhaustive]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Lz4,
    Zstd,
    Bzip2,
    Lzma,
    Lzo,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
        })
    }
}

impl Compression {
    /// By the first bytes, as Linux itself does (lib/decompress.c lists them).
    pub(super) fn detect(payload: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Compression); 9] = [
            (elf::MAGIC, Compression::None),
            (b"\x1f\x8b", Compression::Gzip),
            (b"\xfd7zXZ\0", Compression::Xz),
            (&lz4_legacy::MAGIC, Compression::Lz4),
            (b"\x04\x22\x4d\x18", Compression::Lz4),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"BZh", Compression::Bzip2),
            (b"\x5d\0\0", Compression::Lzma),
            (b"\x89LZO\0", Compression::Lzo),
        ];
        MAGICS
            .into_iter()
            .find(|(magic, _)| payload.starts_with(magic))
            .map(|(_, compression)| compression)
    }

    /// Unpacks a bzImage's payload into at most `limit` bytes.
    pub(super) fn unpack(self, payload: &[u8], limit: u64) -> Result<Vec<u8>, KernelError> {
        // gzip ends with the unpacked length; behind all others, Linux's build appends it.
        let expected = payload
            .last_chunk()
            .map_or(0, |len| u32::from_le_bytes(*len).into());
        match self {
            Self::None => Ok(payload.to_vec()),
            Self::Gzip => self.read(flate2::read::GzDecoder::new(payload), expected, limit),
            Self::Xz => {
                let window = u32::try_from(MAX_WINDOW / 1024).unwrap_or(u32::MAX);
                // The estimate that is compared with it includes the decoder itself.
                let decoder = lzma_rust2::XzReader::new_mem_limit(payload, false, window + 1024);
                self.read(decoder, expected, limit)
            }
            Self::Zstd => self.unpack_zstd(payload, expected, limit),
            Self::Lz4 if payload.starts_with(&lz4_legacy::MAGIC) => {
                // Nothing else than the appended length marks the end.
                let blocks = payload.len().saturating_sub(4);
                self.read(
                    lz4_legacy::Decoder::new(&payload[..blocks]),
                    expected,
                    limit,
                )
            }
            Self::Lz4 | Self::Bzip2 | Self::Lzma | Self::Lzo => Err(KernelError::Unsupported(self)),
        }
    }

    fn unpack_zstd(
        self,
        payload: &[u8],
        expected: u64,
        limit: u64,
    ) -> Result<Vec<u8>, KernelError> {
        let mut decoder =
            StreamingDecoder::new_with_max_window_size(payload, MAX_WINDOW).map_err(|error| {
                match error {
                    FrameDecoderError::WindowSizeTooBig { .. } => KernelError::Unsupported(self),
                    error => self.failed(&error),
                }
            })?;
        let bytes = self.read(&mut decoder, expected, limit)?;
        let frame = decoder.into_frame_decoder();
        match (
            frame.get_checksum_from_data(),
            frame.get_calculated_checksum(),
        ) {
            (Some(stored), Some(computed)) if stored != computed => {
                Err(self.failed(&"the checksum is wrong"))
            }
            _ => Ok(bytes),
        }
    }

    /// Reads all that `decoder` gives. Space for the `expected` length is reserved, though not yet
    /// touched; it need not be true.
    fn read(self, decoder: impl Read, expected: u64, limit: u64) -> Result<Vec<u8>, KernelError> {
        let expected = usize::try_from(expected.min(limit)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(expected);
        let result = decoder
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes);
        match result {
            Err(error) => Err(match error.kind() {
                // A filter that is not known, or a dictionary that is too large.
                io::ErrorKind::Unsupported | io::ErrorKind::OutOfMemory => {
                    KernelError::Unsupported(self)
                }
                _ => self.failed(&error),
            }),
            Ok(_) if bytes.len() as u64 > limit => Err(KernelError::TooLargeUnpacked { limit }),
            Ok(_) => Ok(bytes),
        }
    }

    fn failed(self, reason: &dyn fmt::Display) -> KernelError {
        KernelError::Decompress {
            compression: self,
            reason: reason.to_string(),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Kernels as people have them: an ELF `vmlinux`, a distribution's `vmlinuz` (bzImage), or a small
//! kernel with a multiboot header.
//!
//! An ELF file may offer several boot protocols. The first of these counts: PVH (a note of an ELF
//! file of 64 bits), multiboot 1 (a header), Linux's 64-bit protocol. A file with a multiboot header
//! is never entered by the last one.
//!
//! The ELF file inside a bzImage is unpacked on the host and entered directly, so that the guest
//! decompresses nothing. (Linux chooses its random address while it unpacks itself, so a kernel
//! that is entered this way runs where it was linked.) A bzImage whose compression is not known
//! here is booted as it is, and the guest unpacks it.
//!
//! [`Image::parse`] checks everything that the image itself says; [`Image::load`] checks that
//! against guest memory, and only then writes to it. An image that is cut off at any byte is
//! refused.

mod bytes;
mod bzimage;
mod compression;
mod elf;
mod elf_class;
mod error;
mod load;
mod lz4_legacy;
mod multiboot;
mod pvh_note;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::samples;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

pub use self::compression::Compression;
pub use self::error::KernelError;
pub use self::load::{Entry, LoadedKernel};

use self::bzimage::BzImage;
use self::elf::{Elf, Expected};
use self::multiboot::Multiboot;
use crate::image_file;

/// The largest file that is taken for a kernel: one with all debugging information.
const MAX_FILE_LEN: u64 = 2 << 30;

/// The largest kernel that is unpacked, however large the guest's memory.
const MAX_UNPACKED_LEN: u64 = 512 << 20;

/// A kernel that was read and checked.
pub struct Image {
    bytes: Vec<u8>,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Elf(Elf),
    Multiboot(Multiboot),
    BzImage(BzImage),
}

impl Image {
    /// Reads the kernel at `path`. What it unpacks to may have `limit` bytes: the guest's memory.
    ///
    /// # Errors
    /// [`KernelError`] when the file is no complete kernel.
    pub fn open(path: &Path, limit: u64) -> Result<Self, KernelError> {
        Self::parse(image_file::read(path, MAX_FILE_LEN, check_head)?, limit)
    }

    /// Takes `bytes` for a kernel. What it unpacks to may have `limit` bytes.
    ///
    /// # Errors
    /// [`KernelError`] when they are no complete kernel.
    pub fn parse(bytes: Vec<u8>, limit: u64) -> Result<Self, KernelError> {
        if !bzimage::is_bzimage(&bytes) {
            check_head(&bytes)?;
            let format = parse_uncompressed(&bytes)?;
            return Ok(Self { bytes, format });
        }
        let image = BzImage::parse(&bytes)?;
        match unpack(&bytes, &image, limit) {
            Ok(unpacked) => Ok(Self {
                format: Format::Elf(Elf::parse(&unpacked, Expected::Linux)?),
                bytes: unpacked,
            }),
            Err(reason @ (KernelError::Unsupported(_) | KernelError::NoPayload)) => {
                log::info!("the kernel {reason}; it is left to unpack itself");
                let format = Format::BzImage(image);
                Ok(Self { bytes, format })
            }
            Err(error) => Err(error),
        }
    }

    /// Is it entered by the multiboot protocol?
    pub fn is_multiboot(&self) -> bool {
        matches!(self.format, Format::Multiboot(_))
    }

    /// The longest command line that the kernel says it reads, without the final NUL.
    pub fn max_cmdline_len(&self) -> usize {
        match &self.format {
            Format::BzImage(image) => {
                (image.cmdline_size as usize).min(crate::config::MAX_CMDLINE_LEN)
            }
            Format::Elf(_) | Format::Multiboot(_) => crate::config::MAX_CMDLINE_LEN,
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("len", &self.bytes.len())
            .field("format", &self.format)
            .finish()
    }
}

/// The ELF `vmlinux` in `image`: itself, or what a bzImage unpacks to.
///
/// ```no_run
/// let vmlinuz = std::fs::read("vmlinuz")?;
/// std::fs::write("vmlinux", vmm_reference::kernel::extract_elf(&vmlinuz)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`KernelError`] when it is neither, is cut off, or is compressed in a way that is not known.
pub fn extract_elf(image: &[u8]) -> Result<Cow<'_, [u8]>, KernelError> {
    if !bzimage::is_bzimage(image) {
        return parse_elf(image).map(|_| Cow::Borrowed(image));
    }
    let mut unpacked = unpack(image, &BzImage::parse(image)?, MAX_UNPACKED_LEN)?;
    let elf = Elf::parse(&unpacked, Expected::Linux)?;
    unpacked.truncate(usize::try_from(elf.file_len).unwrap_or(usize::MAX));
    Ok(Cow::Owned(unpacked))
}

fn unpack(bytes: &[u8], image: &BzImage, limit: u64) -> Result<Vec<u8>, KernelError> {
    let payload = bytes::slice(bytes, image.payload.clone()).unwrap_or_default();
    let compression = Compression::detect(payload).ok_or(KernelError::NoPayload)?;
    compression.unpack(payload, limit.min(MAX_UNPACKED_LEN))
}

/// An ELF file, or one with a multiboot header.
fn parse_uncompressed(bytes: &[u8]) -> Result<Format, KernelError> {
    let header = multiboot::find(bytes);
    let expected = match header {
        Ok(None) => Expected::Linux,
        _ => Expected::Multiboot,
    };
    let elf = match &header {
        // It is loaded by the header, whatever it is otherwise.
        Ok(Some(header)) if header.has_addresses() => Elf::parse(bytes, expected).ok(),
        _ if !bytes.starts_with(elf::MAGIC) => None,
        _ => Some(Elf::parse(bytes, expected)?),
    };
    match (header, elf) {
        (_, Some(elf)) if elf.pvh_entry.is_some() => Ok(Format::Elf(elf)),
        (Ok(Some(header)), elf) => header.kernel(bytes, elf).map(Format::Multiboot),
        (Ok(None), Some(elf)) => Ok(Format::Elf(elf)),
        (Ok(None), None) => Err(KernelError::NotAKernel),
        (Err(error), _) => Err(error),
    }
}

/// A Linux kernel.
fn parse_elf(bytes: &[u8]) -> Result<Elf, KernelError> {
    check_head(bytes)?;
    Elf::parse(bytes, Expected::Linux)
}

/// Does `bytes` begin as a kernel does? If not, says what it is.
fn check_head(bytes: &[u8]) -> Result<(), KernelError> {
    if bytes.starts_with(elf::MAGIC) || bzimage::is_bzimage(bytes) {
        return Ok(());
    }
    if multiboot::find(bytes)?.is_some() {
        return Ok(());
    }
    // arm64 and RISC-V share a header, with the magic word at 56.
    let magic: Option<[u8; 4]> = bytes::array_at(bytes, 56);
    for (known, architecture) in [(*b"ARM\x64", "ARM64"), (*b"RSC\x05", "RISC-V")] {
        if magic == Some(known) {
            return Err(KernelError::WrongArchitecture(architecture.into()));
        }
    }
    Err(match Compression::detect(bytes) {
        Some(compression) => KernelError::Packed(compression),
        None => KernelError::NotAKernel,
    })
}

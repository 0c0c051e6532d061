// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The initial RAM disk: as high in memory as the kernel can reach, streamed from its file.

use std::ops::Range;
use std::path::Path;

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::image_file::{self, FileError};
use crate::kernel::LoadedKernel;
use crate::layout;

/// The highest address that an initrd may reach, unless the kernel says otherwise. All x86
/// kernels since Linux 2.6 say this.
const DEFAULT_ADDRESS_MAX: u64 = 0x7fff_ffff;

const PAGE: u64 = 4096;

/// Why an initrd is refused. A message begins where "the initrd …" left off.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitrdError {
    /// The file itself is the problem.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not fit.
    #[error(
        "has {len} bytes and memory has room for {room} above the kernel; raise --memory size_mib"
    )]
    TooLarge {
        /// Its length.
        len: u64,
        /// What would fit.
        room: u64,
    },
    /// It ended early or could not be read.
    #[error("can't be read into memory: {0}")]
    Read(vm_memory::GuestMemoryError),
}

/// Loads the initrd at `path` above `kernel`; returns where it is.
///
/// # Errors
/// [`InitrdError`] when it can't be read or does not fit.
pub fn load(
    path: &Path,
    memory: &GuestMemoryMmap,
    kernel: &LoadedKernel,
) -> Result<Range<u64>, InitrdError> {
    let (mut file, len) = image_file::open(path)?;
    let place = place(len, memory, kernel)?;
    let count = usize::try_from(len).unwrap_or(usize::MAX);
    memory
        .read_exact_volatile_from(GuestAddress(place.start), &mut file, count)
        .map_err(InitrdError::Read)?;
    Ok(place)
}

/// The highest pages that `len` bytes fit in: below the gap for devices, below what the kernel
/// can reach, above the kernel.
fn place(
    len: u64,
    memory: &GuestMemoryMmap,
    kernel: &LoadedKernel,
) -> Result<Range<u64>, InitrdError> {
    let said = kernel
        .setup_header
        .map(|header| header.initrd_addr_max.into());
    let address_max = said.filter(|max| *max > 0).unwrap_or(DEFAULT_ADDRESS_MAX);
    let ends = memory.iter().map(layout::end_of);
    let low_end = ends.filter(|end| *end <= layout::MMIO_GAP.start).max();
    let end = low_end.unwrap_or(0).min(address_max.saturating_add(1));
    let bottom = kernel.memory.end.next_multiple_of(PAGE);
    let room = end.saturating_sub(bottom);
    match end.checked_sub(len).map(|start| start / PAGE * PAGE) {
        Some(start) if start >= bottom => Ok(start..start + len),
        _ => Err(InitrdError::TooLarge { len, room }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryConfig;
    use crate::kernel::Entry;
    use linux_loader::loader::bootparam::setup_header;
    use vmm_sys_util::tempfile::TempFile;

    const MIB: u64 = 1 << 20;

    fn memory(size_mib: u32) -> GuestMemoryMmap {
        crate::memory::create(&MemoryConfig { size_mib }).unwrap()
    }

    fn kernel() -> LoadedKernel {
        LoadedKernel {
            entry: Entry::Linux64(GuestAddress(MIB)),
            memory: MIB..8 * MIB + 1,
            setup_header: None,
        }
    }

    #[test]
    fn it_is_placed_as_high_as_can_be() {
        for (mib, len, expected) in [
            (16, 1, Some(16 * MIB - PAGE)),
            (16, PAGE, Some(16 * MIB - PAGE)),
            (16, PAGE + 1, Some(16 * MIB - 2 * PAGE)),
            (16, 8 * MIB - PAGE, Some(8 * MIB + PAGE)),
            (16, 8 * MIB - PAGE + 1, None),
            (16, u64::MAX, None),
            (4, 1, None),
            (2560, MIB, Some(2047 * MIB)),
        ] {
            let placed = place(len, &memory(mib), &kernel());
            assert_eq!(
                placed.ok().map(|range| range.start),
                expected,
                "{len} in {mib} MiB"
            );
        }
    }

    #[test]
    fn the_kernels_limit_is_kept() {
        let mut kernel = kernel();
        kernel.setup_header = Some(setup_header {
            initrd_addr_max: 0x00bf_ffff,
            ..Default::default()
        });
        let placed = place(MIB, &memory(16), &kernel).unwrap();
        assert_eq!(placed, 11 * MIB..12 * MIB);
    }

    #[test]
    fn its_bytes_arrive() {
        let file = TempFile::new().unwrap();
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(file.as_path(), &bytes).unwrap();
        let memory = memory(16);
        let place = load(file.as_path(), &memory, &kernel()).unwrap();
        let mut loaded = vec![0; bytes.len()];
        memory
            .read_slice(&mut loaded, GuestAddress(place.start))
            .unwrap();
        assert_eq!(loaded, bytes);
    }

    #[test]
    fn a_bad_one_is_named() {
        let line = |path: &str| {
            load(Path::new(path), &memory(16), &kernel())
                .unwrap_err()
                .to_string()
        };
        assert!(line("/nonexistent").contains("No such file"));
        assert!(line("/").contains("directory"));
        let error = place(9 * MIB, &memory(16), &kernel())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("9437184") && error.contains("size_mib"),
            "{error}"
        );
    }
}

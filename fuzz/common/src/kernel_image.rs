// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any bytes taken for a kernel: ELF, bzImage, each compression, multiboot.
//!
//! Whatever they are, they are refused in one line, or loaded where the guest has memory, with an
//! entry point inside what was loaded. What unpacks may not grow beyond its limit.

use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_reference::kernel::Image;

/// What an image may unpack to.
const LIMIT: u64 = 1 << 20;

/// The guest's memory. Only pages that are touched cost anything.
const MEMORY: usize = 32 << 20;

/// Loads `data`.
pub fn run(data: &[u8]) {
    let image = match Image::parse(data.to_vec(), LIMIT) {
        Ok(image) => image,
        Err(error) => return check_line(&error.to_string()),
    };
    assert!(image.max_cmdline_len() <= 2047);
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)])
        .unwrap_or_else(|error| panic!("no memory to test with: {error}"));
    match image.load(&memory, 0) {
        Ok(kernel) => {
            assert!(kernel.memory.start >= 1 << 20 && kernel.memory.end <= MEMORY as u64);
            assert!(kernel.memory.contains(&kernel.entry.address().0));
        }
        Err(error) => check_line(&error.to_string()),
    }
}

fn check_line(line: &str) {
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
}

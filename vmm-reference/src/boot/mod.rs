// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a configuration to a guest whose first instruction can run.
//!
//! [`prepare`] fills guest memory: kernel, initrd, command line, ACPI tables, boot parameters.
//! [`BootEntry`] then says what the first vCPU's registers must hold. Neither needs KVM, but for
//! [`BootEntry::configure`].

mod entry;
mod error;
mod gdt;
mod multiboot;
mod page_tables;
mod pvh;
mod zero_page;

#[cfg(test)]
mod tests;

use std::ops::Range;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{Cmdline, load_cmdline};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

pub use self::entry::BootEntry;
pub use self::error::BootError;
use crate::config::VmmConfig;
use crate::kernel::{Entry, Image};
use crate::{acpi, initrd, layout};

/// What a kernel is told by its boot parameters, whichever the protocol.
#[derive(Debug)]
struct Handover {
    initrd: Option<Range<u64>>,
    rsdp: u64,
    setup_header: Option<setup_header>,
}

/// Sets the guest up in `memory`.
///
/// # Errors
/// [`BootError`]; `memory` is then of no further use.
pub fn prepare(memory: &GuestMemoryMmap, config: &VmmConfig) -> Result<BootEntry, BootError> {
    let path = &config.kernel.path;
    let in_kernel = |reason| BootError::Kernel {
        path: path.clone(),
        reason,
    };
    let size = memory.iter().map(GuestMemoryRegion::len).sum();
    let image = Image::open(path, size).map_err(in_kernel)?;
    let text = match image.is_multiboot() {
        true => &multiboot::cmdline(&config.kernel.cmdline, path),
        false => &config.kernel.cmdline,
    };
    let cmdline = cmdline(text, image.max_cmdline_len())?;

    let lowest = config
        .kernel
        .kernel_load_addr
        .unwrap_or(layout::HIMEM_START);
    let kernel = image.load(memory, lowest).map_err(in_kernel)?;
    drop(image);
    let initrd = config
        .initrd
        .as_ref()
        .map(|path| {
            initrd::load(path, memory, &kernel).map_err(|reason| BootError::Initrd {
                path: path.clone(),
                reason,
            })
        })
        .transpose()?;
    load_cmdline(memory, GuestAddress(layout::CMDLINE), &cmdline)
        .map_err(BootError::WriteCmdline)?;
    write(
        "ACPI tables",
        memory,
        layout::ACPI.start,
        &acpi::tables(config.vcpus.num),
    )?;

    let handover = Handover {
        initrd,
        rsdp: layout::ACPI.start,
        setup_header: kernel.setup_header,
    };
    let boot = BootEntry {
        entry: kernel.entry,
    };
    let gdt = gdt::table(boot.code()).map(u64::to_le_bytes).concat();
    write("descriptor table", memory, layout::BOOT_GDT, &gdt)?;
    match boot.entry {
        Entry::Pvh(_) => pvh::write(memory, &handover)?,
        Entry::Multiboot(_) => multiboot::write_info(memory, &handover)?,
        Entry::Linux64(_) => {
            page_tables::write(memory).map_err(|reason| BootError::Tables {
                what: "page tables",
                reason,
            })?;
            zero_page::write(memory, &handover)?;
        }
    }
    Ok(boot)
}

fn cmdline(text: &str, max: usize) -> Result<Cmdline, BootError> {
    let len = text.len();
    if len > max {
        return Err(BootError::CmdlineTooLong { len, max });
    }
    let mut cmdline = Cmdline::new(max + 1).map_err(BootError::Cmdline)?;
    cmdline.insert_str(text).map_err(BootError::Cmdline)?;
    Ok(cmdline)
}

fn write(
    what: &'static str,
    memory: &GuestMemoryMmap,
    address: u64,
    bytes: &[u8],
) -> Result<(), BootError> {
    memory
        .write_slice(bytes, GuestAddress(address))
        .map_err(|reason| BootError::Tables { what, reason })
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accesses through EPT12.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod eptp;
mod flags;
mod memory;
mod misconfigurations;
mod model;
mod random;
mod shadow;
mod violations;
mod virtualization_exception;

use memory::Memory;
use nested_vmx::capability::{Capabilities, EptVpid, Processor};
use nested_vmx::ept::{Access, AccessKind, Ept, Eptp, LinearPage, Origin};

/// A page of a user-mode linear address, writable.
const USER: Origin = Origin::Linear(LinearPage {
    user: true,
    writable: true,
    execute_disable: false,
});

/// The same of a supervisor-mode one.
const SUPERVISOR: Origin = Origin::Linear(LinearPage {
    user: false,
    writable: true,
    execute_disable: false,
});

const READ: Access = Access::new(AccessKind::READ, SUPERVISOR);
const WRITE: Access = Access::new(AccessKind::WRITE, SUPERVISOR);

/// Everything, with 40 bits of physical addresses.
fn capabilities() -> Capabilities {
    with(EptVpid::all())
}

fn with(ept_vpid: EptVpid) -> Capabilities {
    let mut capabilities = Capabilities::none(Processor::new(40));
    capabilities.ept_vpid = ept_vpid;
    capabilities
}

/// An EPTP for tables from 0x1000 on: write-back, 4 levels.
const PLAIN: Eptp = Eptp(0x1000 | 3 << 3 | 6);

/// The same with accessed and dirty flags.
const WITH_FLAGS: Eptp = Eptp(PLAIN.0 | 1 << 6);

fn plain() -> Ept {
    Ept::new(PLAIN, &capabilities(), false)
}

/// Read, write, execute, of both sorts.
const RWX: u64 = 7 | 1 << 10;

/// Write-back.
const WB: u64 = 6 << 3;

/// The guest-physical address that the tables of [`tables`] map: entry 1 in each.
const ADDRESS: u64 = 1 << 39 | 1 << 30 | 1 << 21 | 1 << 12 | 0x123;

/// Where the entries for it are, from the PML4E to the PTE.
const ENTRIES: [u64; 4] = [0x1008, 0x2008, 0x3008, 0x4008];

/// Four levels of tables, with one page at 0x7000.
fn tables() -> Memory {
    let memory = Memory::new(8);
    for (at, entry) in ENTRIES.iter().zip([0x2000, 0x3000, 0x4000, 0x7000 | WB]) {
        memory.set(*at, entry | RWX);
    }
    memory
}

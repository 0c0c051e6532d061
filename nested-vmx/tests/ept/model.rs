// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A plain model of a walk, level by level, for access rights without shadow stacks.

use nested_vmx::capability::{Capabilities, EptVpid};
use nested_vmx::ept::{Access, AccessKind, Eptp, Origin};
use nested_vmx::memory::L1Memory;

use crate::memory::Memory;

/// What comes of an access.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Page {
        address: u64,
        bytes: u64,
        memory_type: u64,
    },
    Violation {
        qualification: u64,
        convertible: bool,
    },
    Misconfiguration,
    NoMemory,
}

const fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 == 1
}

/// The model's walk. On success it sets flags in `memory`.
pub fn access(
    memory: &Memory,
    (eptp, capabilities, mode_based): (Eptp, &Capabilities, bool),
    guest_physical: u64,
    access: &Access,
) -> Outcome {
    let has = |capability| capabilities.ept_vpid.contains(capability);
    let flags = bit(eptp.0, 6);
    let levels = (eptp.0 >> 3 & 7) + 1;
    let walking = access.origin == Origin::PagingStructure;
    let read = access.kind.contains(AccessKind::READ) || walking;
    let write = access.kind.contains(AccessKind::WRITE) || walking && flags;
    let fetch = access.kind.contains(AccessKind::FETCH);

    let mut about = u64::from(read) | u64::from(write) << 1 | u64::from(fetch) << 2;
    let mut user = false;
    match access.origin {
        Origin::Physical => {}
        Origin::PagingStructure => about |= 1 << 7,
        Origin::Linear(page) => {
            user = page.user;
            about |= 1 << 7 | 1 << 8;
            if has(EptVpid::ADVANCED_EXIT_INFORMATION) {
                about |= u64::from(page.user) << 9;
                about |= u64::from(page.writable) << 10;
                about |= u64::from(page.execute_disable) << 11;
            }
        }
    }

    let width = if levels == 5 { 57 } else { 48 };
    if guest_physical >> width != 0 {
        return Outcome::Violation {
            qualification: about,
            convertible: false,
        };
    }

    let mut table = eptp.0 & 0x000f_ffff_ffff_f000;
    let mut used = vec![];
    let mut rights = [true; 4];
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level as u32 - 1);
        let at = table + (guest_physical >> shift) % 512 * 8;
        let Ok(entry) = memory.read_u64(at) else {
            return Outcome::NoMemory;
        };
        let [r, w, x] = [0, 1, 2].map(|at| bit(entry, at));
        let xu = if mode_based { bit(entry, 10) } else { x };
        if !(r || w || x || xu) {
            return Outcome::Violation {
                qualification: about,
                convertible: !bit(entry, 63),
            };
        }
        if w && !r || !r && (x || xu) && !has(EptVpid::EXECUTE_ONLY) {
            return Outcome::Misconfiguration;
        }
        let may_be_large = match level {
            3 => has(EptVpid::PAGE_1G),
            2 => has(EptVpid::PAGE_2M),
            _ => false,
        };
        let leaf = level == 1 || may_be_large && bit(entry, 7);
        let width = capabilities.processor.physical_address_width;
        let reserved_address = (width..52).any(|at| bit(entry, at));
        let reserved = match leaf {
            true => (12..shift).any(|at| bit(entry, at)),
            false => (3..8).any(|at| bit(entry, at)),
        };
        if reserved_address || reserved {
            return Outcome::Misconfiguration;
        }
        let memory_type = entry >> 3 & 7;
        if leaf && [2, 3, 7].contains(&memory_type) {
            return Outcome::Misconfiguration;
        }
        for (all, this) in rights.iter_mut().zip([r, w, x, xu]) {
            *all &= this;
        }
        used.push(at);
        table = entry & 0x000f_ffff_ffff_f000;
        if !leaf {
            continue;
        }
        let [r, w, x, xu] = rights;
        let may_fetch = if user { xu } else { x };
        if read && !r || write && !w || fetch && !may_fetch {
            let mut allowed = u64::from(r) << 3 | u64::from(w) << 4 | u64::from(x) << 5;
            if mode_based {
                allowed |= u64::from(xu) << 6;
            }
            return Outcome::Violation {
                qualification: about | allowed,
                convertible: !bit(entry, 63),
            };
        }
        if flags {
            for at in &used {
                memory.set(*at, memory.get(*at) | 1 << 8);
            }
            memory.set(at, memory.get(at) | u64::from(write) << 9);
        }
        return Outcome::Page {
            address: table + guest_physical % (1 << shift),
            bytes: 1 << shift,
            memory_type,
        };
    }
    unreachable!("the last level always ends it");
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Stops in copies. A guest that copies its own code, to be executed elsewhere, copies the HLTs that
//! stand for instructions; what surrounds one tells which it was.

use super::sites::{HLT, Sites, Unpatched};
use crate::memory::L1Memory;

/// How many bytes are compared on each side.
const NEAR: usize = 8;
const LENGTH: usize = 2 * NEAR + 1;

/// A HLT of the guest's own: where it is, and what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnHalt {
    address: u64,
    bytes: [u8; LENGTH],
}

/// What a HLT at an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The guest's own. `None`: what surrounds it cannot be read.
    Own(Option<OwnHalt>),
    /// A stop's, in whose place this byte belongs.
    Copied(u8),
}

/// Tells a HLT of the guest's own from one that was copied. `last` is the one that was looked at last:
/// an idle loop always has the same.
pub(crate) fn judge(
    memory: &dyn L1Memory,
    sites: &Sites,
    address: u64,
    last: Option<OwnHalt>,
) -> Halt {
    let unpatched = Unpatched::new(memory, sites);
    let around = |address: u64| -> Option<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        let start = address.checked_sub(NEAR as u64)?;
        unpatched.read(start, &mut bytes).ok()?;
        Some(bytes)
    };
    let Some(bytes) = around(address) else {
        return Halt::Own(None);
    };
    let own = Some(OwnHalt { address, bytes });
    if own == last {
        return Halt::Own(own);
    }
    let is_copy_of = |site: u64| {
        around(site).is_some_and(|original| {
            let pairs = bytes.iter().zip(original).enumerate();
            pairs
                .filter(|(at, _)| *at != NEAR)
                .all(|(at, (copy, byte))| {
                    let there = site.wrapping_sub(NEAR as u64).wrapping_add(at as u64);
                    *copy == byte || *copy == HLT && sites.contains(there)
                })
        })
    };
    let mut found = None;
    for (site, original) in sites.iter() {
        if site == address || original == HLT || found == Some(original) || !is_copy_of(site) {
            continue;
        }
        // Two of the kind, and no way to tell them apart.
        if found.is_some() {
            return Halt::Own(own);
        }
        found = Some(original);
    }
    found.map_or(Halt::Own(own), Halt::Copied)
}

#[cfg(test)]
#[cfg(feature = "model")]
mod tests {
    use super::*;
    use crate::model::ModelMemory;

    /// lea rbx, [rbx+1]; mov rax, cr4; ret; and what comes next.
    const CODE: [u8; 18] = [
        0x90, 0x90, 0x90, 0x90, 0x48, 0x8d, 0x5b, 0x01, 0x0f, 0x20, 0xe0, 0xc3, 0x55, 0x48, 0x89,
        0xe5, 0x53, 0x90,
    ];

    fn memory() -> (ModelMemory, Sites) {
        let memory = ModelMemory::new(0x1000);
        memory.write(0x100, &CODE).unwrap();
        let mut sites = Sites::default();
        for at in [8, 11] {
            sites.set(&memory, 0x100 + at);
        }
        (memory, sites)
    }

    fn copy(memory: &ModelMemory) {
        let mut bytes = [0; 40];
        memory.read(0xf0, &mut bytes).unwrap();
        memory.write(0x7f0, &bytes).unwrap();
    }

    #[test]
    fn a_copied_stop_is_told_by_what_surrounds_it() {
        let (memory, sites) = memory();
        copy(&memory);
        assert_eq!(judge(&memory, &sites, 0x808, None), Halt::Copied(0x0f));
        assert_eq!(judge(&memory, &sites, 0x80b, None), Halt::Copied(0xc3));
    }

    #[test]
    fn a_stop_in_the_copy_itself_does_not_matter() {
        let (memory, mut sites) = memory();
        copy(&memory);
        sites.set(&memory, 0x808);
        assert_eq!(judge(&memory, &sites, 0x808, None), Halt::Copied(0x0f));
        // Nor one that the original has got since. One that it has lost is not known any more, and
        // the copy has it still.
        sites.set(&memory, 0x104);
        sites.remove(&memory, 0x10b);
        assert_eq!(judge(&memory, &sites, 0x808, None), Halt::Own(own(0x808)));
        memory.write(0x80b, &[0xc3]).unwrap();
        assert_eq!(judge(&memory, &sites, 0x808, None), Halt::Copied(0x0f));

        fn own(address: u64) -> Option<OwnHalt> {
            let mut bytes = [0; LENGTH];
            bytes.copy_from_slice(&CODE[..LENGTH]);
            bytes[8] = HLT;
            bytes[11] = HLT;
            Some(OwnHalt { address, bytes })
        }
    }

    #[test]
    fn the_guests_own_is_its_own() {
        let (memory, sites) = memory();
        memory.write(0x400, &[0x90, HLT, 0xeb, 0xfd]).unwrap();
        let Halt::Own(own @ Some(_)) = judge(&memory, &sites, 0x401, None) else {
            panic!("it is no copy");
        };
        assert_eq!(judge(&memory, &sites, 0x401, own), Halt::Own(own));
        assert_eq!(judge(&memory, &sites, 2, None), Halt::Own(None), "too near");
        assert_eq!(judge(&memory, &sites, 0xfff, None), Halt::Own(None));
    }

    #[test]
    fn what_may_be_one_or_the_other_is_left_alone() {
        let (memory, mut sites) = memory();
        copy(&memory);
        memory.write(0x200, &CODE).unwrap();
        memory.write(0x20b, &[0xcb]).unwrap();
        sites.set(&memory, 0x20b);
        sites.set(&memory, 0x208);
        assert!(matches!(
            judge(&memory, &sites, 0x80b, None),
            Halt::Own(Some(_))
        ));
        assert_eq!(judge(&memory, &sites, 0x808, None), Halt::Copied(0x0f));
    }
}

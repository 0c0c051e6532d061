// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The linear address space of the guest that runs: its paging, and for an L2 with EPT L1's EPT12
//! below it. Every access is made here before the guest makes it itself, so that what L1 is told of
//! it is known, and what L2 must see of L1's memory is there.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use crate::ept::{
    Access as EptAccess, AccessKind, Ept, EptFault, LinearPage, Origin, Permissions, Translation,
};
use crate::l0::{Exception, LinearMemory};
use crate::memory::{L1Memory, MemoryError};
use crate::paging::{self, Access, PageFault, PagingFault, PagingState};

/// Why an access cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The guest's paging refuses it.
    Page(PageFault),
    /// EPT12 does.
    Ept {
        fault: EptFault,
        /// The linear address, where one has to do with it.
        linear: u64,
        /// Where it is refused.
        physical: u64,
    },
    /// It leads to what is not memory.
    NotMemory,
}

/// A page of L2's guest-physical memory that an access went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// A guest-physical address in it.
    pub(crate) guest_physical: u64,
    /// What EPT12 says of it.
    pub(crate) translation: Translation,
}

/// A word as memory has it, of eight bytes at most.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
}

/// The guest's memory.
pub(crate) struct Space<'a> {
    memory: &'a dyn L1Memory,
    ept: Option<Ept>,
    paging: PagingState,
    /// The privilege level of the accesses, if it is not the current one.
    level: Cell<Option<u8>>,
    /// What was gone through, for the view of L2.
    gone_through: RefCell<Vec<Mapping>>,
}

/// L2's guest-physical memory, as its paging structures are read.
struct GuestPhysical<'a> {
    space: &'a Space<'a>,
    ept: &'a Ept,
    fault: Cell<Option<(EptFault, u64)>>,
}

const PAGE: u64 = 4096;

impl<'a> Space<'a> {
    pub(crate) fn new(memory: &'a dyn L1Memory, ept: Option<Ept>, paging: PagingState) -> Self {
        Self {
            memory,
            ept,
            paging,
            level: Cell::new(None),
            gone_through: RefCell::default(),
        }
    }

    /// The pages of L2 that the accesses so far went through.
    pub(crate) fn gone_through(&self) -> Vec<Mapping> {
        self.gone_through.borrow().clone()
    }

    fn through_ept(
        &self,
        ept: &Ept,
        guest_physical: u64,
        access: &EptAccess,
    ) -> Result<u64, EptFault> {
        let translation = ept.translate(self.memory, guest_physical, access, None)?;
        let mapping = Mapping {
            guest_physical,
            translation,
        };
        let mut all = self.gone_through.borrow_mut();
        if !all.contains(&mapping) {
            all.push(mapping);
        }
        Ok(translation.address)
    }

    /// Makes accesses as the delivery of an event makes them: to the IDT, the TSS, a handler's stack.
    pub(crate) fn implicitly<T>(&self, call: impl FnOnce(&Self) -> T) -> T {
        self.at_level(0, call)
    }

    fn at_level<T>(&self, level: u8, call: impl FnOnce(&Self) -> T) -> T {
        let before = self.level.replace(Some(level));
        let result = call(self);
        self.level.set(before);
        result
    }

    fn paging(&self) -> PagingState {
        PagingState {
            cpl: self.level.get().unwrap_or(self.paging.cpl),
            ..self.paging
        }
    }

    /// The physical address in L1 of code that the guest may get to: with its present privilege, the
    /// kernel's or a user's.
    pub(crate) fn code(&self, linear: u64) -> Result<u64, Fault> {
        self.translate(linear, Access::Fetch)
            .or_else(|_| self.at_level(0, |space| space.translate(linear, Access::Fetch)))
            .or_else(|_| self.at_level(3, |space| space.translate(linear, Access::Fetch)))
    }

    /// The physical address in L1 of one byte.
    pub(crate) fn translate(&self, linear: u64, access: Access) -> Result<u64, Fault> {
        let Some(ept) = &self.ept else {
            return paging::translate(self.memory, &self.paging(), linear, access).map_err(
                |fault| match fault {
                    PagingFault::PageFault(fault) => Fault::Page(fault),
                    _ => Fault::NotMemory,
                },
            );
        };
        let tables = GuestPhysical {
            space: self,
            ept,
            fault: Cell::new(None),
        };
        let found = paging::translate(&tables, &self.paging(), linear, access);
        let physical = match (found, tables.fault.get()) {
            (_, Some((fault, physical))) => {
                return Err(Fault::Ept {
                    fault,
                    linear,
                    physical,
                });
            }
            (Ok(physical), None) => physical,
            (Err(PagingFault::PageFault(fault)), None) => return Err(Fault::Page(fault)),
            (Err(_), None) => return Err(Fault::NotMemory),
        };
        let kind = match access {
            Access::Read => AccessKind::READ,
            Access::Write => AccessKind::WRITE,
            Access::Fetch => AccessKind::FETCH,
        };
        let page = LinearPage {
            user: self.paging().cpl == 3,
            ..LinearPage::default()
        };
        let access = EptAccess::new(kind, Origin::Linear(page));
        self.through_ept(ept, physical, &access)
            .map_err(|fault| Fault::Ept {
                fault,
                linear,
                physical,
            })
    }

    /// The parts of a range that are in one page each: linear addresses and lengths.
    fn pages(linear: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
        let mut at = linear;
        let mut left = length;
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(left);
            let part = (at, left.min(in_page));
            left -= part.1;
            at = at.wrapping_add(part.1 as u64);
            Some(part)
        })
    }

    /// Whether all of a range can be accessed.
    pub(crate) fn check(&self, linear: u64, length: usize, access: Access) -> Result<(), Fault> {
        for (at, _) in Self::pages(linear, length) {
            self.translate(at, access)?;
        }
        Ok(())
    }

    pub(crate) fn read(&self, linear: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.read_as(linear, into, Access::Read)
    }

    fn read_as(&self, linear: u64, into: &mut [u8], access: Access) -> Result<(), Fault> {
        self.check(linear, into.len(), access)?;
        let mut rest = into;
        for (at, length) in Self::pages(linear, rest.len()) {
            let (part, next) = rest.split_at_mut(length);
            rest = next;
            let address = self.translate(at, access)?;
            self.memory
                .read(address, part)
                .map_err(|_| Fault::NotMemory)?;
        }
        Ok(())
    }

    pub(crate) fn write(&self, linear: u64, from: &[u8]) -> Result<(), Fault> {
        self.check(linear, from.len(), Access::Write)?;
        let mut rest = from;
        for (at, length) in Self::pages(linear, rest.len()) {
            let (part, next) = rest.split_at(length);
            rest = next;
            let address = self.translate(at, Access::Write)?;
            self.memory
                .write(address, part)
                .map_err(|_| Fault::NotMemory)?;
        }
        Ok(())
    }

    /// Fetches up to `into.len()` bytes of code: how many there are, at least one.
    pub(crate) fn fetch(&self, linear: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let mut done = 0;
        for (at, length) in Self::pages(linear, into.len()) {
            let Some(part) = into.get_mut(done..done + length) else {
                break;
            };
            match self.read_as(at, part, Access::Fetch) {
                Ok(()) => done += length,
                // The instruction may end before.
                Err(_) if done > 0 => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(done)
    }
}

impl L1Memory for GuestPhysical<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        // Entries do not cross pages.
        let access = EptAccess::new(AccessKind::READ, Origin::PagingStructure);
        self.reach(address, &access, into.len())
            .and_then(|at| self.space.memory.read(at, into))
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let kind = AccessKind::READ | AccessKind::WRITE;
        let access = EptAccess::new(kind, Origin::PagingStructure);
        self.reach(address, &access, from.len())
            .and_then(|at| self.space.memory.write(at, from))
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        let kind = AccessKind::READ | AccessKind::WRITE;
        let access = EptAccess::new(kind, Origin::PagingStructure);
        self.reach(address, &access, 8)
            .and_then(|at| self.space.memory.compare_exchange(at, current, new))
    }
}

impl GuestPhysical<'_> {
    fn reach(&self, address: u64, access: &EptAccess, length: usize) -> Result<u64, MemoryError> {
        self.space
            .through_ept(self.ept, address, access)
            .map_err(|fault| {
                self.fault.set(Some((fault, address)));
                MemoryError { address, length }
            })
    }
}

/// L1's own linear memory, for the operands of its VMX instructions.
impl LinearMemory for Space<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Exception> {
        Space::read(self, address, into).map_err(exception)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Exception> {
        Space::write(self, address, from).map_err(exception)
    }
}

/// What L1 gets for an operand that it cannot access. An operand that is no memory reads as all
/// ones on a PC; nothing in VMX is valid then, and an exception tells more.
fn exception(fault: Fault) -> Exception {
    match fault {
        Fault::Page(fault) => Exception::page_fault(fault.error_code, fault.address),
        _ => Exception::GENERAL_PROTECTION,
    }
}

/// Whether L2 may write to the page without L0 looking.
pub(crate) fn is_writable(translation: &Translation) -> bool {
    translation.permissions.contains(Permissions::WRITE) && translation.dirty
}

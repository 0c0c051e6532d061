// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One access through EPT12.

use super::access::{Access, AccessKind, Origin, qualification};
use super::entry::{Entry, MemoryType, Permissions};
use super::eptp::Eptp;
use super::fault::{EptFault, Violation};
use super::flags::{Marked, mark};
use super::level::PageSize;
use super::log::PageModificationLog;
use super::walk::{Path, Stop, walk};
use crate::capability::{Capabilities, EptVpid};
use crate::controls::SecondaryControls;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// How often a walk starts anew because entries changed under it.
const ATTEMPTS: usize = 8;

/// EPT12: its pointer, and what the meaning of its entries depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ept {
    eptp: Eptp,
    capabilities: EptVpid,
    reserved_address: u64,
    mode_based_execute: bool,
}

/// Where a guest-physical address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address in L1.
    pub address: u64,
    /// The size of the page that EPT12 maps.
    pub size: PageSize,
    /// What all entries allow.
    pub permissions: Permissions,
    /// The memory type.
    pub memory_type: MemoryType,
    /// Whether L2's PAT is ignored.
    pub ignore_pat: bool,
    /// Whether writes to the page need nothing more: its dirty flag is set, or there is none.
    pub dirty: bool,
    /// Whether supervisor shadow-stack accesses are allowed: those are controlled and all entries
    /// allow them.
    pub supervisor_shadow_stack: bool,
    /// Whether EPT violations of this page are not convertible to virtualization exceptions.
    pub suppress_ve: bool,
}

impl Ept {
    /// Those of this EPTP, which [`Eptp::check`] accepts.
    pub const fn new(eptp: Eptp, capabilities: &Capabilities, mode_based_execute: bool) -> Self {
        Self {
            eptp,
            capabilities: capabilities.ept_vpid,
            reserved_address: capabilities.processor.beyond_physical() & Entry::ADDRESS,
            mode_based_execute,
        }
    }

    /// Those of a vmcs12 that passed the VM-entry checks, if it enables EPT.
    pub fn of(vmcs12: &Vmcs, capabilities: &Capabilities) -> Option<Self> {
        let secondary = vmcs12.secondary();
        secondary.contains(SecondaryControls::ENABLE_EPT).then(|| {
            Self::new(
                Eptp(vmcs12.ept_pointer()),
                capabilities,
                secondary.contains(SecondaryControls::MODE_BASED_EXECUTE_CONTROL),
            )
        })
    }

    /// The pointer.
    pub const fn eptp(&self) -> Eptp {
        self.eptp
    }

    /// Whether fetches from user-mode linear addresses have a permission of their own.
    pub const fn mode_based_execute(&self) -> bool {
        self.mode_based_execute
    }

    /// Bits of an entry's address that are beyond the physical-address width.
    pub(super) const fn reserved_address(&self) -> u64 {
        self.reserved_address
    }

    pub(super) const fn has(&self, capability: EptVpid) -> bool {
        self.capabilities.contains(capability)
    }

    /// Translates a guest-physical address for an access, as the processor does: sets accessed and
    /// dirty flags if EPT12 has them, and appends to `log` the page whose dirty flag it sets.
    ///
    /// # Errors
    ///
    /// [`EptFault`]; no dirty flag was set then, and nothing logged.
    pub fn translate(
        &self,
        memory: &dyn L1Memory,
        guest_physical: u64,
        access: &Access,
        mut log: Option<&mut PageModificationLog>,
    ) -> Result<Translation, EptFault> {
        let access = self.effective(*access);
        for _ in 0..ATTEMPTS {
            let path = walk(self, memory, guest_physical)
                .map_err(|stop| self.stopped(stop, guest_physical, &access))?;
            if !self.allows(&path, &access) {
                return Err(self.refused(&path, guest_physical, &access));
            }
            if !self.eptp.has_accessed_dirty() {
                return Ok(self.translation(&path, guest_physical, true));
            }
            let write = access.kind.contains(AccessKind::WRITE);
            let dirty = write || path.leaf.entry.has(Entry::DIRTY);
            match mark(memory, &path, guest_physical, write, log.as_deref_mut())? {
                Marked::Yes => return Ok(self.translation(&path, guest_physical, dirty)),
                Marked::Changed => {}
            }
        }
        Err(EptFault::Changing)
    }

    /// With accessed and dirty flags, an access to a paging structure counts as a write (SDM volume
    /// 3, section 30.3.5), and its violation tells of a read and a write (table 29-7, note 1).
    fn effective(&self, mut access: Access) -> Access {
        if access.origin == Origin::PagingStructure {
            access.kind |= AccessKind::READ;
            if self.eptp.has_accessed_dirty() {
                access.kind |= AccessKind::WRITE;
            }
        }
        access
    }

    /// SDM volume 3, section 30.3.3.2.
    fn allows(&self, path: &Path, access: &Access) -> bool {
        if access.shadow_stack && !access.is_user() && self.eptp.has_shadow_stack_control() {
            return self.allows_supervisor_shadow_stack(path);
        }
        let needed = [
            (AccessKind::READ, Permissions::READ),
            (AccessKind::WRITE, Permissions::WRITE),
            (
                AccessKind::FETCH,
                match access.is_user() {
                    true => Permissions::EXECUTE_USER,
                    false => Permissions::EXECUTE,
                },
            ),
        ];
        needed
            .into_iter()
            .all(|(kind, needed)| !access.kind.contains(kind) || path.permissions.contains(needed))
    }

    /// Supervisor shadow-stack accesses do not need that the page is writable: its bit 60 stands for
    /// that.
    fn allows_supervisor_shadow_stack(&self, path: &Path) -> bool {
        self.eptp.has_shadow_stack_control()
            && path.permissions.contains(Permissions::READ)
            && path.of_references.contains(Permissions::WRITE)
            && path.leaf.entry.has(Entry::SUPERVISOR_SHADOW_STACK)
    }

    fn translation(&self, path: &Path, guest_physical: u64, dirty: bool) -> Translation {
        let leaf = path.leaf.entry;
        let offset = path.size.offset(guest_physical);
        Translation {
            address: (leaf.address() & !(path.size.bytes() - 1)) | offset,
            size: path.size,
            permissions: path.permissions,
            // Of another type it would be misconfigured.
            memory_type: leaf.memory_type().unwrap_or(MemoryType::Uncacheable),
            ignore_pat: leaf.has(Entry::IGNORE_PAT),
            dirty,
            supervisor_shadow_stack: self.allows_supervisor_shadow_stack(path),
            suppress_ve: leaf.has(Entry::SUPPRESS_VE),
        }
    }

    /// What the end of a walk without a page means.
    fn stopped(&self, stop: Stop, guest_physical: u64, access: &Access) -> EptFault {
        // An entry that is not present leaves no permissions.
        let violation = |convertible| {
            EptFault::Violation(Violation {
                qualification: access.qualification(self.advanced()),
                guest_physical,
                convertible,
            })
        };
        match stop {
            // There is no entry whose bit 63 could allow it.
            Stop::TooWide | Stop::NoLevel => violation(false),
            Stop::NotPresent(entry) => violation(!entry.has(Entry::SUPPRESS_VE)),
            Stop::Misconfigured(rule) => EptFault::Misconfiguration {
                guest_physical,
                rule,
            },
            Stop::Memory(error) => error.into(),
        }
    }

    /// The violation of an access that the entries do not allow.
    fn refused(&self, path: &Path, guest_physical: u64, access: &Access) -> EptFault {
        let leaf = path.leaf.entry;
        let permissions = path.permissions;
        let allowed = u64::from(permissions.bits()) & 7;
        let mut qualification =
            access.qualification(self.advanced()) | allowed << qualification::ALLOWED;
        if self.mode_based_execute && permissions.contains(Permissions::EXECUTE_USER) {
            qualification |= qualification::ALLOWED_USER_EXECUTE;
        }
        if self.eptp.has_shadow_stack_control() && leaf.has(Entry::SUPERVISOR_SHADOW_STACK) {
            qualification |= qualification::SHADOW_STACK_PAGE;
        }
        EptFault::Violation(Violation {
            qualification,
            guest_physical,
            convertible: !leaf.has(Entry::SUPPRESS_VE),
        })
    }

    const fn advanced(&self) -> bool {
        self.has(EptVpid::ADVANCED_EXIT_INFORMATION)
    }
}

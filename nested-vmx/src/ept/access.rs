// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An access to guest-physical memory, as far as EPT and exit qualifications tell accesses apart.

use bitflags::bitflags;

bitflags! {
    /// What an access does. An instruction that reads and writes can do both in one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct AccessKind: u8 {
        /// A data read.
        const READ = 1 << 0;
        /// A data write.
        const WRITE = 1 << 1;
        /// An instruction fetch.
        const FETCH = 1 << 2;
    }
}

/// What the guest's paging structures say of the page with the linear address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinearPage {
    /// It is a user-mode address: U/S is 1 in all entries. Without paging, all addresses are.
    pub user: bool,
    /// It is writable: R/W is 1 in all entries, or there is no paging.
    pub writable: bool,
    /// Fetches are disabled: XD is 1 in an entry, and IA32_EFER.NXE is 1.
    pub execute_disable: bool,
}

/// Why there is an access to a guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// No linear address has to do with it: the PDPTEs are loaded for MOV to CR, for one.
    Physical,
    /// A paging-structure entry is read, or its accessed or dirty flag is written, to translate a
    /// linear address.
    PagingStructure,
    /// A linear address translates to it.
    Linear(LinearPage),
}

/// An access to a guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// Why it is made.
    pub origin: Origin,
    /// It is a shadow-stack access.
    pub shadow_stack: bool,
    /// It is part of an IRET that ended the blocking of NMIs.
    pub nmi_unblocking: bool,
    /// It is not part of executing an instruction or delivering an event: Intel PT's output.
    pub asynchronous: bool,
}

/// Bits of the exit qualification (SDM volume 3, table 29-7).
pub(super) mod qualification {
    /// What all entries allow: bits 5:3, as bits 2:0 of an entry.
    pub(crate) const ALLOWED: u32 = 3;
    pub(crate) const ALLOWED_USER_EXECUTE: u64 = 1 << 6;
    pub(crate) const LINEAR_VALID: u64 = 1 << 7;
    pub(crate) const TRANSLATED: u64 = 1 << 8;
    pub(crate) const USER: u64 = 1 << 9;
    pub(crate) const WRITABLE: u64 = 1 << 10;
    pub(crate) const EXECUTE_DISABLE: u64 = 1 << 11;
    pub(crate) const NMI_UNBLOCKING: u64 = 1 << 12;
    pub(crate) const SHADOW_STACK: u64 = 1 << 13;
    pub(crate) const SHADOW_STACK_PAGE: u64 = 1 << 14;
    pub(crate) const ASYNCHRONOUS: u64 = 1 << 16;
}

impl Access {
    /// An access of this kind with no more to be said of it.
    pub const fn new(kind: AccessKind, origin: Origin) -> Self {
        Self {
            kind,
            origin,
            shadow_stack: false,
            nmi_unblocking: false,
            asynchronous: false,
        }
    }

    /// The access that caused an EPT violation with this exit qualification, on a processor with
    /// advanced VM-exit information. (Without, what is known of the linear page is not used.)
    ///
    /// Where the tables that it violated have accessed and dirty flags, the processor tells of
    /// reads of paging structures as of writes, and so this does.
    pub const fn from_qualification(value: u64) -> Self {
        const fn has(value: u64, bit: u64) -> bool {
            value & bit != 0
        }
        let origin = match (
            has(value, qualification::LINEAR_VALID),
            has(value, qualification::TRANSLATED),
        ) {
            (false, _) => Origin::Physical,
            (true, false) => Origin::PagingStructure,
            (true, true) => Origin::Linear(LinearPage {
                user: has(value, qualification::USER),
                writable: has(value, qualification::WRITABLE),
                execute_disable: has(value, qualification::EXECUTE_DISABLE),
            }),
        };
        Self {
            kind: AccessKind::from_bits_truncate((value & 7) as u8),
            origin,
            shadow_stack: has(value, qualification::SHADOW_STACK),
            nmi_unblocking: has(value, qualification::NMI_UNBLOCKING),
            asynchronous: has(value, qualification::ASYNCHRONOUS),
        }
    }

    /// What the exit qualification says of it alone, with what is only there on processors with
    /// advanced VM-exit information.
    pub(super) const fn qualification(&self, advanced: bool) -> u64 {
        const fn bit(set: bool, bit: u64) -> u64 {
            if set { bit } else { 0 }
        }
        let origin = match self.origin {
            Origin::Physical => 0,
            Origin::PagingStructure => qualification::LINEAR_VALID,
            Origin::Linear(page) => {
                let page = bit(page.user, qualification::USER)
                    | bit(page.writable, qualification::WRITABLE)
                    | bit(page.execute_disable, qualification::EXECUTE_DISABLE);
                qualification::LINEAR_VALID
                    | qualification::TRANSLATED
                    | if advanced { page } else { 0 }
            }
        };
        self.kind.bits() as u64
            | origin
            | bit(self.nmi_unblocking, qualification::NMI_UNBLOCKING)
            | bit(self.shadow_stack, qualification::SHADOW_STACK)
            | bit(self.asynchronous, qualification::ASYNCHRONOUS)
    }

    /// Whether it goes to a user-mode linear address.
    pub(super) const fn is_user(&self) -> bool {
        matches!(self.origin, Origin::Linear(page) if page.user)
    }
}

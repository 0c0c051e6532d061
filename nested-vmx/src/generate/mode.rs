// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The mode that L2 begins in.

use crate::capability::Capabilities;
use crate::controls::{EntryControls, ExitControls, SecondaryControls};
use crate::registers::{cr0, cr4, efer};

/// How L2 runs: paging, and the width of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// IA-32e mode, 64-bit code.
    Long,
    /// IA-32e mode, compatibility code.
    Compatibility,
    /// Protected mode with PAE paging.
    Pae,
    /// Protected mode with 32-bit paging.
    Paging32,
    /// Virtual-8086 mode with PAE paging.
    Virtual8086Pae,
    /// Virtual-8086 mode with 32-bit paging.
    Virtual8086,
    /// Protected mode without paging, as unrestricted guest.
    Unpaged,
    /// Real-address mode, as unrestricted guest.
    Real,
}

impl Mode {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Long,
        Self::Compatibility,
        Self::Pae,
        Self::Paging32,
        Self::Virtual8086Pae,
        Self::Virtual8086,
        Self::Unpaged,
        Self::Real,
    ];

    /// Whether "IA-32e mode guest" is 1.
    pub const fn is_ia32e(self) -> bool {
        matches!(self, Self::Long | Self::Compatibility)
    }

    /// Whether RFLAGS.VM is 1.
    pub const fn is_virtual_8086(self) -> bool {
        matches!(self, Self::Virtual8086Pae | Self::Virtual8086)
    }

    /// Whether it is paging that makes this mode, with entries of 4 levels or of PAE.
    pub const fn has_pae(self) -> bool {
        matches!(
            self,
            Self::Long | Self::Compatibility | Self::Pae | Self::Virtual8086Pae
        )
    }

    /// Whether CR3 points to four page-directory-pointer-table entries.
    pub const fn has_pdptes(self) -> bool {
        self.has_pae() && !self.is_ia32e()
    }

    /// CR0.PE and CR0.PG.
    pub const fn cr0(self) -> u64 {
        match self {
            Self::Real => 0,
            Self::Unpaged => cr0::PE,
            _ => cr0::PE | cr0::PG,
        }
    }

    /// Whether the processor has IA-32e mode at all.
    pub(super) const fn has_long_mode(capabilities: &Capabilities) -> bool {
        let lm = efer::LME | efer::LMA;
        capabilities.processor.efer & lm == lm
    }

    /// Whether a processor can enter L2 in this mode.
    pub fn is_possible(self, capabilities: &Capabilities) -> bool {
        let entry = capabilities.entry();
        let ia32e = EntryControls::IA32E_MODE_GUEST;
        let ia32e_fits = match self.is_ia32e() {
            true => {
                entry.may_be_1(ia32e)
                    && capabilities
                        .exit()
                        .may_be_1(ExitControls::HOST_ADDRESS_SPACE_SIZE)
                    && Self::has_long_mode(capabilities)
            }
            false => entry.must_be_1() & u64::from(ia32e.bits()) == 0,
        };
        let pae_fits = match self {
            _ if self.has_pae() => capabilities.cr4_fixed1 & cr4::PAE != 0,
            Self::Paging32 | Self::Virtual8086 => capabilities.cr4_fixed0 & cr4::PAE == 0,
            _ => true,
        };
        let missing = (cr0::PE | cr0::PG) & !self.cr0();
        let cr0_fits = capabilities.cr0_fixed0 & missing == 0
            || capabilities
                .secondary()
                .may_be_1(SecondaryControls::UNRESTRICTED_GUEST);
        ia32e_fits && pae_fits && cr0_fits && self.cr0() & !capabilities.cr0_fixed1 == 0
    }
}

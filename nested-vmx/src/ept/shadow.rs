// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What L0 puts into its own tables for L2.

use super::entry::{MemoryType, Permissions};
use super::level::PageSize;
use super::translate::Translation;

/// What L0 makes of a physical address of L1's: its own map of L1's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPage {
    /// The host-physical address.
    pub address: u64,
    /// The size of the page that L0 maps.
    pub size: PageSize,
    /// What L0 allows.
    pub permissions: Permissions,
    /// The memory type.
    pub memory_type: MemoryType,
    /// Whether the guest's PAT is ignored.
    pub ignore_pat: bool,
}

/// An entry for L0's tables: from a guest-physical address of L2's to a host-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowEntry {
    /// The guest-physical address of the page.
    pub guest_physical: u64,
    /// The host-physical address of the page.
    pub address: u64,
    /// The size of the page.
    pub size: PageSize,
    /// What to allow.
    pub permissions: Permissions,
    /// The memory type.
    pub memory_type: MemoryType,
    /// Whether L2's PAT is ignored.
    pub ignore_pat: bool,
}

impl ShadowEntry {
    /// What L1's translation of `guest_physical` and L0's own of the result give together.
    ///
    /// - The page is as large as the smaller of both.
    /// - Only what both allow is allowed. A page that is not yet dirty for L1 cannot be written: so
    ///   the first write comes to L0, which sets L1's dirty flag, with [`Ept::translate`] again.
    /// - L0's memory type counts where it ignores the guest's PAT or is uncacheable; else L1's does.
    ///
    /// Whether an EPT violation is a virtualization exception can only be known of L1's tables: L0's
    /// entries have to suppress it (bit 63).
    ///
    /// [`Ept::translate`]: super::Ept::translate
    pub fn combine(guest_physical: u64, translation: &Translation, host: &HostPage) -> Self {
        let size = translation.size.min(host.size);
        let mut permissions = translation.permissions & host.permissions;
        if !translation.dirty {
            permissions.remove(Permissions::WRITE);
        }
        // Where in L0's page the smaller page is.
        let inside = host.size.offset(translation.address);
        let address = (host.address & !(host.size.bytes() - 1)) | inside;
        let of_page = |address| address & !(size.bytes() - 1);
        let (memory_type, ignore_pat) = match host.ignore_pat {
            true => (host.memory_type, true),
            false if host.memory_type == MemoryType::Uncacheable => (host.memory_type, false),
            false => (translation.memory_type, translation.ignore_pat),
        };
        Self {
            guest_physical: of_page(guest_physical),
            address: of_page(address),
            size,
            permissions,
            memory_type,
            ignore_pat,
        }
    }
}

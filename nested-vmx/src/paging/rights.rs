// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Access rights (SDM volume 3, section 5.6).

use super::fault::Cause;
use super::mode::Mode;
use super::state::PagingState;
use super::walk::Path;
use crate::registers::{cr0, cr4, rflags};

/// What an instruction does at a linear address. Whether that is a user-mode access depends on the
/// current privilege level alone; implicit supervisor-mode accesses are not made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads data.
    Read,
    /// It writes data.
    Write,
    /// It is fetched.
    Fetch,
}

/// Why the access is refused, if it is.
pub(super) fn refusal(
    state: &PagingState,
    mode: Mode,
    path: &Path,
    access: Access,
) -> Option<Cause> {
    if !allows(state, path, access) {
        return Some(Cause::Rights);
    }
    match mode.has_protection_keys() && !key_allows(state, path, access) {
        true => Some(Cause::ProtectionKey),
        false => None,
    }
}

/// Section 5.6.1.
fn allows(state: &PagingState, path: &Path, access: Access) -> bool {
    let write_protect = state.cr0 & cr0::WP != 0;
    if state.is_user() {
        return path.user
            && match access {
                Access::Read => true,
                Access::Write => path.writable,
                Access::Fetch => !path.execute_disable,
            };
    }
    let prevented = |by| path.user && state.cr4 & by != 0;
    let may_access_data = !prevented(cr4::SMAP) || state.rflags & rflags::AC != 0;
    match access {
        Access::Read => may_access_data,
        Access::Write => may_access_data && (path.writable || !write_protect),
        Access::Fetch => !prevented(cr4::SMEP) && !path.execute_disable,
    }
}

/// Section 5.6.2: keys restrict data accesses.
fn key_allows(state: &PagingState, path: &Path, access: Access) -> bool {
    let (enabled, rights) = match path.user {
        true => (cr4::PKE, state.pkru),
        false => (cr4::PKS, state.pkrs),
    };
    if state.cr4 & enabled == 0 || access == Access::Fetch {
        return true;
    }
    let rights = rights >> (2 * path.leaf.protection_key());
    let access_disabled = rights & 1 != 0;
    let write_disabled = rights & 2 != 0;
    let write_protected = state.is_user() || state.cr0 & cr0::WP != 0;
    let refused_write = access == Access::Write && write_disabled && write_protected;
    !access_disabled && !refused_write
}

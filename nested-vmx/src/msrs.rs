// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's and L2's model-specific registers, as the core sees them.

use thiserror::Error;

/// RDMSR or WRMSR of this register causes a general-protection exception.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("MSR {0:#x} cannot be accessed so")]
pub struct MsrFault(pub u32);

/// The virtual processor's MSRs: what is behind the MSR areas of a vmcs12.
///
/// Some MSRs are guest state of a VMCS as well (IA32_EFER and IA32_PAT, for example). What an area
/// loads is written here, where its value is checked, and to the VMCS of the guest that runs then;
/// what it stores is what that VMCS has.
pub trait Msrs {
    /// What RDMSR reads.
    ///
    /// # Errors
    ///
    /// [`MsrFault`]
    fn read(&self, index: u32) -> Result<u64, MsrFault>;

    /// Whether WRMSR of this value works. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`MsrFault`]
    fn check_write(&self, index: u32, value: u64) -> Result<(), MsrFault>;

    /// What WRMSR writes.
    ///
    /// # Errors
    ///
    /// [`MsrFault`]; nothing was written.
    fn write(&mut self, index: u32, value: u64) -> Result<(), MsrFault>;
}

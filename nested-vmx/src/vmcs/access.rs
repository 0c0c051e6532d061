// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What VMREAD and VMWRITE do to a VMCS (SDM volume 3, chapter 32, "VMREAD" and "VMWRITE").

use thiserror::Error;

use super::Vmcs;
use super::encoding::{Access, Encoding, Kind, Width};
use super::field::Field;
use crate::capability::Capabilities;

/// Why a VMREAD or VMWRITE of a field fails.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AccessError {
    /// No such field with these capabilities: VM-instruction error 12.
    #[error("VMCS component {:#x} is not supported", .0.0)]
    Unsupported(Encoding),
    /// A VM-exit information field, and IA32_VMX_MISC bit 29 is 0: VM-instruction error 13.
    #[error("VMCS component {0} is read-only: IA32_VMX_MISC bit 29 is 0")]
    ReadOnly(Field),
}

/// Whether the field holds a segment's access rights.
const fn is_access_rights(field: Field) -> bool {
    matches!(
        field,
        Field::GuestEsArBytes
            | Field::GuestCsArBytes
            | Field::GuestSsArBytes
            | Field::GuestDsArBytes
            | Field::GuestFsArBytes
            | Field::GuestGsArBytes
            | Field::GuestLdtrArBytes
            | Field::GuestTrArBytes
    )
}

/// The bits of an access-rights field that processors implement: VMWRITE of the others is lost,
/// here as on KVM and on the processors it is modelled on.
pub(crate) const ACCESS_RIGHTS: u64 = 0x1_f0ff;

/// The field that VMREAD and VMWRITE with this operand access. All 64 bits of the operand count
/// (SDM volume 3, "VMREAD": bits 63:32 must be 0 in 64-bit mode).
fn field(operand: u64, capabilities: &Capabilities) -> Result<(Field, Access), AccessError> {
    // The error shows 32 bits; what is above is as unsupported as what is in them.
    let encoding = u32::try_from(operand).map_or(Encoding(u32::MAX), Encoding);
    Field::from_encoding(encoding)
        .filter(|field| field.exists(capabilities))
        .map(|field| (field, encoding.access()))
        .ok_or(AccessError::Unsupported(encoding))
}

impl Vmcs {
    /// What VMREAD with this operand reads, zero-extended to 64 bits.
    ///
    /// # Errors
    ///
    /// [`AccessError::Unsupported`]
    pub fn vmread(&self, operand: u64, capabilities: &Capabilities) -> Result<u64, AccessError> {
        let (field, access) = field(operand, capabilities)?;
        Ok(field.part(access, self.read(field)))
    }

    /// What VMWRITE with this operand does. `value` is zero-extended where the instruction's
    /// operand has 32 bits; a narrower field takes its low bits.
    ///
    /// # Errors
    ///
    /// [`AccessError`]; the VMCS is as before.
    pub fn vmwrite(
        &mut self,
        operand: u64,
        value: u64,
        capabilities: &Capabilities,
    ) -> Result<(), AccessError> {
        let (field, access) = field(operand, capabilities)?;
        if field.kind() == Kind::ExitInformation && !capabilities.misc.can_write_any_field() {
            return Err(AccessError::ReadOnly(field));
        }
        let value = match (access, field.width()) {
            (Access::High, _) => self.read(field) & 0xffff_ffff | value << 32,
            (Access::Full, Width::Bits32) if is_access_rights(field) => value & ACCESS_RIGHTS,
            (Access::Full, _) => value,
        };
        self.write(field, value);
        Ok(())
    }
}

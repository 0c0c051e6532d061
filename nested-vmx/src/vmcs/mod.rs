// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VMCS: its fields and its bytes.
//!
//! A [`Vmcs`] *is* its 4 KiB region; fields are read from it and written to it in place. So bytes
//! become fields and fields become bytes without loss, and nothing is decoded before it is looked
//! at. The layout is that of the kernel's `struct vmcs12` (revision 0x11e57ed0), which is ABI;
//! fields that the kernel has not are in bytes that the kernel leaves unused.

mod access;
mod encoding;
mod field;
mod table;

pub use access::AccessError;
pub use encoding::{Access, Encoding, Kind, Width};
pub use field::Field;

use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use table::vmcs_fields;

/// The VMCS revision identifier of KVM's layout (kernel, `VMCS12_REVISION`).
pub const KVM_REVISION: u32 = 0x11e5_7ed0;

/// Bytes of a VMCS region.
pub const REGION_SIZE: usize = 4096;

/// Bit 31 of the first four bytes: this is a shadow VMCS (SDM volume 3, section 26.2).
const SHADOW: u32 = 1 << 31;

/// Where the header's parts are (kernel, `struct vmcs12`).
const HEADER: usize = 0;
const ABORT: usize = 4;
const LAUNCH_STATE: usize = 8;

/// Whether a VMCS was launched (SDM volume 3, section 26.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaunchState {
    /// VMLAUNCH takes it.
    Clear,
    /// VMRESUME takes it.
    Launched,
}

/// A VMCS region: what L1 gave (vmcs12), what L0 runs L1 with (vmcs01) or L2 (vmcs02).
#[derive(Clone, PartialEq, Eq)]
pub struct Vmcs {
    bytes: [u8; REGION_SIZE],
}

impl Vmcs {
    /// A region with this revision identifier (31 bits), all fields 0.
    pub const fn new(revision: u32) -> Self {
        let mut bytes = [0; REGION_SIZE];
        let [a, b, c, d] = (revision & !SHADOW).to_le_bytes();
        bytes[0] = a;
        bytes[1] = b;
        bytes[2] = c;
        bytes[3] = d;
        Self { bytes }
    }

    /// The region that these bytes are. Any bytes are one; nothing is checked.
    pub const fn from_bytes(bytes: [u8; REGION_SIZE]) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; REGION_SIZE] {
        &self.bytes
    }

    /// Its bytes, to be read into.
    pub const fn as_bytes_mut(&mut self) -> &mut [u8; REGION_SIZE] {
        &mut self.bytes
    }

    /// The bytes at an offset of the table, which are all in the region.
    #[inline]
    const fn load<const N: usize>(&self, offset: usize) -> [u8; N] {
        match self.bytes.split_at(offset).1.first_chunk() {
            Some(value) => *value,
            None => [0; N],
        }
    }

    const fn store<const N: usize>(&mut self, offset: usize, value: [u8; N]) {
        let mut at = 0;
        while at < N {
            self.bytes[offset + at] = value[at];
            at += 1;
        }
    }

    /// The revision identifier: bits 30:0 of the header.
    pub const fn revision(&self) -> u32 {
        u32::from_le_bytes(self.load(HEADER)) & !SHADOW
    }

    /// Whether it is a shadow VMCS: bit 31 of the header.
    pub const fn is_shadow(&self) -> bool {
        u32::from_le_bytes(self.load(HEADER)) & SHADOW != 0
    }

    /// Sets the revision identifier (31 bits) and the shadow-VMCS indicator.
    pub const fn set_header(&mut self, revision: u32, shadow: bool) {
        let shadow = if shadow { SHADOW } else { 0 };
        self.store(HEADER, (revision & !SHADOW | shadow).to_le_bytes());
    }

    /// The VMX-abort indicator (SDM volume 3, section 29.7).
    pub const fn abort(&self) -> u32 {
        u32::from_le_bytes(self.load(ABORT))
    }

    /// Sets the VMX-abort indicator.
    pub const fn set_abort(&mut self, indicator: u32) {
        self.store(ABORT, indicator.to_le_bytes());
    }

    /// The launch state. Anything but 0 is launched, as for KVM.
    pub const fn launch_state(&self) -> LaunchState {
        match u32::from_le_bytes(self.load(LAUNCH_STATE)) {
            0 => LaunchState::Clear,
            _ => LaunchState::Launched,
        }
    }

    /// Sets the launch state.
    pub const fn set_launch_state(&mut self, state: LaunchState) {
        let value: u32 = match state {
            LaunchState::Clear => 0,
            LaunchState::Launched => 1,
        };
        self.store(LAUNCH_STATE, value.to_le_bytes());
    }

    /// A field's value, zero-extended.
    #[inline]
    pub const fn read(&self, field: Field) -> u64 {
        let at = field.offset();
        match field.width() {
            Width::Bits16 => u16::from_le_bytes(self.load(at)) as u64,
            Width::Bits32 => u32::from_le_bytes(self.load(at)) as u64,
            Width::Bits64 | Width::Natural => u64::from_le_bytes(self.load(at)),
        }
    }

    /// Sets a field to the low bits of `value`, as many as it has. This is L0's own access: see
    /// [`Vmcs::vmwrite`] for what L1's instruction does.
    #[inline]
    pub const fn write(&mut self, field: Field, value: u64) {
        let at = field.offset();
        match field.width() {
            Width::Bits16 => self.store(at, (value as u16).to_le_bytes()),
            Width::Bits32 => self.store(at, (value as u32).to_le_bytes()),
            Width::Bits64 | Width::Natural => self.store(at, value.to_le_bytes()),
        }
    }
}

impl core::fmt::Debug for Vmcs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut map = f.debug_map();
        for &field in Field::ALL {
            let value = self.read(field);
            if value != 0 {
                map.entry(&field.name(), &format_args!("{value:#x}"));
            }
        }
        map.finish()
    }
}

/// A getter and a setter for each field.
macro_rules! define_accessors {
    ($($variant:ident, $accessor:ident, $name:literal, $encoding:literal, $type:ident, $offset:literal, $existence:expr;)*) => {
        /// One getter for each field, by its name.
        impl Vmcs {
            $(
                #[doc = concat!("The field ", $name, ".")]
                #[inline]
                pub const fn $accessor(&self) -> $type {
                    $type::from_le_bytes(self.load($offset))
                }
            )*
        }
    };
}

vmcs_fields!(define_accessors);

/// The controls, as what they are.
impl Vmcs {
    /// The pin-based VM-execution controls.
    #[inline]
    pub const fn pin(&self) -> PinControls {
        PinControls::from_bits_retain(self.pin_based_vm_exec_control())
    }

    /// The primary processor-based VM-execution controls.
    #[inline]
    pub const fn primary(&self) -> PrimaryControls {
        PrimaryControls::from_bits_retain(self.cpu_based_vm_exec_control())
    }

    /// The secondary processor-based VM-execution controls as they act: none where the primary
    /// controls do not activate them (SDM volume 3, section 26.6.2).
    #[inline]
    pub fn secondary(&self) -> SecondaryControls {
        match self
            .primary()
            .contains(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS)
        {
            true => SecondaryControls::from_bits_retain(self.secondary_vm_exec_control()),
            false => SecondaryControls::empty(),
        }
    }

    /// The tertiary processor-based VM-execution controls as they act: none where the primary
    /// controls do not activate them (SDM volume 3, section 26.6.2).
    #[inline]
    pub fn tertiary(&self) -> TertiaryControls {
        match self
            .primary()
            .contains(PrimaryControls::ACTIVATE_TERTIARY_CONTROLS)
        {
            true => TertiaryControls::from_bits_retain(self.tertiary_vm_exec_control()),
            false => TertiaryControls::empty(),
        }
    }

    /// The primary VM-exit controls.
    #[inline]
    pub const fn exit(&self) -> ExitControls {
        ExitControls::from_bits_retain(self.vm_exit_controls())
    }

    /// The secondary VM-exit controls as they act: none where the primary ones do not activate
    /// them (SDM volume 3, section 26.7.1).
    #[inline]
    pub fn secondary_exit(&self) -> SecondaryExitControls {
        match self
            .exit()
            .contains(ExitControls::ACTIVATE_SECONDARY_CONTROLS)
        {
            true => SecondaryExitControls::from_bits_retain(self.secondary_vm_exit_controls()),
            false => SecondaryExitControls::empty(),
        }
    }

    /// The VM-entry controls.
    #[inline]
    pub const fn entry(&self) -> EntryControls {
        EntryControls::from_bits_retain(self.vm_entry_controls())
    }
}

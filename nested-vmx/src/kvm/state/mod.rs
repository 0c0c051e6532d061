// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `struct kvm_nested_state`, typed.
//!
//! A [`NestedState`] *is* its bytes, as a [`Vmcs`] is: nothing gets lost, also what is reserved, or
//! wrong. Whether KVM takes it, [`judge`](super::judge) says.

mod buffer;
mod build;
mod bytes;
mod flags;
mod layout;

pub use bytes::BytesError;
pub use flags::{HeaderFlags, SmmFlags, StateFlags};
pub use layout::{HEADER_SIZE, STATE_SIZE};
pub(super) use layout::{SIZE_WITH_SHADOW, SIZE_WITH_VMCS12};

use alloc::boxed::Box;
use core::fmt;

use crate::vmcs::Vmcs;

/// The nested state of a vCPU with VMX: a header, the current vmcs12, and the shadow vmcs12 that it
/// links to.
#[derive(Clone, PartialEq, Eq)]
pub struct NestedState {
    header: [u8; HEADER_SIZE],
    vmcs12: Box<Vmcs>,
    shadow_vmcs12: Box<Vmcs>,
}

impl NestedState {
    /// KVM's "there is none" for a physical address.
    pub const NO_ADDRESS: u64 = u64::MAX;

    /// `kvm_nested_state.format` of VMX.
    pub const FORMAT_VMX: u16 = 0;

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let tail = self.header.get(at..).unwrap_or_default();
        tail.first_chunk().copied().unwrap_or([0; N])
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        let tail = self.header.get_mut(at..).unwrap_or_default();
        if let Some(place) = tail.first_chunk_mut() {
            *place = value;
        }
    }

    /// What the vCPU is in. Bits without a name are kept.
    pub fn flags(&self) -> StateFlags {
        StateFlags::from_bits_retain(u16::from_le_bytes(self.get(layout::FLAGS)))
    }

    /// Sets the flags, unknown bits too.
    pub fn set_flags(&mut self, flags: StateFlags) {
        self.put(layout::FLAGS, flags.bits().to_le_bytes());
    }

    /// Which vendor's state it is: [`NestedState::FORMAT_VMX`] is what this type understands.
    pub fn format(&self) -> u16 {
        u16::from_le_bytes(self.get(layout::FORMAT))
    }

    /// Sets the format.
    pub fn set_format(&mut self, format: u16) {
        self.put(layout::FORMAT, format.to_le_bytes());
    }

    /// How many bytes it says that it has, the header included.
    pub fn size(&self) -> u32 {
        u32::from_le_bytes(self.get(layout::SIZE))
    }

    /// Sets the size. What lies behind it is not part of the state.
    pub fn set_size(&mut self, size: u32) {
        self.put(layout::SIZE, size.to_le_bytes());
    }

    /// Whether the size reaches so far.
    pub(super) fn reaches(&self, size: usize) -> bool {
        usize::try_from(self.size()).is_ok_and(|own| own >= size)
    }

    /// The physical address of the VMXON region. `None`: the vCPU is outside VMX operation.
    pub fn vmxon(&self) -> Option<u64> {
        Some(self.vmxon_address()).filter(|&address| address != Self::NO_ADDRESS)
    }

    fn vmxon_address(&self) -> u64 {
        u64::from_le_bytes(self.get(layout::VMXON))
    }

    /// Sets the address of the VMXON region, unchecked.
    pub fn set_vmxon(&mut self, address: Option<u64>) {
        let address = address.unwrap_or(Self::NO_ADDRESS);
        self.put(layout::VMXON, address.to_le_bytes());
    }

    /// The physical address of the current VMCS.
    pub fn current(&self) -> Option<u64> {
        let address = u64::from_le_bytes(self.get(layout::VMCS12));
        Some(address).filter(|&address| address != Self::NO_ADDRESS)
    }

    /// Sets the address of the current VMCS, unchecked.
    pub fn set_current(&mut self, address: Option<u64>) {
        let address = address.unwrap_or(Self::NO_ADDRESS);
        self.put(layout::VMCS12, address.to_le_bytes());
    }

    /// What SMM interrupted, if the vCPU is in SMM.
    pub fn smm_flags(&self) -> SmmFlags {
        SmmFlags::from_bits_retain(u16::from_le_bytes(self.get(layout::SMM_FLAGS)))
    }

    /// Sets what SMM interrupted.
    pub fn set_smm_flags(&mut self, flags: SmmFlags) {
        self.put(layout::SMM_FLAGS, flags.bits().to_le_bytes());
    }

    /// Which other parts of the header are valid.
    pub fn header_flags(&self) -> HeaderFlags {
        HeaderFlags::from_bits_retain(u32::from_le_bytes(self.get(layout::HEADER_FLAGS)))
    }

    /// Sets which other parts of the header are valid.
    pub fn set_header_flags(&mut self, flags: HeaderFlags) {
        self.put(layout::HEADER_FLAGS, flags.bits().to_le_bytes());
    }

    /// When L1's preemption timer runs down: L1's TSC, divided by 2 to the power of the timer's rate
    /// (IA32_VMX_MISC bits 4:0). `None` where the header does not say.
    pub fn preemption_timer_deadline(&self) -> Option<u64> {
        self.header_flags()
            .contains(HeaderFlags::PREEMPTION_TIMER_DEADLINE)
            .then(|| u64::from_le_bytes(self.get(layout::TIMER_DEADLINE)))
    }

    /// Sets when L1's preemption timer runs down, and whether the header says so.
    pub fn set_preemption_timer_deadline(&mut self, deadline: Option<u64>) {
        let mut flags = self.header_flags();
        flags.set(HeaderFlags::PREEMPTION_TIMER_DEADLINE, deadline.is_some());
        self.set_header_flags(flags);
        self.put(layout::TIMER_DEADLINE, deadline.unwrap_or(0).to_le_bytes());
    }

    /// The current VMCS, where the state is long enough to have one. While L2 is active, its
    /// guest-state area is L2's state.
    pub fn vmcs12(&self) -> Option<&Vmcs> {
        self.reaches(SIZE_WITH_VMCS12).then_some(&*self.vmcs12)
    }

    /// The current VMCS, to be changed.
    pub fn vmcs12_mut(&mut self) -> Option<&mut Vmcs> {
        let has = self.reaches(SIZE_WITH_VMCS12);
        has.then_some(&mut *self.vmcs12)
    }

    /// The shadow VMCS that L2 reads and writes, where the state is long enough to have one.
    pub fn shadow_vmcs12(&self) -> Option<&Vmcs> {
        self.reaches(SIZE_WITH_SHADOW)
            .then_some(&*self.shadow_vmcs12)
    }

    /// Whether L2 is active.
    pub fn is_in_guest_mode(&self) -> bool {
        self.flags().contains(StateFlags::GUEST_MODE)
    }

    /// Whether L1's VM entry is still to happen.
    pub fn is_run_pending(&self) -> bool {
        self.flags().contains(StateFlags::RUN_PENDING)
    }
}

impl Default for NestedState {
    fn default() -> Self {
        Self::off()
    }
}

impl fmt::Debug for NestedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestedState")
            .field("flags", &self.flags())
            .field("format", &self.format())
            .field("size", &self.size())
            .field("vmxon", &self.vmxon())
            .field("current", &self.current())
            .field("smm_flags", &self.smm_flags())
            .field("header_flags", &self.header_flags())
            .field("vmcs12", &self.vmcs12())
            .field("shadow_vmcs12", &self.shadow_vmcs12())
            .finish_non_exhaustive()
    }
}

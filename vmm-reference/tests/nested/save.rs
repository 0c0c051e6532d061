// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest is saved, taken down and restored in a new VM.

use kvm_ioctls::Kvm;
use nested_vmx::kvm::{Injection, KvmVcpu, NestedState, Offered, Place, RestorePlan, VcpuState};
use nested_vmx::vmcs::{Field, Vmcs};
use vmm_reference::vm::InterruptControllers;

use super::guest::Guest;

/// Where guests were when they were saved.
#[derive(Debug, Default)]
pub struct Places {
    /// In L1, in VMX root operation.
    pub root: u64,
    /// In L2.
    pub l2: u64,
    /// Between L1's VMLAUNCH or VMRESUME and the entry into L2.
    pub run_pending: u64,
    /// What was on its way into L2.
    pub injected: Vec<Injection>,
}

impl Places {
    /// How often a guest was saved.
    pub fn all(&self) -> u64 {
        self.root + self.l2 + self.run_pending
    }

    fn count(&mut self, state: &VcpuState) {
        let at = state.whereabouts();
        match at.place {
            Place::Root => self.root += 1,
            Place::L2 if at.run_pending => self.run_pending += 1,
            Place::L2 => self.l2 += 1,
            other => panic!("{other:?}"),
        }
        if at.place == Place::L2 {
            self.injected.extend(at.injection);
        }
    }
}

/// What is set is what is got.
fn assert_same(set: &NestedState, got: &NestedState) {
    // Field by field first, which says what differs.
    if let (Some(set), Some(got)) = (set.vmcs12(), got.vmcs12()) {
        let value = |vmcs: &Vmcs| Field::ALL.iter().map(|field| vmcs.read(*field)).collect();
        let (set, got): (Vec<_>, Vec<_>) = (value(set), value(got));
        for ((field, set), got) in Field::ALL.iter().zip(set).zip(got) {
            assert!(
                set == got || *field == NOT_RESTORED,
                "{field:?}: {set:#x} was set, {got:#x} is got"
            );
        }
    }
    let comparable = |state: &NestedState| {
        let mut state = state.clone();
        if state.is_in_guest_mode()
            && let Some(vmcs12) = state.vmcs12_mut()
        {
            vmcs12.write(NOT_RESTORED, 0);
        }
        state.to_bytes()
    };
    assert!(comparable(set) == comparable(got), "{set:?}\n{got:?}");
}

/// What no KVM can restore: while L2 is active, it reads the guest-linear address of an exit that is yet
/// to come from its own VMCS (kernel, `nested.c`, `sync_vmcs02_to_vmcs12()`), where the processor has
/// left some earlier exit's.
const NOT_RESTORED: Field = Field::GuestLinearAddress;

/// Saves a paused guest, takes all of it down, and restores it in a new VM.
pub fn move_to_new_vm(
    kvm: &Kvm,
    guest: Guest,
    interrupts: InterruptControllers,
    places: &mut Places,
) -> Guest {
    let msrs = kvm.get_msr_index_list().unwrap().as_slice().to_vec();
    let state = guest
        .call(move |vcpu| VcpuState::get(&KvmVcpu(vcpu.fd()), &msrs))
        .unwrap();
    places.count(&state);
    let output = guest.output.clone();
    let memory = guest.take_down();
    let offered = Offered::of(kvm).unwrap();
    Guest::start(kvm, memory, interrupts, output, |vcpu| {
        let port = KvmVcpu(vcpu);
        RestorePlan::new(&state)
            .judged_by(offered.context())
            .perform(&port)
            .unwrap_or_else(|error| panic!("{error}: {}", error.remedy()));
        let msrs: Vec<u32> = state.msrs.iter().map(|msr| msr.index).collect();
        let again = VcpuState::get(&port, &msrs).unwrap();
        assert_same(&state.nested, &again.nested);
        assert_eq!(again.whereabouts(), state.whereabouts());
    })
}

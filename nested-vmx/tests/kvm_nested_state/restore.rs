// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! vCPUs are read and restored. Without nested VMX, outside VMX operation.

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::VcpuFd;
use nested_vmx::capability::{FeatureControl, msr};
use nested_vmx::kvm::{KvmVcpu, Msr, NestedState, Place, RestorePlan, VcpuPort, VcpuState};
use nested_vmx::model::vmcs12_of;

use crate::host::Host;
use crate::machine::Machine;

/// A vCPU as a VMM makes it: with KVM's interrupt controller, and nothing set.
fn empty(host: &Host) -> (kvm_ioctls::VmFd, VcpuFd) {
    let vm = host.kvm.create_vm().expect("a virtual machine");
    vm.create_irq_chip().expect("an interrupt controller");
    let vcpu = vm.create_vcpu(0).expect("a vCPU");
    (vm, vcpu)
}

fn prepared(host: &Host) -> (kvm_ioctls::VmFd, VcpuFd) {
    let (vm, vcpu) = empty(host);
    let cpuid = host.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
    vcpu.set_cpuid2(&cpuid.expect("CPUID")).expect("CPUID");
    let mut regs = vcpu.get_regs().expect("registers");
    (regs.rax, regs.rip, regs.rsp) = (0x1234, 0x5678, 0x9abc);
    vcpu.set_regs(&regs).expect("registers");
    if host.has_nested_vmx() {
        // As firmware leaves it. Setting it to 0 takes a vCPU out of VMX operation.
        let vmx = Msr {
            index: msr::FEATURE_CONTROL,
            value: FeatureControl::VMX.bits(),
        };
        assert_eq!(KvmVcpu(&vcpu).set_msrs(&[vmx]), Ok(1));
    }
    (vm, vcpu)
}

/// Some MSRs that every vCPU has: IA32_SYSENTER_*, IA32_PAT.
const MSRS: [u32; 4] = [0x174, 0x175, 0x176, 0x277];

#[test]
fn a_vcpu_outside_vmx_operation() {
    let Some(host) = Host::with_kvm("a_vcpu_outside_vmx_operation") else {
        return;
    };
    let (_vm, old) = prepared(&host);
    let state = VcpuState::get(&KvmVcpu(&old), &MSRS).expect("a vCPU");
    assert_eq!(state.whereabouts().place, Place::Off);
    let (_vm, new) = empty(&host);
    RestorePlan::new(&state)
        .perform(&KvmVcpu(&new))
        .expect("a restore");
    let again = VcpuState::get(&KvmVcpu(&new), &MSRS).expect("a vCPU");
    assert_eq!(again.regs, state.regs);
    assert_eq!(again.sregs, state.sregs);
    assert_eq!(again.msrs, state.msrs);
    assert_eq!(again.nested, state.nested);
    assert_eq!(again.events, state.events);
}

#[test]
fn a_vcpu_whose_l2_is_about_to_be_entered() {
    let Some(host) = Host::with_nested_vmx("a_vcpu_whose_l2_is_about_to_be_entered") else {
        return;
    };
    let offered = Machine::new(&host).offered();
    let (_vm, old) = prepared(&host);
    let vmcs12 = vmcs12_of(&offered.capabilities);
    let nested = NestedState::root(0x1000)
        .with_current(0x2000, vmcs12)
        .in_guest_mode(true);
    KvmVcpu(&old).set_nested_state(&nested).expect("L2");
    let state = VcpuState::get(&KvmVcpu(&old), &MSRS).expect("a vCPU");
    assert_eq!(state.whereabouts().place, Place::L2);
    assert!(state.whereabouts().run_pending);
    assert!(!state.capability_msrs.is_empty());

    let (_vm, new) = empty(&host);
    RestorePlan::new(&state)
        .judged_by(offered.context())
        .perform(&KvmVcpu(&new))
        .expect("a restore");
    let again = VcpuState::get(&KvmVcpu(&new), &MSRS).expect("a vCPU");
    assert!(again.nested == state.nested);
    assert_eq!(again.regs, state.regs);
    assert_eq!(again.sregs, state.sregs);
    assert_eq!(again.capability_msrs, state.capability_msrs);

    // In VMX operation the capabilities are fixed.
    let error = RestorePlan::new(&state)
        .perform(&KvmVcpu(&new))
        .expect_err("a second restore");
    let text = error.to_string();
    assert!(text.contains("in VMX operation already"), "{text}");
}

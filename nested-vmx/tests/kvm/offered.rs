// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU has.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use nested_vmx::capability::Features;
use nested_vmx::kvm::{Msr, NestedState, Offered, judge, processor_of};

use crate::port::{FakeVcpu, cpuid};
use crate::states::{capabilities, current};

#[test]
fn a_vcpu_tells_its_capabilities() {
    let offered = Offered::of_vcpu(&FakeVcpu::default()).expect("a vCPU");
    assert!(offered.vmx_in_cpuid);
    assert_eq!(offered.capabilities.basic, capabilities().basic);
    assert_eq!(offered.capabilities.misc, capabilities().misc);
    assert_eq!(offered.capabilities.processor.physical_address_width, 40);
    assert!(judge(&current(), &offered.context()).is_accepted());

    let none = Offered::from_parts(&cpuid(), []);
    assert_eq!(none.capabilities.basic.revision(), 0);
    let without = Offered {
        vmx_in_cpuid: false,
        ..none
    };
    assert!(!judge(&current(), &without.context()).is_accepted());
    assert!(judge(&NestedState::off(), &without.context()).is_accepted());
}

#[test]
fn cpuid_tells_of_the_processor() {
    let leaf = |function, index, [eax, ebx, ecx, edx]: [u32; 4]| kvm_cpuid_entry2 {
        function,
        index,
        eax,
        ebx,
        ecx,
        edx,
        ..kvm_cpuid_entry2::default()
    };
    let leaves = [
        leaf(1, 0, [0, 0, 1 << 17, 0]),
        leaf(
            7,
            0,
            [1, 1 << 2 | 1 << 11, 1 << 7 | 1 << 16 | 1 << 24, 1 << 20],
        ),
        leaf(7, 1, [1 << 26 | 1 << 17, 0, 0, 0]),
        leaf(0xa, 0, [0x0804, 0, 0, 3]),
        leaf(0x8000_0001, 0, [0, 0, 0, 1 << 20 | 1 << 29]),
        leaf(0x8000_0008, 0, [0x3930, 0, 0, 0]),
    ];
    let processor = processor_of(&CpuId::from_entries(&leaves).expect("six entries"));
    assert_eq!(processor.physical_address_width, 48);
    assert_eq!(processor.features, Features::all());
    assert_eq!(processor.efer, 0xd01);
    assert_eq!(processor.debugctl, 0x8007);
    assert_eq!(processor.perf_global_ctrl, 0x7_0000_00ff);

    let cpuid = CpuId::from_entries(&leaves).expect("six entries");
    let lbr = Msr {
        index: 0x345,
        value: 5,
    };
    let processor = Offered::from_parts(&cpuid, [lbr]).capabilities.processor;
    assert_eq!(processor.debugctl, 0x8807);

    let least = processor_of(&CpuId::from_entries(&[]).expect("no entries"));
    assert_eq!(least.physical_address_width, 36);
    assert_eq!((least.efer, least.perf_global_ctrl), (1, 0));
    assert_eq!(least.features, Features::empty());
}

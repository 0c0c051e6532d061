// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Virtualization exceptions in the place of EPT violations (SDM volume 3, section 27.5.7).

use nested_vmx::controls::{PrimaryControls, SecondaryControls};
use nested_vmx::ept::{Violation, VirtualizationException};
use nested_vmx::memory::L1Memory;
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};

use crate::memory::Memory;

const AREA: u64 = 0x1000;

const VIOLATION: Violation = Violation {
    qualification: 0x182,
    guest_physical: 0x1_2345_6789,
    convertible: true,
};

fn vmcs12() -> Vmcs {
    let mut vmcs12 = Vmcs::new(KVM_REVISION);
    let primary = PrimaryControls::ACTIVATE_SECONDARY_CONTROLS.bits();
    let secondary = SecondaryControls::EPT_VIOLATION_VE.bits();
    vmcs12.write(Field::CpuBasedVmExecControl, primary.into());
    vmcs12.write(Field::SecondaryVmExecControl, secondary.into());
    vmcs12.write(Field::VeInformationAddress, AREA);
    vmcs12.write(Field::EptpIndex, 0x1234);
    vmcs12.write(Field::GuestCr0, 1);
    vmcs12
}

#[test]
fn written_to_its_area() {
    let memory = Memory::new(2);
    let (vmcs12, linear) = (vmcs12(), 0xffff_8000_0000_0789);
    let exception =
        VirtualizationException::instead_of(&VIOLATION, linear, false, &vmcs12, &memory);
    let exception = exception.unwrap().unwrap();
    exception.save(AREA, &memory).unwrap();
    assert_eq!(memory.get(AREA), 0xffff_ffff_0000_0030);
    assert_eq!(memory.get(AREA + 8), 0x182);
    assert_eq!(memory.get(AREA + 16), linear);
    assert_eq!(memory.get(AREA + 24), 0x1_2345_6789);
    assert_eq!(memory.get(AREA + 32), 0x1234);
    // Until the guest clears it, violations exit.
    let again = VirtualizationException::instead_of(&VIOLATION, linear, false, &vmcs12, &memory);
    assert_eq!(again, Ok(None));
    memory.write(AREA + 4, &[0; 4]).unwrap();
    let again = VirtualizationException::instead_of(&VIOLATION, linear, false, &vmcs12, &memory);
    assert!(again.unwrap().is_some());
}

#[test]
fn each_condition() {
    let memory = Memory::new(2);
    let decide = |violation: &Violation, delivering, vmcs12: &Vmcs| {
        let decision =
            VirtualizationException::instead_of(violation, 0, delivering, vmcs12, &memory);
        decision.unwrap().is_some()
    };
    assert!(decide(&VIOLATION, false, &vmcs12()));
    let suppressed = Violation {
        convertible: false,
        ..VIOLATION
    };
    assert!(!decide(&suppressed, false, &vmcs12()));
    assert!(!decide(&VIOLATION, true, &vmcs12()));
    for field in [Field::GuestCr0, Field::SecondaryVmExecControl] {
        let mut vmcs12 = vmcs12();
        vmcs12.write(field, 0);
        assert!(!decide(&VIOLATION, false, &vmcs12), "{field}");
    }
    let mut vmcs12 = vmcs12();
    vmcs12.write(Field::VeInformationAddress, 0x10_0000);
    let decision = VirtualizationException::instead_of(&VIOLATION, 0, false, &vmcs12, &memory);
    assert!(decision.is_err());
}

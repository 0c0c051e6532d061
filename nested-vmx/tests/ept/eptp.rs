// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The pointer: what VM entries accept, EPTP lists, INVEPT.

use nested_vmx::capability::EptVpid;
use nested_vmx::controls::{PrimaryControls, SecondaryControls};
use nested_vmx::ept::{Ept, Eptp, EptpError, Invalidation};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};

use crate::memory::Memory;
use crate::{PLAIN, WITH_FLAGS, capabilities, with};

#[test]
fn each_rule() {
    let all = EptVpid::all();
    let table = [
        (PLAIN.0, all, Ok(())),
        (PLAIN.0 & !7, all, Ok(())),
        (PLAIN.0, all - EptVpid::WB, Err(EptpError::MemoryType)),
        (PLAIN.0 & !7, all - EptVpid::UC, Err(EptpError::MemoryType)),
        (PLAIN.0 & !7 | 5, all, Err(EptpError::MemoryType)),
        (PLAIN.0, all - EptVpid::WALK_4, Err(EptpError::WalkLength)),
        (0x26, all, Ok(())),
        (0x26, all - EptVpid::WALK_5, Err(EptpError::WalkLength)),
        (0x16, all, Err(EptpError::WalkLength)),
        (0x2e, all, Err(EptpError::WalkLength)),
        (WITH_FLAGS.0, all, Ok(())),
        (
            WITH_FLAGS.0,
            all - EptVpid::ACCESSED_DIRTY,
            Err(EptpError::AccessedDirty),
        ),
        (PLAIN.0 | 1 << 7, all, Ok(())),
        (
            PLAIN.0 | 1 << 7,
            all - EptVpid::SUPERVISOR_SHADOW_STACK,
            Err(EptpError::ShadowStack),
        ),
        (PLAIN.0 | 1 << 39, all, Ok(())),
        (PLAIN.0 | 1 << 40, all, Err(EptpError::ReservedBit)),
        (PLAIN.0 | 1 << 63, all, Err(EptpError::ReservedBit)),
        (PLAIN.0 | 1 << 8, all, Err(EptpError::ReservedBit)),
        (PLAIN.0 | 1 << 11, all, Err(EptpError::ReservedBit)),
    ];
    for (eptp, ept_vpid, expected) in table {
        assert_eq!(Eptp(eptp).check(&with(ept_vpid)), expected, "{eptp:#x}");
    }
}

#[test]
fn of_a_vmcs() {
    let mut vmcs12 = Vmcs::new(KVM_REVISION);
    vmcs12.write(Field::EptPointer, PLAIN.0);
    let primary = PrimaryControls::ACTIVATE_SECONDARY_CONTROLS.bits();
    vmcs12.write(Field::CpuBasedVmExecControl, primary.into());
    assert_eq!(Ept::of(&vmcs12, &capabilities()), None);
    let mode_based = SecondaryControls::MODE_BASED_EXECUTE_CONTROL;
    for controls in [SecondaryControls::empty(), mode_based] {
        let secondary = controls | SecondaryControls::ENABLE_EPT;
        vmcs12.write(Field::SecondaryVmExecControl, secondary.bits().into());
        let expected = Ept::new(PLAIN, &capabilities(), controls == mode_based);
        assert_eq!(Ept::of(&vmcs12, &capabilities()), Some(expected));
    }
}

#[test]
fn lists() {
    let memory = Memory::new(3);
    memory.set(0x1000, 0x1111);
    memory.set(0x1ff8, 0x2222);
    memory.set(0x2000, 0x3333);
    let entry = |number| Eptp::from_list(&memory, 0x1000, number);
    assert_eq!(entry(0), Ok(Some(Eptp(0x1111))));
    assert_eq!(entry(511), Ok(Some(Eptp(0x2222))));
    assert_eq!(entry(512), Ok(None));
    assert_eq!(entry(u32::MAX), Ok(None));
    assert!(Eptp::from_list(&memory, 0x10_0000, 0).is_err());
}

#[test]
fn invept() {
    let capabilities = capabilities();
    let invept = |kind, descriptor| Invalidation::from_invept(kind, descriptor, &capabilities);
    let single = invept(1, [PLAIN.0, 0]).unwrap();
    assert_eq!(single, Invalidation::SingleContext(PLAIN));
    assert!(single.affects(WITH_FLAGS));
    assert!(!single.affects(Eptp(PLAIN.0 + 0x1000)));
    // The descriptor's EPTP counts for one type only.
    assert_eq!(invept(1, [0x7, 0]), None);
    let all = invept(2, [0x7, 0]).unwrap();
    assert_eq!(all, Invalidation::AllContexts);
    assert!(all.affects(PLAIN));
    assert_eq!(invept(2, [0, 1]), None);
    for kind in [0, 3, 1 << 32 | 1, u64::MAX] {
        assert_eq!(invept(kind, [PLAIN.0, 0]), None);
    }
    for (kind, capability) in [(1, EptVpid::INVEPT_SINGLE), (2, EptVpid::INVEPT_ALL)] {
        let without = with(EptVpid::all() - capability);
        assert_eq!(
            Invalidation::from_invept(kind, [PLAIN.0, 0], &without),
            None
        );
    }
}

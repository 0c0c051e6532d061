// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! RDMSR and WRMSR, XSAVES and XRSTORS (SDM volume 3, sections 26.6.9, 26.6.21 and 27.1.3).

use super::Exit;
use crate::controls::PrimaryControls;
use crate::exit_reason::ExitReason;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// What is done to the MSR.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Where the four parts of the bitmap are.
const HIGH: u64 = 1024;
const WRITE: u64 = 2048;

/// Whether L1 wants the access to exit.
pub(super) fn exits(exit: &Exit, vmcs12: &Vmcs, memory: &dyn L1Memory, access: Access) -> bool {
    let used = vmcs12.primary().contains(PrimaryControls::USE_MSR_BITMAPS);
    if !used {
        return true;
    }
    let index = match exit.reason.basic() {
        // The MSR is in the instruction, and its number in the qualification.
        ExitReason::RDMSR_IMMEDIATE | ExitReason::WRMSRNS_IMMEDIATE => exit.qualification as u32,
        _ => exit.ecx(),
    };
    let (part, number) = match index {
        0..=0x1fff => (0, index),
        0xc000_0000..=0xc000_1fff => (HIGH, index & 0x1fff),
        // Outside both ranges every access exits.
        _ => return true,
    };
    let access = match access {
        Access::Read => 0,
        Access::Write => WRITE,
    };
    let offset = part + access + u64::from(number >> 3);
    let mut byte = [0; 1];
    let Some(address) = vmcs12.msr_bitmap().checked_add(offset) else {
        return true;
    };
    memory.read(address, &mut byte).is_err() || byte[0] >> (number & 7) & 1 != 0
}

/// Whether XSAVES or XRSTORS with EDX:EAX touches a component that L1 wants to see. What the
/// instruction's IA32_XSS leaves out, L0 knows: it is not here.
pub(super) fn xss_exits(exit: &Exit, vmcs12: &Vmcs) -> bool {
    let components = exit.register(2) << 32 | exit.register(0) & 0xffff_ffff;
    components & vmcs12.xss_exit_bitmap() != 0
}

#[cfg(all(test, feature = "model"))]
mod tests {
    use super::*;
    use crate::model::ModelMemory;
    use crate::vmcs::{Field, KVM_REVISION};

    #[test]
    fn each_msr_has_two_bits() {
        let mut vmcs12 = Vmcs::new(KVM_REVISION);
        let memory = ModelMemory::new(0x2000);
        let exits = |vmcs12: &Vmcs, index: u64, access| {
            let mut exit = Exit::new(ExitReason::RDMSR);
            exit.registers[1] = index;
            super::exits(&exit, vmcs12, &memory, access)
        };
        assert!(exits(&vmcs12, 0x10, Access::Read), "without a bitmap");
        let controls = PrimaryControls::USE_MSR_BITMAPS.bits();
        vmcs12.write(Field::CpuBasedVmExecControl, controls.into());
        vmcs12.write(Field::MsrBitmap, 0x1000);
        for (index, access, offset) in [
            (0, Access::Read, 0),
            (0x1fff, Access::Read, 1023),
            (0xc000_0080, Access::Read, 1024 + 16),
            (0x10, Access::Write, 2048 + 2),
            (0xc000_1fff, Access::Write, 4095),
        ] {
            assert!(!exits(&vmcs12, index, access), "{index:#x}");
            memory
                .write(0x1000 + offset, &[1 << (index & 7)])
                .expect("memory");
            assert!(exits(&vmcs12, index, access), "{index:#x}");
            let other = if access == Access::Read {
                Access::Write
            } else {
                Access::Read
            };
            assert!(!exits(&vmcs12, index, other), "{index:#x}");
        }
        for index in [0x2000, 0xc000_2000, 0xbfff_ffff, 0xffff_ffff] {
            assert!(exits(&vmcs12, index, Access::Read), "{index:#x}");
        }
        // The high half of RCX is ignored.
        assert!(!exits(&vmcs12, 0xffff_ffff_0000_0010, Access::Read));
        vmcs12.write(Field::MsrBitmap, 0x2000);
        assert!(exits(&vmcs12, 0x10, Access::Read), "no memory");
    }
}

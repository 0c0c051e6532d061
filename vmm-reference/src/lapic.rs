// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The local APIC's two interrupt pins, as a PC's firmware leaves them: LINT0 takes the PIC's
//! interrupts, LINT1 is NMI (Intel MultiProcessor Specification 1.4, 3.6.2; SDM vol. 3, 12.5.1).

use kvm_bindings::kvm_lapic_state;
use kvm_ioctls::VcpuFd;

use crate::vm::{VmError, ioctl};

/// Offsets of the local vector table's entries in the register page.
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
/// Delivery mode, bits 8 to 10.
const DELIVERY_MODE: u32 = 0b111 << 8;
const NMI: u32 = 0b100 << 8;
const EXT_INT: u32 = 0b111 << 8;
/// Bit 16.
const MASKED: u32 = 1 << 16;

/// Sets the pins.
///
/// # Errors
/// When KVM refuses.
pub fn set_pins(vcpu: &VcpuFd) -> Result<(), VmError> {
    let mut lapic = vcpu.get_lapic().map_err(ioctl("KVM_GET_LAPIC"))?;
    set_delivery_mode(&mut lapic, LVT_LINT0, EXT_INT);
    set_delivery_mode(&mut lapic, LVT_LINT1, NMI);
    vcpu.set_lapic(&lapic).map_err(ioctl("KVM_SET_LAPIC"))
}

fn set_delivery_mode(lapic: &mut kvm_lapic_state, offset: usize, mode: u32) {
    let Some(bytes) = lapic.regs.get_mut(offset..offset + 4) else {
        return;
    };
    let mut register = [0; 4];
    for (to, from) in register.iter_mut().zip(&*bytes) {
        *to = *from as u8;
    }
    let value = u32::from_le_bytes(register) & !(DELIVERY_MODE | MASKED) | mode;
    for (to, from) in bytes.iter_mut().zip(value.to_le_bytes()) {
        *to = from as _;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_delivery_mode_and_the_mask_change() {
        let mut lapic = kvm_lapic_state::default();
        let masked_with_vector = 0x0001_0ff3u32.to_le_bytes();
        for (to, from) in lapic.regs[LVT_LINT1..].iter_mut().zip(masked_with_vector) {
            *to = from as _;
        }
        set_delivery_mode(&mut lapic, LVT_LINT1, NMI);
        let found: Vec<u8> = lapic.regs[LVT_LINT1..LVT_LINT1 + 4]
            .iter()
            .map(|&byte| byte as u8)
            .collect();
        assert_eq!(found, 0x0000_0cf3u32.to_le_bytes());
        let others = lapic.regs.iter().filter(|&&byte| byte != 0).count();
        assert_eq!(others, 2, "no other register is touched");
    }
}

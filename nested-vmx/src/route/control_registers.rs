// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accesses to control registers (SDM volume 3, sections 26.6.6, 26.6.7, 27.1.3 and table 29-3).

use super::Exit;
use crate::controls::PrimaryControls;
use crate::registers::cr0;
use crate::vmcs::Vmcs;

/// What the instruction was: bits 5:4 of the qualification.
enum Access {
    MovTo,
    MovFrom,
    Clts,
    Lmsw,
}

/// Whether L1 wants the access to exit.
pub(super) fn exits(exit: &Exit, vmcs12: &Vmcs) -> bool {
    let qualification = exit.qualification;
    let register = qualification & 0xf;
    let access = match qualification >> 4 & 3 {
        0 => Access::MovTo,
        1 => Access::MovFrom,
        2 => Access::Clts,
        _ => Access::Lmsw,
    };
    let primary = vmcs12.primary();
    match (access, register) {
        (Access::MovTo, 0) => differs(
            value(exit),
            vmcs12.cr0_guest_host_mask(),
            vmcs12.cr0_read_shadow(),
        ),
        (Access::MovTo, 3) => {
            primary.contains(PrimaryControls::CR3_LOAD_EXITING) && !is_target(value(exit), vmcs12)
        }
        (Access::MovTo, 4) => differs(
            value(exit),
            vmcs12.cr4_guest_host_mask(),
            vmcs12.cr4_read_shadow(),
        ),
        (Access::MovTo, 8) => primary.contains(PrimaryControls::CR8_LOAD_EXITING),
        (Access::MovFrom, 3) => primary.contains(PrimaryControls::CR3_STORE_EXITING),
        (Access::MovFrom, 8) => primary.contains(PrimaryControls::CR8_STORE_EXITING),
        (Access::Clts, _) => {
            vmcs12.cr0_guest_host_mask() & cr0::TS != 0 && vmcs12.cr0_read_shadow() & cr0::TS != 0
        }
        (Access::Lmsw, _) => lmsw(qualification, vmcs12),
        _ => false,
    }
}

/// The value of the general-purpose register in bits 11:8. Outside 64-bit mode the operand is its
/// low half; the high half is whatever was there before.
fn value(exit: &Exit) -> u64 {
    let register = exit.register((exit.qualification >> 8 & 0xf) as u32);
    match exit.is_64_bit {
        true => register,
        false => register & 0xffff_ffff,
    }
}

/// Whether the value differs from the shadow in a bit of L1's.
const fn differs(value: u64, mask: u64, shadow: u64) -> bool {
    (value ^ shadow) & mask != 0
}

/// Whether the value is one of the CR3-target values that count.
fn is_target(value: u64, vmcs12: &Vmcs) -> bool {
    let targets = [
        vmcs12.cr3_target_value0(),
        vmcs12.cr3_target_value1(),
        vmcs12.cr3_target_value2(),
        vmcs12.cr3_target_value3(),
    ];
    let count = vmcs12.cr3_target_count() as usize;
    targets.iter().take(count).any(|&target| target == value)
}

/// LMSW changes bits 3:0, and cannot clear PE.
const fn lmsw(qualification: u64, vmcs12: &Vmcs) -> bool {
    let source = qualification >> 16;
    let mask = vmcs12.cr0_guest_host_mask();
    let shadow = vmcs12.cr0_read_shadow();
    let sets_pe = mask & source & !shadow & cr0::PE != 0;
    sets_pe || differs(source, mask & (cr0::MP | cr0::EM | cr0::TS), shadow)
}

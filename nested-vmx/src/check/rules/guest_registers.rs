// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Control registers, debug registers and MSRs of the guest (SDM volume 3, section 28.3.1.1).

use super::super::context::Context;
use super::super::failure::Violation;
use super::host::lam;
use super::values::{
    SPEC_CTRL, bits, canonical, canonical_aligned, excludes, memory_types, needs, s_cet,
};
use crate::controls::EntryControls;
use crate::registers::{cr0 as cr0_bits, cr4 as cr4_bits, efer as efer_bits};
use crate::vmcs::Field;

pub fn cr0(context: &Context<'_>) -> Option<Violation> {
    let capabilities = context.capabilities;
    let free = match context.unrestricted() {
        true => cr0_bits::PE | cr0_bits::PG,
        false => 0,
    };
    let unchecked = cr0_bits::NW | cr0_bits::CD;
    bits(
        context,
        Field::GuestCr0,
        capabilities.cr0_fixed0 & !(free | unchecked),
        capabilities.cr0_fixed1 | unchecked,
    )
}

pub fn paging(context: &Context<'_>) -> Option<Violation> {
    match context.vmcs.guest_cr0() & cr0_bits::PG {
        0 => None,
        _ => needs(context, Field::GuestCr0, cr0_bits::PE),
    }
}

pub fn cr4(context: &Context<'_>) -> Option<Violation> {
    let capabilities = context.capabilities;
    bits(
        context,
        Field::GuestCr4,
        capabilities.cr4_fixed0,
        capabilities.cr4_fixed1,
    )
}

pub fn cet_wp(context: &Context<'_>) -> Option<Violation> {
    match context.vmcs.guest_cr4() & cr4_bits::CET {
        0 => None,
        _ => needs(context, Field::GuestCr0, cr0_bits::WP),
    }
}

fn loads(context: &Context<'_>, control: EntryControls) -> bool {
    context.entry.contains(control)
}

pub fn debugctl(context: &Context<'_>) -> Option<Violation> {
    if !loads(context, EntryControls::LOAD_DEBUG_CONTROLS) {
        return None;
    }
    bits(
        context,
        Field::GuestIa32Debugctl,
        0,
        context.capabilities.processor.debugctl,
    )
    .or_else(|| bits(context, Field::GuestDr7, 0, 0xffff_ffff))
}

pub fn ia32e(context: &Context<'_>) -> Option<Violation> {
    if !context.ia32e_guest() {
        return None;
    }
    needs(context, Field::GuestCr0, cr0_bits::PG)
        .or_else(|| needs(context, Field::GuestCr4, cr4_bits::PAE))
}

pub fn pcide(context: &Context<'_>) -> Option<Violation> {
    match context.ia32e_guest() {
        true => None,
        false => excludes(context, Field::GuestCr4, cr4_bits::PCIDE),
    }
}

pub fn cr3(context: &Context<'_>) -> Option<Violation> {
    let beyond = context.capabilities.processor.beyond_physical();
    bits(context, Field::GuestCr3, 0, !beyond | lam(context))
}

pub fn sysenter(context: &Context<'_>) -> Option<Violation> {
    let width = context.linear_width;
    canonical(context, Field::GuestSysenterEsp, width)
        .or_else(|| canonical(context, Field::GuestSysenterEip, width))
}

pub fn perf_global_ctrl(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_PERF_GLOBAL_CTRL) {
        true => bits(
            context,
            Field::GuestIa32PerfGlobalCtrl,
            0,
            context.capabilities.processor.perf_global_ctrl,
        ),
        false => None,
    }
}

pub fn pat(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_PAT) {
        true => memory_types(context, Field::GuestIa32Pat),
        false => None,
    }
}

pub fn efer(context: &Context<'_>) -> Option<Violation> {
    if !loads(context, EntryControls::LOAD_EFER) {
        return None;
    }
    let valid = context.capabilities.processor.efer;
    let paging = context.vmcs.guest_cr0() & cr0_bits::PG != 0;
    let lme = match paging {
        true => efer_bits::LME,
        false => 0,
    };
    match context.ia32e_guest() {
        true => bits(context, Field::GuestIa32Efer, efer_bits::LMA | lme, valid),
        false => bits(
            context,
            Field::GuestIa32Efer,
            0,
            valid & !(efer_bits::LMA | lme),
        ),
    }
}

pub fn bndcfgs(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_BNDCFGS) {
        // Bits 11:2 are reserved, and what is above is an address.
        true => bits(context, Field::GuestBndcfgs, 0, !0xffc)
            .or_else(|| canonical(context, Field::GuestBndcfgs, context.linear_width)),
        false => None,
    }
}

/// Neither IA32_S_CET nor SSP need to be canonical: of SSP, as of RIP, the bits above the linear
/// address are equal (SDM volume 3, section 28.3.1.4).
pub fn cet(context: &Context<'_>) -> Option<Violation> {
    if !loads(context, EntryControls::LOAD_CET) {
        return None;
    }
    let width = context.linear_width;
    s_cet(context, Field::GuestSCet)
        .or_else(|| canonical_aligned(context, Field::GuestSsp, width + 1, 3))
        .or_else(|| canonical(context, Field::GuestIntrSspTable, width))
}

/// Bits of IA32_RTIT_CTL that exist: 17:0, 22:19, 27:24, 47:31, 55 and 56 (SDM volume 3, section
/// 35.2.8.2). Which of them a processor has, CPUID says.
const RTIT_CTL: u64 = 0x3_ffff | 0xf << 19 | 0xf << 24 | 0x1_ffff << 31 | 3 << 55;

pub fn rtit_ctl(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_RTIT_CTL) {
        true => bits(context, Field::GuestIa32RtitCtl, 0, RTIT_CTL),
        false => None,
    }
}

/// Bits of IA32_LBR_CTL that exist: LBR_EN, OS, USR, CALL_STACK, and the filters 22:16 (SDM volume
/// 3, section 20.1.2).
const LBR_CTL: u64 = 0x7f_000f;

pub fn lbr_ctl(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_LBR_CTL) {
        true => bits(context, Field::GuestIa32LbrCtl, 0, LBR_CTL),
        false => None,
    }
}

pub fn pkrs(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_PKRS) {
        true => bits(context, Field::GuestIa32Pkrs, 0, 0xffff_ffff),
        false => None,
    }
}

pub fn uinv(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_UINV) {
        true => bits(context, Field::GuestUinv, 0, 0xff),
        false => None,
    }
}

pub fn spec_ctrl(context: &Context<'_>) -> Option<Violation> {
    match loads(context, EntryControls::LOAD_SPEC_CTRL) {
        true => bits(context, Field::GuestIa32SpecCtrl, 0, SPEC_CTRL),
        false => None,
    }
}

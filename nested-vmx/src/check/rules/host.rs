// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The host-state area (SDM volume 3, sections 28.2.2 to 28.2.4).

use super::super::context::Context;
use super::super::failure::{Allowed, Subject, Violation};
use super::values::{
    SPEC_CTRL, bits, canonical, canonical_aligned, excludes, fred as fred_state, memory_types,
    needs, s_cet,
};
use crate::capability::Features;
use crate::controls::{EntryControls, ExitControls, SecondaryExitControls};
use crate::registers::{cr0 as cr0_bits, cr4 as cr4_bits, efer as efer_bits, is_canonical};
use crate::vmcs::Field;

const SELECTORS: [Field; 7] = [
    Field::HostEsSelector,
    Field::HostCsSelector,
    Field::HostSsSelector,
    Field::HostDsSelector,
    Field::HostFsSelector,
    Field::HostGsSelector,
    Field::HostTrSelector,
];

const BASES: [Field; 5] = [
    Field::HostFsBase,
    Field::HostGsBase,
    Field::HostTrBase,
    Field::HostGdtrBase,
    Field::HostIdtrBase,
];

const FRED: [Field; 8] = [
    Field::HostIa32FredConfig,
    Field::HostIa32FredRsp1,
    Field::HostIa32FredRsp2,
    Field::HostIa32FredRsp3,
    Field::HostIa32FredStackLevels,
    Field::HostIa32FredSsp1,
    Field::HostIa32FredSsp2,
    Field::HostIa32FredSsp3,
];

/// What a linear-address-masking processor lets CR3 have besides: LAM_U57 and LAM_U48.
pub(super) fn lam(context: &Context<'_>) -> u64 {
    match context.capabilities.processor.has(Features::LAM) {
        true => 3 << 61,
        false => 0,
    }
}

/// CR0.NW and CR0.CD are not looked at: VM exits do not change them (SDM volume 3, section 28.2.2).
pub fn cr0(context: &Context<'_>) -> Option<Violation> {
    let capabilities = context.capabilities;
    let unchecked = cr0_bits::NW | cr0_bits::CD;
    bits(
        context,
        Field::HostCr0,
        capabilities.cr0_fixed0 & !unchecked,
        capabilities.cr0_fixed1 | unchecked,
    )
}

pub fn cr4(context: &Context<'_>) -> Option<Violation> {
    let capabilities = context.capabilities;
    bits(
        context,
        Field::HostCr4,
        capabilities.cr4_fixed0,
        capabilities.cr4_fixed1,
    )
}

pub fn cet_wp(context: &Context<'_>) -> Option<Violation> {
    match context.vmcs.host_cr4() & cr4_bits::CET {
        0 => None,
        _ => needs(context, Field::HostCr0, cr0_bits::WP),
    }
}

pub fn cr3(context: &Context<'_>) -> Option<Violation> {
    let beyond = context.capabilities.processor.beyond_physical();
    bits(context, Field::HostCr3, 0, !beyond | lam(context))
}

pub fn sysenter(context: &Context<'_>) -> Option<Violation> {
    let width = context.linear_width;
    canonical(context, Field::HostIa32SysenterEsp, width)
        .or_else(|| canonical(context, Field::HostIa32SysenterEip, width))
}

pub fn pat(context: &Context<'_>) -> Option<Violation> {
    match context.exit.contains(ExitControls::LOAD_PAT) {
        true => memory_types(context, Field::HostIa32Pat),
        false => None,
    }
}

pub fn perf_global_ctrl(context: &Context<'_>) -> Option<Violation> {
    match context.exit.contains(ExitControls::LOAD_PERF_GLOBAL_CTRL) {
        true => bits(
            context,
            Field::HostIa32PerfGlobalCtrl,
            0,
            context.capabilities.processor.perf_global_ctrl,
        ),
        false => None,
    }
}

pub fn efer(context: &Context<'_>) -> Option<Violation> {
    if !context.exit.contains(ExitControls::LOAD_EFER) {
        return None;
    }
    let mode = efer_bits::LMA | efer_bits::LME;
    let valid = context.capabilities.processor.efer;
    match context.host_is_64_bit() {
        true => bits(context, Field::HostIa32Efer, mode, valid),
        false => bits(context, Field::HostIa32Efer, 0, valid & !mode),
    }
}

pub fn cet(context: &Context<'_>) -> Option<Violation> {
    if !context.exit.contains(ExitControls::LOAD_CET) {
        return None;
    }
    let width = context.linear_width;
    s_cet(context, Field::HostSCet)
        .or_else(|| canonical(context, Field::HostSCet, width))
        .or_else(|| canonical_aligned(context, Field::HostSsp, width, 3))
        .or_else(|| canonical(context, Field::HostIntrSspTable, width))
        .or_else(|| match context.host_is_64_bit() {
            true => None,
            false => excludes(context, Field::HostSCet, !0xffff_ffff)
                .or_else(|| excludes(context, Field::HostSsp, !0xffff_ffff)),
        })
}

pub fn pkrs(context: &Context<'_>) -> Option<Violation> {
    match context.exit.contains(ExitControls::LOAD_PKRS) {
        true => bits(context, Field::HostIa32Pkrs, 0, 0xffff_ffff),
        false => None,
    }
}

pub fn fred(context: &Context<'_>) -> Option<Violation> {
    match context
        .secondary_exit
        .contains(SecondaryExitControls::LOAD_FRED)
    {
        true => fred_state(context, &FRED, context.linear_width),
        false => None,
    }
}

pub fn spec_ctrl(context: &Context<'_>) -> Option<Violation> {
    match context
        .secondary_exit
        .contains(SecondaryExitControls::LOAD_SPEC_CTRL)
    {
        true => bits(context, Field::HostIa32SpecCtrl, 0, SPEC_CTRL),
        false => None,
    }
}

pub fn selector_rpl(context: &Context<'_>) -> Option<Violation> {
    let vmcs = context.vmcs;
    let any = vmcs.host_es_selector()
        | vmcs.host_cs_selector()
        | vmcs.host_ss_selector()
        | vmcs.host_ds_selector()
        | vmcs.host_fs_selector()
        | vmcs.host_gs_selector()
        | vmcs.host_tr_selector();
    if any & 7 == 0 {
        return None;
    }
    SELECTORS
        .into_iter()
        .find_map(|field| excludes(context, field, 7))
}

/// The selector is not null.
#[inline(always)]
fn not_null(context: &Context<'_>, field: Field) -> Option<Violation> {
    (context.vmcs.read(field) == 0).then_some(Violation::field(field, 0, Allowed::Not(0)))
}

pub fn cs_tr(context: &Context<'_>) -> Option<Violation> {
    not_null(context, Field::HostCsSelector).or_else(|| not_null(context, Field::HostTrSelector))
}

pub fn ss(context: &Context<'_>) -> Option<Violation> {
    match context.host_is_64_bit() {
        true => None,
        false => not_null(context, Field::HostSsSelector),
    }
}

pub fn bases(context: &Context<'_>) -> Option<Violation> {
    let vmcs = context.vmcs;
    let all = [
        vmcs.host_fs_base(),
        vmcs.host_gs_base(),
        vmcs.host_tr_base(),
        vmcs.host_gdtr_base(),
        vmcs.host_idtr_base(),
    ];
    if all
        .iter()
        .all(|&base| is_canonical(base, context.linear_width))
    {
        return None;
    }
    BASES
        .into_iter()
        .find_map(|field| canonical(context, field, context.linear_width))
}

fn ia32e_mode(context: &Context<'_>) -> bool {
    context.request.l1.efer & efer_bits::LMA != 0
}

const SIZE: u64 = ExitControls::HOST_ADDRESS_SPACE_SIZE.bits() as u64;
const IA32E: u64 = EntryControls::IA32E_MODE_GUEST.bits() as u64;

pub fn size_lma(context: &Context<'_>) -> Option<Violation> {
    match (ia32e_mode(context), context.host_is_64_bit()) {
        (true, false) => needs(context, Field::VmExitControls, SIZE),
        (false, true) => excludes(context, Field::VmExitControls, SIZE),
        _ => None,
    }
}

pub fn size_0(context: &Context<'_>) -> Option<Violation> {
    if context.host_is_64_bit() {
        return None;
    }
    excludes(context, Field::VmEntryControls, IA32E)
        .or_else(|| excludes(context, Field::HostCr4, cr4_bits::PCIDE | cr4_bits::FRED))
        .or_else(|| bits(context, Field::HostRip, 0, 0xffff_ffff))
}

pub fn size_1(context: &Context<'_>) -> Option<Violation> {
    if !context.host_is_64_bit() {
        return None;
    }
    let rip = context.vmcs.host_rip();
    let width = context
        .capabilities
        .processor
        .linear_address_width(context.vmcs.host_cr4());
    needs(context, Field::HostCr4, cr4_bits::PAE).or_else(|| {
        (!is_canonical(rip, width)).then_some(Violation::field(
            Field::HostRip,
            rip,
            Allowed::Canonical(width),
        ))
    })
}

pub fn ia32e_lma(context: &Context<'_>) -> Option<Violation> {
    let wants = context.ia32e_guest() || context.host_is_64_bit();
    (!ia32e_mode(context) && wants).then_some(Violation::new(
        Subject::L1Efer,
        context.request.l1.efer,
        Allowed::Bits {
            must_be_1: efer_bits::LMA,
            may_be_1: u64::MAX,
        },
    ))
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a host, or a vCPU, has of VMX.

use alloc::vec::Vec;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;
use thiserror::Error;

use super::kvm_vcpu::{asking, entries, list};
use super::port::{Msr, VcpuPort, readable};
use crate::capability::{Capabilities, Features, Processor, msr};
use crate::kvm::{Context, Errno};

/// IA32_PERF_CAPABILITIES (SDM volume 4, table 2-2), and what of it says that there are last-branch
/// records.
const PERF_CAPABILITIES: u32 = 0x345;
const LBR_FORMAT: u64 = 0x3f;

/// Bits of IA32_DEBUGCTL (SDM volume 4, table 2-2).
const LBR: u64 = 1 << 0;
const BTF: u64 = 1 << 1;
const BUS_LOCK_DETECT: u64 = 1 << 2;
const FREEZE_LBRS_ON_PMI: u64 = 1 << 11;
const RTM_DEBUG: u64 = 1 << 15;

/// The MSRs that are asked for.
fn msrs() -> impl Iterator<Item = u32> {
    msr::ALL.iter().copied().chain([PERF_CAPABILITIES])
}

/// Why it is not known what a host has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OfferedError {
    /// KVM could not be asked.
    #[error("KVM could not be asked for it: {0}")]
    Errno(#[from] Errno),
    /// KVM lists a feature MSR and does not give its value.
    #[error("KVM lists the feature MSR {0:#x} and does not give its value")]
    Msr(u32),
}

/// The VMX of a host or of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The capability MSRs, and what CPUID says beside them.
    pub capabilities: Capabilities,
    /// Whether CPUID has VMX.
    pub vmx_in_cpuid: bool,
}

impl Offered {
    /// What KVM can give to a guest at most: its feature MSRs and KVM_GET_SUPPORTED_CPUID.
    ///
    /// Without nested VMX there are no capability MSRs, and no VMX in CPUID.
    ///
    /// # Errors
    ///
    /// [`OfferedError`]
    pub fn of(kvm: &Kvm) -> Result<Self, OfferedError> {
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(Errno::from)?;
        let known = kvm.get_msr_feature_index_list().map_err(Errno::from)?;
        let asked: Vec<_> = msrs()
            .filter(|index| known.as_slice().contains(index))
            .map(asking)
            .collect();
        let mut list = list(&asked)?;
        let count = kvm.get_msrs(&mut list).map_err(Errno::from)?;
        if let Some(missing) = asked.get(count) {
            return Err(OfferedError::Msr(missing.index));
        }
        Ok(Self::from_parts(&cpuid, entries(&list, count)))
    }

    /// What this vCPU has, as it is.
    ///
    /// # Errors
    ///
    /// [`Errno`]
    pub fn of_vcpu<P: VcpuPort + ?Sized>(port: &P) -> Result<Self, Errno> {
        let msrs: Vec<u32> = msrs().collect();
        Ok(Self::from_parts(&port.cpuid()?, readable(port, &msrs)?))
    }

    /// From CPUID and capability MSRs, as a snapshot has them; IA32_PERF_CAPABILITIES among them says
    /// whether there are last-branch records.
    pub fn from_parts(cpuid: &CpuId, msrs: impl IntoIterator<Item = Msr>) -> Self {
        let mut processor = processor_of(cpuid);
        let msrs = msrs.into_iter().inspect(|msr| {
            if msr.index == PERF_CAPABILITIES && msr.value & LBR_FORMAT != 0 {
                processor.debugctl |= FREEZE_LBRS_ON_PMI;
            }
        });
        let msrs: Vec<_> = msrs.map(|msr| (msr.index, msr.value)).collect();
        Self {
            capabilities: Capabilities::from_msrs(processor, msrs),
            vmx_in_cpuid: leaf(cpuid, 1, 0).is_some_and(|leaf| leaf.ecx >> 5 & 1 != 0),
        }
    }

    /// A vCPU with this VMX, for [`judge`](crate::kvm::judge).
    pub const fn context(&self) -> Context<'_> {
        Context {
            vmx_in_cpuid: self.vmx_in_cpuid,
            ..Context::new(&self.capabilities)
        }
    }
}

fn leaf(cpuid: &CpuId, function: u32, index: u32) -> Option<&kvm_cpuid_entry2> {
    cpuid
        .as_slice()
        .iter()
        .find(|entry| entry.function == function && entry.index == index)
}

/// A register of a leaf; 0 where there is no such leaf.
fn register(
    cpuid: &CpuId,
    function: u32,
    index: u32,
    which: impl FnOnce(&kvm_cpuid_entry2) -> u32,
) -> u32 {
    leaf(cpuid, function, index).map_or(0, which)
}

/// The physical-address width without leaf 80000008H (SDM volume 3, section 5.1.4).
const DEFAULT_WIDTH: u32 = 36;

/// What CPUID says about the processor, as far as VM entries depend on it (SDM volume 2, CPUID).
pub fn processor_of(cpuid: &CpuId) -> Processor {
    let width = leaf(cpuid, 0x8000_0008, 0).map_or(DEFAULT_WIDTH, |leaf| leaf.eax & 0xff);
    let mut processor = Processor::new(width);
    let extended = register(cpuid, 0x8000_0001, 0, |leaf| leaf.edx);
    // LME and LMA with Intel 64, NXE with execute disable; SCE, KVM takes always.
    let bits = [(29, 1 << 8 | 1 << 10), (20, 1 << 11)];
    processor.efer = bits
        .iter()
        .filter(|(bit, _)| extended >> bit & 1 != 0)
        .fold(1, |efer, (_, bits)| efer | bits);
    processor.perf_global_ctrl = perf_global_ctrl(cpuid);
    let basic = register(cpuid, 1, 0, |leaf| leaf.ecx);
    let ebx = register(cpuid, 7, 0, |leaf| leaf.ebx);
    let ecx = register(cpuid, 7, 0, |leaf| leaf.ecx);
    let edx = register(cpuid, 7, 0, |leaf| leaf.edx);
    let more = register(cpuid, 7, 1, |leaf| leaf.eax);
    let features = [
        (ebx, 11, Features::RTM),
        (ebx, 2, Features::SGX),
        (ecx, 7, Features::CET_SS),
        (edx, 20, Features::CET_IBT),
        (ecx, 16, Features::LA57),
        (more, 26, Features::LAM),
        (basic, 17, Features::PCID),
        (ecx, 24, Features::BUS_LOCK_DEBUG),
        (more, 17, Features::FRED),
    ];
    processor.features = features
        .into_iter()
        .filter(|(register, bit, _)| register >> bit & 1 != 0)
        .map(|(_, _, feature)| feature)
        .collect();
    processor.debugctl = debugctl(processor.features);
    processor
}

/// What KVM takes in IA32_DEBUGCTL (kernel, `arch/x86/kvm/vmx/vmx.c`, `vmx_is_valid_debugctl`): LBR
/// and BTF always, though nothing comes of them.
const fn debugctl(features: Features) -> u64 {
    let mut bits = LBR | BTF;
    if features.contains(Features::BUS_LOCK_DEBUG) {
        bits |= BUS_LOCK_DETECT;
    }
    if features.contains(Features::RTM) {
        bits |= RTM_DEBUG;
    }
    bits
}

/// Bits for the general-purpose and the fixed-function counters (CPUID.0AH), from version 2 on.
fn perf_global_ctrl(cpuid: &CpuId) -> u64 {
    let Some(leaf) = leaf(cpuid, 0xa, 0).filter(|leaf| leaf.eax & 0xff >= 2) else {
        return 0;
    };
    let ones = |count: u32| match count {
        0..=31 => (1_u64 << count) - 1,
        _ => 0xffff_ffff,
    };
    ones(leaf.eax >> 8 & 0xff) | ones(leaf.edx & 0x1f) << 32
}

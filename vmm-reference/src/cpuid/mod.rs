// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! CPUID: from what KVM supports on this host to what one vCPU of this machine shows.
//!
//! KVM passes the host's numbers on where it can't know better: its topology, its caches'
//! sharing. All of these are rewritten for one package of single-threaded cores, in each of the
//! several ways that Intel and AMD processors tell it, so that they agree with one another and
//! with the MADT. Pure functions over the list of entries.

mod topology;

#[cfg(test)]
mod tests;

use kvm_bindings::kvm_cpuid_entry2;

use self::topology::Topology;

const FEATURES: u32 = 0x1;
const KVM_SIGNATURE: u32 = 0x4000_0000;
const KVM_TIMING: u32 = 0x4000_0010;

/// Leaf 1, ECX: the local APIC's timer can wait for a value of the time-stamp counter.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, ECX: a copy of CR4.OSXSAVE, which is clear at reset.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1, ECX: a hypervisor is present.
const HYPERVISOR: u32 = 1 << 31;

/// What all vCPUs of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How many vCPUs there are; their APIC ids count from 0.
    pub vcpus: u8,
    /// Is `KVM_CAP_TSC_DEADLINE_TIMER` there? It is not part of what KVM lists as supported.
    pub tsc_deadline_timer: bool,
    /// `KVM_GET_TSC_KHZ`, where KVM knows.
    pub tsc_khz: Option<u32>,
}

/// What vCPU `index` shows, from the result of `KVM_GET_SUPPORTED_CPUID`.
pub fn for_vcpu(
    supported: &[kvm_cpuid_entry2],
    machine: &Machine,
    index: u8,
) -> Vec<kvm_cpuid_entry2> {
    let mut entries = supported.to_vec();
    features(&mut entries, machine);
    hide_sgx(&mut entries);
    timing(&mut entries, machine);
    Topology::new(machine.vcpus, index).apply(&mut entries);
    entries
}

fn features(entries: &mut [kvm_cpuid_entry2], machine: &Machine) {
    for entry in entries
        .iter_mut()
        .filter(|entry| entry.function == FEATURES)
    {
        entry.ecx |= HYPERVISOR;
        entry.ecx &= !(OSXSAVE | TSC_DEADLINE);
        if machine.tsc_deadline_timer {
            entry.ecx |= TSC_DEADLINE;
        }
    }
}

/// KVM supports SGX for guests that are given enclave memory; this one is not.
fn hide_sgx(entries: &mut Vec<kvm_cpuid_entry2>) {
    const EXTENDED_FEATURES: u32 = 0x7;
    const SGX_DETAILS: u32 = 0x12;
    /// Leaf 7, EBX.
    const SGX: u32 = 1 << 2;
    /// Leaf 7, ECX: launch control.
    const SGX_LC: u32 = 1 << 30;

    entries.retain(|entry| entry.function != SGX_DETAILS);
    for entry in entries {
        if (entry.function, entry.index) == (EXTENDED_FEATURES, 0) {
            entry.ebx &= !SGX;
            entry.ecx &= !SGX_LC;
        }
    }
}

/// The leaf in which hypervisors tell the frequencies of the time-stamp counter and of the local
/// APIC's timer, for guests that would else measure them.
fn timing(entries: &mut Vec<kvm_cpuid_entry2>, machine: &Machine) {
    /// KVM's local APIC counts nanoseconds.
    const APIC_TIMER_KHZ: u32 = 1_000_000;

    let Some(tsc_khz) = machine.tsc_khz.filter(|khz| *khz > 0) else {
        return;
    };
    // Only where KVM lists its leaves, from the first one on.
    let Some(signature) = entries
        .iter_mut()
        .find(|entry| entry.function == KVM_SIGNATURE)
    else {
        return;
    };
    // 0 is KVM's old way to say that there is one more leaf. The leaves in between are all zeros.
    signature.eax = signature.eax.max(KVM_TIMING);
    entries.retain(|entry| entry.function != KVM_TIMING);
    entries.push(kvm_cpuid_entry2 {
        function: KVM_TIMING,
        eax: tsc_khz,
        ebx: APIC_TIMER_KHZ,
        ..Default::default()
    });
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One package, a core for each vCPU, one thread a core; a private L1 and L2, a shared L3.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

const VENDOR: u32 = 0x0;
const FEATURES: u32 = 0x1;
/// Intel: caches.
const CACHES: u32 = 0x4;
/// The levels of the topology; the second leaf is the newer form of the first.
const LEVELS: [u32; 2] = [0xb, 0x1f];
const EXTENDED_FEATURES: u32 = 0x8000_0001;
/// AMD: number of cores.
const SIZES: u32 = 0x8000_0008;
/// AMD: caches.
const AMD_CACHES: u32 = 0x8000_001d;
/// AMD: the ids of core and node.
const AMD_TOPOLOGY: u32 = 0x8000_001e;

/// Leaf 1, EDX: EBX tells how many APIC ids the package has.
const HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001, ECX: the ids of leaf 1 are cores, not threads.
const CMP_LEGACY: u32 = 1 << 1;

/// Where one vCPU is in the machine.
pub(super) struct Topology {
    vcpus: u32,
    apic_id: u32,
    /// How many bits of the APIC id tell the cores apart.
    core_bits: u32,
}

impl Topology {
    pub(super) fn new(vcpus: u8, index: u8) -> Self {
        let vcpus = u32::from(vcpus.max(1));
        Self {
            vcpus,
            apic_id: index.into(),
            core_bits: vcpus.next_power_of_two().trailing_zeros(),
        }
    }

    /// The number of APIC ids that the package takes, used or not.
    fn ids(&self) -> u32 {
        1 << self.core_bits
    }

    pub(super) fn apply(&self, entries: &mut Vec<kvm_cpuid_entry2>) {
        let amd = is_amd(entries);
        let listed = |leaf| entries.iter().any(|entry| entry.function == leaf);
        let levels: Vec<u32> = LEVELS.into_iter().filter(|leaf| listed(*leaf)).collect();
        entries.retain(|entry| !LEVELS.contains(&entry.function));
        for leaf in levels {
            entries.extend(self.levels(leaf));
        }
        for entry in entries {
            match entry.function {
                FEATURES => self.features(entry),
                CACHES => self.cache(entry, true),
                AMD_CACHES => self.cache(entry, false),
                EXTENDED_FEATURES if amd => set(&mut entry.ecx, CMP_LEGACY, self.vcpus > 1),
                // Number of cores less one, and the bits of the APIC id that tell them apart.
                SIZES if amd => entry.ecx = (self.vcpus - 1) | self.core_bits << 12,
                AMD_TOPOLOGY => {
                    entry.eax = self.apic_id;
                    // This core, one thread; node 0 of one.
                    entry.ebx = self.apic_id & 0xff;
                    entry.ecx = 0;
                }
                _ => {}
            }
        }
    }

    fn features(&self, entry: &mut kvm_cpuid_entry2) {
        let ids = self.ids().min(0xff);
        entry.ebx = entry.ebx & 0xffff | ids << 16 | self.apic_id << 24;
        set(&mut entry.edx, HTT, self.vcpus > 1);
    }

    /// Leaves 4 and 0x8000_001d describe a cache each, and how many APIC ids share it. The former
    /// also tells the number of the package's cores.
    fn cache(&self, entry: &mut kvm_cpuid_entry2, cores: bool) {
        const SHARED_LEVEL: u32 = 3;
        if entry.eax & 0x1f == 0 {
            return;
        }
        let level = entry.eax >> 5 & 0b111;
        let sharing = if level >= SHARED_LEVEL { self.ids() } else { 1 };
        entry.eax = entry.eax & 0x3fff | (sharing - 1) << 14;
        if cores {
            // Six bits for it; larger numbers are told by the topology leaves.
            entry.eax |= (self.ids() - 1).min(0x3f) << 26;
        }
    }

    /// Threads, cores, end.
    fn levels(&self, leaf: u32) -> [kvm_cpuid_entry2; 3] {
        const THREAD: u32 = 1;
        const CORE: u32 = 2;
        let level = |index: u32, kind: u32, shift, count| kvm_cpuid_entry2 {
            function: leaf,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: count,
            ecx: index | kind << 8,
            edx: self.apic_id,
            ..Default::default()
        };
        [
            level(0, THREAD, 0, 1),
            level(1, CORE, self.core_bits, self.vcpus),
            level(2, 0, 0, 0),
        ]
    }
}

fn set(register: &mut u32, bit: u32, on: bool) {
    *register = *register & !bit | if on { bit } else { 0 };
}

/// "AuthenticAMD" or its Chinese relative.
fn is_amd(entries: &[kvm_cpuid_entry2]) -> bool {
    entries.iter().any(|entry| {
        let name = [entry.ebx, entry.edx, entry.ecx]
            .map(u32::to_le_bytes)
            .concat();
        entry.function == VENDOR && (name == b"AuthenticAMD" || name == b"HygonGenuine")
    })
}

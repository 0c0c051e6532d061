// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What CPUID says of VMX and of what goes with it.

use kvm_bindings::kvm_cpuid_entry2;
use nested_vmx::capability::{Features, Processor};

const BASIC: u32 = 0;
const FEATURES: u32 = 1;
const EXTENDED: u32 = 0x8000_0000;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const ADDRESS_WIDTHS: u32 = 0x8000_0008;

/// Leaf 1, ECX: VMX.
const VMX: u32 = 1 << 5;
/// Leaf 1, ECX: PCID.
const PCID: u32 = 1 << 17;
/// Leaf 0x80000001, ECX: SVM.
const SVM: u32 = 1 << 2;

/// The vendor's name in EBX, EDX and ECX: those of VMX are Intel's, and hypervisors look.
const INTEL: [u32; 3] = [
    u32::from_le_bytes(*b"Genu"),
    u32::from_le_bytes(*b"ineI"),
    u32::from_le_bytes(*b"ntel"),
];

/// Shows VMX, of an Intel processor.
pub fn show_vmx(entries: &mut [kvm_cpuid_entry2]) {
    for entry in entries {
        match entry.function {
            BASIC | EXTENDED => {
                // The extended leaf of Intel's processors has no name.
                let name = match entry.function {
                    BASIC => INTEL,
                    _ => [0; 3],
                };
                [entry.ebx, entry.edx, entry.ecx] = name;
            }
            FEATURES => entry.ecx |= VMX,
            EXTENDED_FEATURES => entry.ecx &= !SVM,
            _ => {}
        }
    }
}

/// What of the processor VMX depends on.
pub fn processor(entries: &[kvm_cpuid_entry2]) -> Processor {
    /// What a processor has that does not tell.
    const OLD_WIDTH: u32 = 36;
    let leaf = |function| entries.iter().find(|entry| entry.function == function);
    let width = leaf(ADDRESS_WIDTHS).map_or(OLD_WIDTH, |entry| entry.eax & 0xff);
    let mut processor = Processor::new(width);
    if leaf(FEATURES).is_some_and(|entry| entry.ecx & PCID != 0) {
        processor.features |= Features::PCID;
    }
    processor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_of_another_vendor_becomes_one_with_vmx() {
        let leaf = |function, ecx| kvm_cpuid_entry2 {
            function,
            ecx,
            eax: 0x3028,
            ..Default::default()
        };
        let mut entries = [
            leaf(BASIC, 0x444d_4163),
            leaf(FEATURES, PCID),
            leaf(EXTENDED_FEATURES, SVM | 1),
            leaf(ADDRESS_WIDTHS, 0),
        ];
        show_vmx(&mut entries);
        assert_eq!(entries[0].ecx, INTEL[2]);
        assert_eq!(entries[1].ecx, PCID | VMX);
        assert_eq!(entries[2].ecx, 1);
        let processor = processor(&entries);
        assert_eq!(processor.physical_address_width, 40);
        assert!(processor.has(Features::PCID));
    }
}

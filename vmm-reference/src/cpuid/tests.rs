// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Tables of what each leaf must say, for both vendors and several sizes.

use super::*;

const MACHINE: Machine = Machine {
    vcpus: 1,
    tsc_deadline_timer: true,
    tsc_khz: Some(2_000_000),
};

fn entry(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
    let [eax, ebx, ecx, edx] = registers;
    kvm_cpuid_entry2 {
        function,
        index,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    }
}

/// A host with 64 threads, as KVM passes it on.
fn host(vendor: &[u8; 12]) -> Vec<kvm_cpuid_entry2> {
    let word = |at: usize| u32::from_le_bytes(vendor[at..at + 4].try_into().unwrap());
    vec![
        entry(0, 0, [0x1f, word(0), word(8), word(4)]),
        entry(
            1,
            0,
            [0x806f8, 0x3740_0800, 0x0400_0201 | 1 << 27, 0x1fab_fbff],
        ),
        entry(4, 0, [0xfc00_4121, 0, 0, 0]),
        entry(4, 2, [0xfc00_4143, 0, 0, 0]),
        entry(4, 3, [0xfc0f_c163, 0, 0, 0]),
        entry(4, 4, [0, 0, 0, 0]),
        entry(0xb, 0, [1, 2, 0x100, 55]),
        entry(0xb, 1, [6, 64, 0x201, 55]),
        entry(0x1f, 0, [1, 2, 0x100, 55]),
        entry(
            0x4000_0000,
            0,
            [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d],
        ),
        entry(0x8000_0001, 0, [0, 0, 0x21, 0]),
        entry(0x8000_0008, 0, [0x3034, 0, 0x703f, 0]),
        entry(0x8000_001d, 3, [0x1c163, 0, 0, 0]),
        entry(0x8000_001e, 0, [55, 0x11b, 0x300, 0]),
    ]
}

fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> [u32; 4] {
    let found: Vec<_> = entries
        .iter()
        .filter(|entry| (entry.function, entry.index) == (function, index))
        .collect();
    assert_eq!(found.len(), 1, "leaf {function:#x}.{index}");
    [found[0].eax, found[0].ebx, found[0].ecx, found[0].edx]
}

#[test]
fn every_leaf_tells_the_same_topology() {
    // vCPUs, this one's index, APIC ids of the package, their bits.
    for (vcpus, index, ids, bits) in [
        (1, 0, 1, 0),
        (2, 0, 2, 1),
        (2, 1, 2, 1),
        (3, 2, 4, 2),
        (4, 3, 4, 2),
        (5, 4, 8, 3),
        (254, 253, 256, 8),
    ] {
        let machine = Machine { vcpus, ..MACHINE };
        let (count, id) = (u32::from(vcpus), u32::from(index));
        let intel = for_vcpu(&host(b"GenuineIntel"), &machine, index);
        let [_, ebx, _, edx] = find(&intel, 1, 0);
        assert_eq!(ebx, id << 24 | ids.min(255) << 16 | 0x0800);
        assert_eq!(edx >> 28 & 1, u32::from(vcpus > 1));
        // L1, L2, L3.
        for (cache, sharing) in [(0, 1), (2, 1), (3, ids)] {
            let [eax, ..] = find(&intel, 4, cache);
            assert_eq!(eax >> 14 & 0xfff, sharing - 1, "cache {cache}");
            assert_eq!(eax >> 26, (ids - 1).min(63), "cache {cache}");
        }
        assert_eq!(find(&intel, 4, 4), [0; 4]);
        for leaf in [0xb, 0x1f] {
            assert_eq!(find(&intel, leaf, 0), [0, 1, 0x100, id]);
            assert_eq!(find(&intel, leaf, 1), [bits, count, 0x201, id]);
            assert_eq!(find(&intel, leaf, 2), [0, 0, 2, id]);
        }
        // Reserved on Intel's.
        assert_eq!(find(&intel, 0x8000_0008, 0)[2], 0x703f);
        assert_eq!(find(&intel, 0x8000_0001, 0)[2], 0x21);

        let amd = for_vcpu(&host(b"AuthenticAMD"), &machine, index);
        assert_eq!(find(&amd, 0x8000_0008, 0)[2], bits << 12 | (count - 1));
        assert_eq!(
            find(&amd, 0x8000_0001, 0)[2],
            0x21 | u32::from(vcpus > 1) << 1
        );
        assert_eq!(find(&amd, 0x8000_001e, 0), [id, id, 0, 0]);
        assert_eq!(find(&amd, 0x8000_001d, 3)[0] >> 14, ids - 1);
    }
}

#[test]
fn the_hypervisor_is_told_and_timers_as_they_are() {
    for tsc_deadline_timer in [false, true] {
        let machine = Machine {
            tsc_deadline_timer,
            ..MACHINE
        };
        let ecx = find(&for_vcpu(&host(b"GenuineIntel"), &machine, 0), 1, 0)[2];
        let expected = 0x0400_0201 | 1 << 31 | u32::from(tsc_deadline_timer) << 24;
        assert_eq!(ecx, expected, "{ecx:#x}");
    }
}

#[test]
fn the_frequency_is_told_where_it_is_known() {
    let supported = host(b"GenuineIntel");
    let told = for_vcpu(&supported, &MACHINE, 0);
    assert_eq!(find(&told, 0x4000_0010, 0), [2_000_000, 1_000_000, 0, 0]);
    assert_eq!(find(&told, 0x4000_0000, 0)[0], 0x4000_0010);
    for tsc_khz in [None, Some(0)] {
        let untold = for_vcpu(&supported, &Machine { tsc_khz, ..MACHINE }, 0);
        assert!(untold.iter().all(|entry| entry.function != 0x4000_0010));
        assert_eq!(find(&untold, 0x4000_0000, 0)[0], 0x4000_0001);
    }
    // Without KVM's leaves there is nothing to add to.
    assert!(for_vcpu(&[], &MACHINE, 0).is_empty());
}

#[test]
fn what_is_not_the_machines_is_passed_on() {
    let others = [entry(0x7, 0, [2, 3, 5, 7]), entry(0x7, 1, [11, 13, 17, 19])];
    assert_eq!(for_vcpu(&others, &MACHINE, 0), others);
}

#[test]
fn sgx_is_hidden() {
    let supported = [
        entry(0x7, 0, [2, 3 | 1 << 2, 5 | 1 << 30, 7]),
        entry(0x12, 0, [1, 0, 0, 0]),
    ];
    let shown = for_vcpu(&supported, &MACHINE, 0);
    assert_eq!(shown, [entry(0x7, 0, [2, 3, 5, 7])]);
}

/// What this host's KVM lists, made into a machine's, is what this host's KVM takes; and it is
/// then what it gives back.
#[test]
fn kvm_takes_it() {
    let Ok(kvm) = kvm_ioctls::Kvm::new() else {
        eprintln!("SKIPPED: kvm_takes_it: no usable /dev/kvm");
        return;
    };
    let supported = kvm
        .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
        .unwrap();
    let vm = kvm.create_vm().unwrap();
    vm.create_irq_chip().unwrap();
    for index in 0..3 {
        let vcpu = vm.create_vcpu(index.into()).unwrap();
        let machine = Machine {
            vcpus: 3,
            ..MACHINE
        };
        let entries = for_vcpu(supported.as_slice(), &machine, index);
        vcpu.set_cpuid2(&kvm_bindings::CpuId::from_entries(&entries).unwrap())
            .unwrap();
        let taken = vcpu
            .get_cpuid2(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
            .unwrap();
        let ids = |entries: &[kvm_cpuid_entry2]| find(entries, 1, 0)[1];
        assert_eq!(ids(taken.as_slice()), ids(&entries));
        assert_eq!(ids(&entries) >> 24, u32::from(index));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Narrowing and restoring of capabilities: each row of `capability_msrs.tsv`, and any narrowing of
//! any host.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod common;

use common::{observed, parts, software};
use nested_vmx::capability::{
    BasicFeatures, Capabilities, EptVpid, Excess, FeatureControl, FeatureControlError, Features,
    MiscFeatures, NarrowError, Part, Processor, Reason, RestoreError, msr,
};
use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};
use proptest::prelude::*;

const TABLE: &str = include_str!("facts/capability_msrs.tsv");

/// A restore and what is to come of it.
enum Case {
    Taken(u64),
    Refused(u64, Reason),
    NotRestorable(u64),
}
use Case::{NotRestorable, Refused, Taken};

/// Cases for each restore rule of the table. `full` is what the host has for the MSR.
fn cases(rule: &str, index: u32, full: u64) -> Vec<Case> {
    let different = |number, mask: u64, value| {
        let supported = (full & mask) >> mask.trailing_zeros();
        Reason::Different {
            number,
            mask,
            value,
            supported,
        }
    };
    match rule {
        "revision equal; size >=; features subset; bit48 must be 0; reserved 0" => vec![
            Taken(full),
            Taken(full & !BasicFeatures::TRUE_CONTROLS.bits()),
            Taken(full & !BasicFeatures::INS_OUTS_INFORMATION.bits()),
            Refused(
                full ^ 1,
                different(
                    "the VMCS revision",
                    0x7fff_ffff,
                    u64::from(KVM_REVISION) ^ 1,
                ),
            ),
            Refused(
                full & !(0x1fff << 32) | 1024 << 32,
                Reason::TooSmall {
                    number: "the region size",
                    mask: 0x1fff << 32,
                    value: 1024,
                    supported: 4096,
                },
            ),
            Taken(full | 1 << 32),
            Refused(full | 1 << 49, Reason::MustBe0(1 << 49)),
            Refused(
                full | 1 << 48,
                different("the limit of addresses to 32 bits", 1 << 48, 1),
            ),
            Refused(
                full & !(0xf << 50),
                different("the memory type", 0xf << 50, 0),
            ),
            Refused(full | 1 << 31, Reason::MustBe0(1 << 31)),
            Refused(full | 1 << 45, Reason::MustBe0(1 << 45)),
            Refused(full | 1 << 63, Reason::MustBe0(1 << 63)),
        ],
        "not restorable (-EINVAL)" | "not restorable" | "not restorable (from CPUID)" => {
            vec![NotRestorable(full), NotRestorable(0)]
        }
        "features subset; rate equal if timer exposed; cr3/msr counts <=; MSEG equal" => vec![
            Taken(full),
            Taken(full & !MiscFeatures::all().bits()),
            Taken(full & !(0x1ff << 16)),
            Refused(
                full | 1 << 24,
                Reason::TooLarge {
                    number: "the count of CR3-target values",
                    mask: 0x1ff << 16,
                    value: 0x104,
                    supported: 4,
                },
            ),
            Refused(
                full | 1 << 25,
                Reason::TooLarge {
                    number: "the recommended maximum of an MSR list",
                    mask: 7 << 25,
                    value: 1,
                    supported: 0,
                },
            ),
            Refused(full ^ 1, different("the preemption timer's rate", 0x1f, 4)),
            Refused(full | 1 << 28, Reason::MustBe0(1 << 28)),
            Refused(full | 1 << 9, Reason::MustBe0(1 << 9)),
            Refused(full | 1 << 31, Reason::MustBe0(1 << 31)),
            Refused(
                full | 1 << 32,
                different("the MSEG revision", 0xffff_ffff << 32, 1),
            ),
        ],
        "restored value must keep every 1 bit" => vec![
            Taken(full),
            Taken(full | 1 << 10),
            Refused(0, Reason::MustBe1(full)),
            Refused(
                full & (full - 1),
                Reason::MustBe1(1 << full.trailing_zeros()),
            ),
        ],
        "any value accepted" => vec![Taken(full), Taken(0), Taken(u64::MAX)],
        "must-be-1/must-be-0 subset rules" | "subset rules" => {
            let free = (full >> 32) & !full;
            let bit = 1 << free.trailing_zeros();
            let must = full & 0xffff_ffff;
            // The lowest bit of the upper half that is 0.
            let forbidden = 1 << (!full & !0xffff_ffff).trailing_zeros();
            let mut cases = vec![
                Taken(full),
                Taken(full & !(bit << 32)),
                Taken(full | bit),
                Refused(full | forbidden, Reason::MustBe0(forbidden)),
            ];
            if must != 0 {
                cases.push(Refused(full & !must, Reason::MustBe1(must)));
            }
            // Both are wrong: what must be 1 is told first.
            if must != 0 {
                cases.push(Refused(full & !must | forbidden, Reason::MustBe1(must)));
            }
            cases
        }
        "data subset of supported" | "subset" => vec![
            Taken(full),
            Taken(0),
            Taken(full & (full - 1)),
            Refused(full | 1 << 63, Reason::MustBe0(1 << 63)),
        ],
        "lock semantics; host-initiated writes allowed" => vec![
            Taken(full),
            Taken(0),
            // The lock that was just taken away and is set again does not bind the VMM.
            Taken(full),
            Refused(full | 1 << 18, Reason::MustBe0(1 << 18)),
        ],
        _ => panic!("{index:#x}: no cases for the rule {rule:?}"),
    }
}

#[test]
fn restore_rules() {
    let supported = software();
    let mut seen = Vec::new();
    for line in TABLE.lines().filter(|line| line.starts_with("0x")) {
        let columns: Vec<_> = line.split('\t').collect();
        let index = u32::from_str_radix(columns[0].trim_start_matches("0x"), 16).unwrap();
        assert_eq!(msr::name(index), Some(columns[1]));
        seen.push(index);
        let value = supported.msr(index).unwrap();
        for case in cases(columns[5], index, value) {
            let mut vcpu = supported;
            let mut expected = supported;
            let (value, outcome) = match case {
                Taken(value) => {
                    expected.set_msr(index, value);
                    (value, Ok(()))
                }
                Refused(value, reason) => {
                    let msr = index;
                    (value, Err(Excess { msr, value, reason }.into()))
                }
                NotRestorable(value) => (
                    value,
                    Err(RestoreError::NotRestorable { msr: index, value }),
                ),
            };
            let restored = vcpu.restore(&supported, index, value, false);
            assert_eq!(restored, outcome, "{} {value:#x}", columns[1]);
            assert_eq!(vcpu.msr(index), expected.msr(index), "{}", columns[1]);
        }

        let mut vcpu = supported;
        let busy = vcpu.restore(&supported, index, value, true);
        match index {
            msr::FEATURE_CONTROL => assert_eq!(busy, Ok(())),
            msr => assert_eq!(busy, Err(RestoreError::InVmxOperation { msr, value })),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, msr::ALL, "the table has all MSRs");
}

#[test]
fn restoring_an_msr_that_is_none() {
    let mut vcpu = software();
    let unknown = RestoreError::Unknown {
        msr: 0x494,
        value: 1,
    };
    assert_eq!(vcpu.restore(&software(), 0x494, 1, false), Err(unknown));
    assert_eq!(vcpu, software());
}

#[test]
fn a_restored_true_msr_takes_the_other_along() {
    let supported = software();
    let mut vcpu = supported;
    let narrower = supported.true_procbased_ctls & !(1 << 63) | 1 << 15;
    vcpu.restore(&supported, msr::TRUE_PROCBASED_CTLS, narrower, false)
        .unwrap();
    assert_eq!(vcpu.true_procbased_ctls, narrower);
    assert_eq!(vcpu.procbased_ctls, narrower | 0x0401_e172);
    assert_eq!(vcpu.secondary().allowed_1(), 0);
}

#[test]
fn the_rate_counts_only_with_a_timer() {
    let supported = software();
    let mut vcpu = supported;
    let no_timer = supported.true_pinbased_ctls & !(1 << 38);
    vcpu.restore(&supported, msr::TRUE_PINBASED_CTLS, no_timer, false)
        .unwrap();
    let value = supported.misc.0 ^ 1;
    assert_eq!(vcpu.restore(&supported, msr::MISC, value, false), Ok(()));
}

#[test]
fn the_guest_locks_feature_control_once() {
    let supported = software();
    let mut vcpu = supported;
    vcpu.feature_control = FeatureControl::empty();
    let unsupported = vcpu.write_feature_control(&supported, 1 << 20);
    assert_eq!(unsupported, Err(FeatureControlError::Unsupported(1 << 20)));
    assert_eq!(vcpu.write_feature_control(&supported, 4), Ok(()));
    assert!(!vcpu.feature_control.allows_vmxon());
    assert_eq!(vcpu.write_feature_control(&supported, 5), Ok(()));
    assert!(vcpu.feature_control.allows_vmxon());
    let locked = vcpu.write_feature_control(&supported, 5);
    assert_eq!(locked, Err(FeatureControlError::Locked));
}

#[test]
fn errors_name_the_msr_the_bits_and_the_remedy() {
    let supported = software();
    let mut vcpu = supported;
    let mut text = |index, value| {
        let error = vcpu.restore(&supported, index, value, false);
        error.unwrap_err().to_string()
    };
    assert_eq!(
        text(msr::VMFUNC, 3),
        "IA32_VMX_VMFUNC (0x491) 0x3: bits 0x2 are not supported; clear them"
    );
    assert_eq!(
        text(msr::CR4_FIXED0, 0),
        "IA32_VMX_CR4_FIXED0 (0x488) 0x0: bits 0x2000 must be 1; set them"
    );
    assert_eq!(
        text(msr::CR4_FIXED1, 0),
        "IA32_VMX_CR4_FIXED1 (0x489) = 0x0: cannot be restored; it follows from CPUID: set that"
    );
}

#[test]
fn values_that_kvm_offers_too() {
    let mut processor = Processor::new(39);
    processor.features = Features::PCID;
    let offered = Capabilities::software(processor);
    assert_eq!(offered.pinbased_ctls, 0xff_0000_0016);
    assert_eq!(offered.true_pinbased_ctls, 0xff_0000_0016);
    assert_eq!(offered.true_procbased_ctls & 0xffff_ffff, 0x0400_6172);
    assert_eq!(offered.procbased_ctls & 0xffff_ffff, 0x0401_e172);
    assert_eq!(offered.true_exit_ctls & 0xffff_ffff, 0x3_6dfb);
    assert_eq!(offered.exit_ctls & 0xffff_ffff, 0x3_6dff);
    assert_eq!(offered.true_entry_ctls & 0xffff_ffff, 0x11fb);
    assert_eq!(offered.entry_ctls & 0xffff_ffff, 0x11ff);
    assert_eq!(offered.basic.revision(), KVM_REVISION);
    assert_eq!(offered.cr0_fixed0, 0x8000_0021);
    assert_eq!(offered.cr4_fixed0, 0x2000);
    assert!(offered.feature_control.allows_vmxon());
    assert_eq!(offered.narrow().build(), Ok(offered), "it is consistent");
    assert_eq!(
        software().narrow().build(),
        Ok(software()),
        "it is consistent"
    );
}

#[test]
fn without_ept_what_needs_it_goes() {
    let host = software();
    let narrow = host
        .narrow()
        .without(SecondaryControls::ENABLE_EPT)
        .unwrap()
        .build()
        .unwrap();
    let gone = SecondaryControls::ENABLE_EPT
        | SecondaryControls::UNRESTRICTED_GUEST
        | SecondaryControls::ENABLE_PML
        | SecondaryControls::MODE_BASED_EXECUTE_CONTROL;
    assert!(host.secondary().allowed_1() & u64::from(gone.bits()) == u64::from(gone.bits()));
    assert_eq!(
        narrow.secondary().allowed_1(),
        host.secondary().allowed_1() & !u64::from(gone.bits())
    );
    assert_eq!(narrow.vm_functions, 0);
    assert!(!narrow.ept_vpid.contains(EptVpid::INVEPT));
    assert!(narrow.ept_vpid.contains(EptVpid::INVVPID_ALL));
    assert!(!Field::EptPointer.exists(&narrow));
}

#[test]
fn without_ways_to_use_it_a_feature_goes() {
    let host = software();
    let build = |part: Part| host.narrow().without(part).unwrap().build().unwrap();
    let no_walk = build(EptVpid::WALK_4.into());
    assert!(!no_walk.secondary().may_be_1(SecondaryControls::ENABLE_EPT));
    let no_flags = build(EptVpid::ACCESSED_DIRTY.into());
    assert!(!no_flags.secondary().may_be_1(SecondaryControls::ENABLE_PML));
    assert!(no_flags.secondary().may_be_1(SecondaryControls::ENABLE_EPT));
    let no_types = build((EptVpid::INVEPT_SINGLE | EptVpid::INVEPT_ALL).into());
    assert!(!no_types.ept_vpid.contains(EptVpid::INVEPT));
    let no_nmi = build(PinControls::NMI_EXITING.into());
    assert!(!no_nmi.pin().may_be_1(PinControls::VIRTUAL_NMIS));
    assert!(
        !no_nmi
            .primary()
            .may_be_1(PrimaryControls::NMI_WINDOW_EXITING)
    );
    let no_ack = build(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT.into());
    assert!(
        !no_ack
            .pin()
            .may_be_1(PinControls::PROCESS_POSTED_INTERRUPTS)
    );
    let no_secondary = build(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS.into());
    assert_eq!(no_secondary.procbased_ctls2, 0);
    assert_eq!(no_secondary.ept_vpid, EptVpid::empty());
    let no_cet = build((Features::CET_SS | Features::CET_IBT).into());
    assert!(!no_cet.entry().may_be_1(EntryControls::LOAD_CET));
    assert_eq!(no_cet.cr4_fixed1 & 1 << 23, 0);
    let no_true = build(BasicFeatures::TRUE_CONTROLS.into());
    assert_eq!(no_true.true_procbased_ctls, 0);
    assert_eq!(no_true.primary().must_be_1(), 0x0401_e172);
}

#[test]
fn the_highest_index_is_counted_over_the_fields_that_are_left() {
    let host = software();
    // TSC_MULTIPLIER, 0x2032, has the highest one.
    assert_eq!(host.vmcs_enum, 0x32);
    let narrow = host
        .narrow()
        .without(SecondaryControls::TSC_SCALING)
        .unwrap()
        .build()
        .unwrap();
    // GUEST_IA32_PKRS and the like are not there: VMX_PREEMPTION_TIMER_VALUE, 0x482e, is.
    assert_eq!(narrow.vmcs_enum, 0x2e);
}

#[test]
fn what_must_be_1_stays() {
    let host = software();
    let error = |part: Part| host.narrow().without(part).unwrap_err();
    let msr = msr::PROCBASED_CTLS;
    // Bit 1 must be 1; bit 15 is of the default1 class.
    for bits in [2, 1 << 15] {
        let part = PrimaryControls::from_bits_retain(bits);
        let bits = bits.into();
        assert_eq!(error(part.into()), NarrowError::MustBe1 { msr, bits });
    }
    let msr = msr::CR0_FIXED1;
    assert_eq!(error(Part::Cr0(1)), NarrowError::MustBe1 { msr, bits: 1 });

    // A host that forces unrestricted guest cannot do without EPT.
    let mut forced = host;
    forced.procbased_ctls2 |= u64::from(SecondaryControls::UNRESTRICTED_GUEST.bits());
    let without = forced.narrow().without(SecondaryControls::ENABLE_EPT);
    let bits = SecondaryControls::UNRESTRICTED_GUEST.bits().into();
    let msr = msr::PROCBASED_CTLS2;
    let must = NarrowError::MustBe1 { msr, bits };
    assert_eq!(without.unwrap().build(), Err(must));
}

#[test]
fn fixed_bits_of_control_registers() {
    let host = software();
    let narrow = host.narrow().requiring_cr0(1 << 16).unwrap();
    let narrow = narrow.requiring_cr4(1 << 5).unwrap().build().unwrap();
    assert_eq!(narrow.cr0_fixed0, 0x8001_0021);
    assert_eq!(narrow.cr4_fixed0, 0x2020);
    let refused = host.narrow().requiring_cr4(1 << 63).unwrap_err();
    let msr = msr::CR4_FIXED1;
    assert_eq!(refused, NarrowError::MayNotBe1 { msr, bits: 1 << 63 });
}

#[test]
fn counts_only_sink() {
    let host = software();
    let misc = |builder: nested_vmx::capability::Builder| builder.build().unwrap().misc;
    assert_eq!(misc(host.narrow().with_cr3_targets(2)).cr3_targets(), 2);
    assert_eq!(misc(host.narrow().with_cr3_targets(9)).cr3_targets(), 4);
    let mut large = host;
    large.misc.0 |= 7 << 25;
    for (at_most, left) in [(0, 512), (700, 512), (1024, 1024), (1 << 20, 4096)] {
        assert_eq!(
            misc(large.narrow().with_msr_list(at_most)).max_msr_list(),
            left
        );
    }
}

#[test]
fn what_two_hosts_share() {
    let (software, observed) = (software(), observed());
    let mut same_revision = observed;
    same_revision.basic.0 = software.basic.0 & !(1 << 56) | 1 << 49;
    same_revision.misc.0 = observed.misc.0 & !0x1f | 5;
    let shared = software.narrowed_to(&same_revision).unwrap();
    assert!(shared.is_subset_of(&software));
    assert!(
        shared.is_subset_of(&same_revision),
        "{:?}",
        shared.excess_over(&same_revision)
    );
    assert!(shared.secondary().may_be_1(SecondaryControls::ENABLE_EPT));

    let different = software.narrowed_to(&observed).unwrap_err();
    assert_eq!(
        different,
        NarrowError::Different {
            msr: msr::BASIC,
            number: "the VMCS revision",
            ours: KVM_REVISION.into(),
            theirs: 4,
        }
    );
    let mut contrary = software;
    contrary.cr4_fixed1 &= !0x2000;
    contrary.cr4_fixed0 = 0;
    assert_eq!(
        software.narrowed_to(&contrary),
        Err(NarrowError::Contradictory {
            msr: msr::CR4_FIXED0,
            bits: 0x2000,
        })
    );
}

/// Hosts: what software offers, what a processor was seen to have, and any values at all.
fn hosts() -> impl Strategy<Value = Capabilities> {
    prop_oneof![
        Just(software()),
        Just(observed()),
        proptest::collection::vec(any::<u64>(), msr::ALL.len()).prop_map(|values| {
            let msrs = msr::ALL.iter().copied().zip(values);
            Capabilities::from_msrs(software().processor, msrs)
        }),
        // As any host, but with control fields for which there is a value.
        proptest::collection::vec(any::<u64>(), msr::ALL.len()).prop_map(|values| {
            let msrs = msr::ALL
                .iter()
                .zip(values)
                .map(|(&index, value)| match index {
                    0x481..=0x484 | 0x48b | 0x48d..=0x490 => (index, value << 32 | value & 0xff),
                    0x486 | 0x488 => (index, value & 1),
                    _ => (index, value | 1 << 55),
                });
            let mut host = Capabilities::from_msrs(software().processor, msrs);
            for may in [0x481, 0x482, 0x483, 0x484, 0x48d, 0x48e, 0x48f, 0x490] {
                let value = host.msr(may).unwrap();
                host.set_msr(may, value | 0x0403_ffff << 32);
            }
            host.cr0_fixed1 |= 1;
            host.cr4_fixed1 |= 1;
            host
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_narrowing_is_a_subset(
        host in hosts(),
        parts in proptest::collection::vec(parts(), 0..12),
        cr3_targets in any::<u32>(),
        list in any::<u32>(),
        values in any::<[u64; 7]>(),
    ) {
        let mut builder = host.narrow().with_cr3_targets(cr3_targets).with_msr_list(list);
        let mut gone = Vec::new();
        for part in parts {
            // What must be 1 is refused, and the builder is as before.
            if let Ok(narrower) = builder.without(part) {
                builder = narrower;
                gone.push(part);
            }
        }
        let Ok(narrow) = builder.build() else { return Ok(()) };
        prop_assert!(narrow.is_subset_of(&host), "{:?}", narrow.excess_over(&host));
        prop_assert_eq!(narrow.narrow().build(), Ok(narrow), "nothing is left to drop");
        for part in gone {
            prop_assert_eq!(part.had_by(&narrow), 0);
        }

        // Whatever the result allows is allowed by the host.
        let [pin, primary, secondary, tertiary, exit, exit2, entry] = values;
        macro_rules! allowed {
            ($range:ident, $type:ident, $value:ident) => {
                let nearest = narrow.$range().nearest($type::from_bits_retain($value as _));
                let nearest = $type::from_bits_retain(nearest as _);
                prop_assert!(narrow.$range().allows(nearest));
                prop_assert!(host.$range().allows(nearest));
            };
        }
        allowed!(pin, PinControls, pin);
        allowed!(primary, PrimaryControls, primary);
        allowed!(exit, ExitControls, exit);
        allowed!(entry, EntryControls, entry);
        if narrow.primary().may_be_1(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS)
            && narrow.secondary().allowed_1() != 0
        {
            allowed!(secondary, SecondaryControls, secondary);
        }
        allowed!(tertiary, TertiaryControls, tertiary);
        allowed!(secondary_exit, SecondaryExitControls, exit2);
        let vmcs = Vmcs::new(0);
        for &field in Field::ALL {
            let operand = u64::from(field.encoding().0);
            prop_assert!(vmcs.vmread(operand, &narrow).is_err() || vmcs.vmread(operand, &host).is_ok());
            if field.exists(&narrow) {
                prop_assert!(u64::from(field.encoding().index()) << 1 <= narrow.vmcs_enum);
            }
        }

        // And each of its MSRs can be restored on the host, where MSRs can be at all.
        let mut vcpu = host;
        for &index in msr::ALL {
            let value = narrow.msr(index).unwrap();
            let restored = vcpu.restore(&host, index, value, false);
            let is_true = (0x48d..=0x490).contains(&index);
            if is_true && !narrow.basic.has_true_controls() {
                continue;
            }
            prop_assert!(
                matches!(restored, Ok(()) | Err(RestoreError::NotRestorable { .. }))
                    // The rate of a timer that is not gone yet.
                    || index == msr::MISC || index == msr::PROCBASED_CTLS2,
                "{restored:?}"
            );
        }
    }

    #[test]
    fn what_two_share_is_a_subset_of_both(
        host in hosts(),
        other in hosts(),
        parts in proptest::collection::vec(parts(), 0..6),
        unrelated in any::<bool>(),
    ) {
        let mut builder = if unrelated { other } else { host }.narrow();
        for part in parts {
            builder = builder.without(part).unwrap_or(builder);
        }
        let Ok(other) = builder.build() else { return Ok(()) };
        let Ok(shared) = host.narrowed_to(&other) else { return Ok(()) };
        prop_assert!(shared.is_subset_of(&host), "{:?}", shared.excess_over(&host));
        prop_assert!(shared.is_subset_of(&other), "{:?}", shared.excess_over(&other));
    }
}

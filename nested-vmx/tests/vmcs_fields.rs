// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The fields of a VMCS against `facts/vmcs_fields.tsv` and `facts/vmcs12_layout.tsv`, and what
//! VMREAD and VMWRITE do to them.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;

use std::collections::BTreeSet;

use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::vmcs::{
    Access, AccessError, Encoding, Field, KVM_REVISION, Kind, LaunchState, REGION_SIZE, Vmcs, Width,
};
use proptest::prelude::*;

fn hexadecimal(text: &str) -> u32 {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
}

fn software() -> Capabilities {
    Capabilities::software(Processor::new(40))
}

#[test]
fn every_row_is_a_field() {
    let rows = facts::rows("vmcs_fields.tsv");
    assert_eq!(rows.len(), 282);
    let mut known = BTreeSet::new();
    for row in &rows {
        let encoding = Encoding(hexadecimal(&row["encoding"]));
        let field = Field::from_encoding(encoding).unwrap_or_else(|| panic!("{encoding}"));
        known.insert(field);
        let access = match row["access"].as_str() {
            "full" => Access::Full,
            "high" => Access::High,
            other => panic!("{other}"),
        };
        assert_eq!(encoding.access(), access, "{field}");
        assert_eq!(encoding.full(), field.encoding(), "{field}");
        assert_eq!(field.width().to_string(), row["width"], "{field}");
        let kind = match row["type"].as_str() {
            "control" => Kind::Control,
            "guest" => Kind::Guest,
            "host" => Kind::Host,
            _ => Kind::ExitInformation,
        };
        assert_eq!(field.kind(), kind, "{field}");
        assert_eq!(encoding.index().to_string(), row["index"], "{field}");
        if row["linux_name"] != "-" && access == Access::Full {
            assert_eq!(field.name(), row["linux_name"]);
            assert_eq!(Field::from_name(field.name()), Some(field));
        }
        match row["vmcs12_offset"].parse::<usize>() {
            Ok(offset) => {
                let part = if access == Access::High { 4 } else { 0 };
                assert_eq!(field.offset() + part, offset, "{field}");
                assert!(field.is_in_kvm_layout());
            }
            Err(_) => assert!(!field.is_in_kvm_layout(), "{field}"),
        }
    }
    // Newer than the table.
    let newer: Vec<&Field> = Field::ALL
        .iter()
        .filter(|field| !known.contains(field))
        .collect();
    assert_eq!(newer, [&Field::GuestIa32LbrCtl]);
}

#[test]
fn no_two_fields_share_bytes_or_an_encoding() {
    let mut bytes = BTreeSet::new();
    let mut encodings = BTreeSet::new();
    for &field in Field::ALL {
        assert!(encodings.insert(field.encoding()), "{field}");
        let size = match field.width() {
            Width::Bits16 => 2,
            Width::Bits32 => 4,
            Width::Bits64 | Width::Natural => 8,
        };
        for at in field.offset()..field.offset() + size {
            assert!(at < REGION_SIZE && bytes.insert(at), "{field}, byte {at}");
        }
    }
    assert!(Field::ALL.is_sorted_by_key(|field| field.encoding()));
}

#[test]
fn every_encoding_that_is_not_in_the_table_is_none() {
    let known: BTreeSet<u32> = facts::rows("vmcs_fields.tsv")
        .iter()
        .map(|row| hexadecimal(&row["encoding"]))
        .chain([0x2816, 0x2817])
        .collect();
    for number in 0..0x1_0000 {
        let field = Field::from_encoding(Encoding(number));
        // The table lists no high half of four newer fields.
        let full_is_known = known.contains(&(number & !1));
        match field {
            Some(field) => assert!(full_is_known, "{field}"),
            None => assert!(!known.contains(&number), "{number:#x}"),
        }
    }
    assert_eq!(Field::from_encoding(Encoding(0x1_0000)), None);
}

/// The member's bytes all over the region: which ones `write` changes.
fn written(write: impl Fn(&mut Vmcs)) -> Vec<usize> {
    let mut vmcs = Vmcs::from_bytes([0; REGION_SIZE]);
    write(&mut vmcs);
    let bytes = vmcs.as_bytes().iter().enumerate();
    bytes
        .filter(|&(_, &byte)| byte != 0)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn every_member_is_where_kvm_has_it() {
    let rows = facts::rows("vmcs12_layout.tsv");
    assert_eq!(rows.len(), 155);
    let by_offset = |offset: usize| Field::ALL.iter().find(|field| field.offset() == offset);
    let mut end = 0;
    for row in &rows {
        let member = row["member"].as_str();
        let offset: usize = row["offset"].parse().expect("a number");
        let size: usize = row["size_bytes"].parse().expect("a number");
        end = end.max(offset + size);
        let expected: Vec<usize> = (offset..offset + size).collect();
        let found = match member {
            "hdr" => written(|vmcs| vmcs.set_header(0x7f7f_7f7f, true)),
            "abort" => written(|vmcs| vmcs.set_abort(u32::MAX)),
            "launch_state" => {
                let launched = written(|vmcs| vmcs.set_launch_state(LaunchState::Launched));
                assert_eq!(launched, [offset], "1, little-endian");
                continue;
            }
            _ if member.starts_with("padding") || member == "dead_space" => {
                let inside = Field::ALL
                    .iter()
                    .filter(|field| (offset..offset + size).contains(&field.offset()));
                assert_eq!(inside.count(), 0, "{member}");
                continue;
            }
            _ => {
                let field = by_offset(offset).unwrap_or_else(|| panic!("{member}"));
                written(|vmcs| vmcs.write(*field, u64::MAX))
            }
        };
        assert_eq!(found, expected, "{member}");
    }
    assert_eq!(end, Field::KVM_LAYOUT_END);
}

#[test]
fn the_header_has_two_parts() {
    let mut vmcs = Vmcs::new(KVM_REVISION);
    assert_eq!((vmcs.revision(), vmcs.is_shadow()), (KVM_REVISION, false));
    vmcs.set_header(KVM_REVISION, true);
    assert_eq!((vmcs.revision(), vmcs.is_shadow()), (KVM_REVISION, true));
    assert_eq!(vmcs.launch_state(), LaunchState::Clear);
    vmcs.set_launch_state(LaunchState::Launched);
    assert_eq!(vmcs.launch_state(), LaunchState::Launched);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_to_fields_to_bytes(bytes in proptest::collection::vec(any::<u8>(), REGION_SIZE)) {
        let bytes: [u8; REGION_SIZE] = bytes.try_into().expect("so many");
        let from = Vmcs::from_bytes(bytes);
        prop_assert_eq!(from.as_bytes(), &bytes);
        // Everything that is no field, and then the fields one by one.
        let mut to = from.clone();
        for &field in Field::ALL {
            to.write(field, 0);
            prop_assert_eq!(to.read(field), 0);
        }
        for &field in Field::ALL {
            to.write(field, from.read(field));
        }
        prop_assert!(to == from);
    }

    #[test]
    fn vmwrite_and_vmread(number in any::<u64>(), value in any::<u64>()) {
        let capabilities = software();
        let mut vmcs = Vmcs::new(KVM_REVISION);
        let before = vmcs.clone();
        let written = vmcs.vmwrite(number, value, &capabilities);
        let read = vmcs.vmread(number, &capabilities);
        match u32::try_from(number).ok().and_then(|number| Field::from_encoding(Encoding(number))) {
            Some(field) if field.exists(&capabilities) => {
                prop_assert!(written.is_ok() && read.is_ok());
            }
            _ => {
                prop_assert!(matches!(written, Err(AccessError::Unsupported(_))));
                prop_assert!(matches!(read, Err(AccessError::Unsupported(_))));
                prop_assert!(vmcs == before);
            }
        }
    }

    #[test]
    fn each_field_keeps_what_it_has_room_for(at in 0..Field::ALL.len(), value in any::<u64>()) {
        let capabilities = software();
        let field = Field::ALL[at];
        let mut vmcs = Vmcs::new(KVM_REVISION);
        let number = u64::from(field.encoding().0);
        if field.exists(&capabilities) {
            vmcs.vmwrite(number, value, &capabilities).expect("writable");
            let mut expected = value & field.width().mask();
            if field.name().ends_with("_AR_BYTES") {
                expected &= 0x1_f0ff;
            }
            prop_assert_eq!(vmcs.vmread(number, &capabilities), Ok(expected));
            prop_assert_eq!(vmcs.read(field), expected);
            if field.width() == Width::Bits64 {
                prop_assert_eq!(vmcs.vmread(number | 1, &capabilities), Ok(expected >> 32));
                vmcs.vmwrite(number | 1, 0x1_2345_6789, &capabilities).expect("writable");
                prop_assert_eq!(vmcs.read(field), 0x2345_6789 << 32 | expected & 0xffff_ffff);
            } else {
                prop_assert!(vmcs.vmread(number | 1, &capabilities).is_err());
            }
        }
    }
}

#[test]
fn exit_information_is_writable_only_with_bit_29() {
    let mut capabilities = software();
    assert!(capabilities.misc.can_write_any_field());
    let mut vmcs = Vmcs::new(KVM_REVISION);
    assert_eq!(vmcs.vmwrite(0x4402, 1, &capabilities), Ok(()));
    capabilities.misc.0 &= !(1 << 29);
    assert_eq!(
        vmcs.vmwrite(0x4402, 2, &capabilities),
        Err(AccessError::ReadOnly(Field::VmExitReason))
    );
    assert_eq!(vmcs.vmread(0x4402, &capabilities), Ok(1));
}

#[test]
fn fields_exist_with_their_control() {
    let all = software();
    let none = Capabilities::from_msrs(Processor::new(40), [(0x480, 1 << 55)]);
    for (field, exists) in [
        (Field::GuestRip, true),
        (Field::VirtualProcessorId, false),
        (Field::EptPointer, false),
        (Field::VmxPreemptionTimerValue, false),
        (Field::TprThreshold, false),
        (Field::Cr3TargetValue0, false),
        (Field::SharedEptPointer, false),
    ] {
        assert_eq!(field.exists(&none), exists, "{field}");
    }
    assert!(Field::EptPointer.exists(&all) && Field::VirtualProcessorId.exists(&all));
    assert!(!Field::SharedEptPointer.exists(&all), "TDX's own");
}

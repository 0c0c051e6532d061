// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Access rights and error codes (SDM volume 3, sections 5.6 and 5.7).

use nested_vmx::paging::Access::{self, Fetch, Read, Write};

use crate::{NXE, PKE, PKS, SMAP, SMEP, Tables, WP, XD, four_level, tables};

const RW: u64 = 2;
const US: u64 = 4;
const AC: u64 = 1 << 18;

/// Takes bits from one entry only: each has to allow it.
fn without(tables: &Tables, level: u64, bits: u64, access: Access) -> Option<u32> {
    let entry = tables.get(level);
    tables.set(level, entry & !bits);
    let code = tables.error_code(access);
    tables.set(level, entry);
    code
}

#[test]
fn user_mode() {
    for mut tables in tables() {
        tables.mode.state.cpl = 3;
        // 32-bit paging has no XD, so error codes do not tell of fetches.
        let fetch = if tables.mode.entry_size == 4 { 5 } else { 0x15 };
        for level in 0..tables.mode.levels {
            assert_eq!(without(&tables, level, 0, Write), None);
            assert_eq!(without(&tables, level, US, Read), Some(5));
            assert_eq!(without(&tables, level, US, Write), Some(7));
            assert_eq!(without(&tables, level, US, Fetch), Some(fetch));
            assert_eq!(without(&tables, level, RW, Read), None);
            assert_eq!(without(&tables, level, RW, Write), Some(7));
        }
        tables.set(0, 0);
        assert_eq!(tables.error_code(Write), Some(6));
    }
}

#[test]
fn supervisor_mode() {
    for mut tables in tables() {
        for cpl in 0..3 {
            tables.mode.state.cpl = cpl;
            for level in 0..tables.mode.levels {
                assert_eq!(without(&tables, level, US, Write), None);
                assert_eq!(without(&tables, level, RW, Read), None);
                assert_eq!(without(&tables, level, RW, Write), Some(3));
                tables.mode.state.cr0 &= !WP;
                assert_eq!(without(&tables, level, RW, Write), None);
                tables.mode.state.cr0 |= WP;
            }
        }
    }
}

#[test]
fn execute_disable() {
    for tables in tables().into_iter().skip(1) {
        for level in 0..tables.mode.levels {
            let entry = tables.get(level);
            tables.set(level, entry | XD);
            assert_eq!(tables.error_code(Fetch), Some(0x11));
            assert_eq!(tables.error_code(Write), None);
            tables.set(level, entry);
            assert_eq!(tables.error_code(Fetch), None);
        }
    }
}

#[test]
fn smep_and_smap() {
    for mut tables in tables() {
        let leaf = tables.leaf();
        tables.mode.state.cr4 |= SMEP;
        assert_eq!(tables.error_code(Fetch), Some(0x11));
        assert_eq!(tables.error_code(Read), None);
        assert_eq!(without(&tables, leaf, US, Fetch), None);
        tables.mode.state.cr4 |= SMAP;
        assert_eq!(tables.error_code(Read), Some(1));
        assert_eq!(tables.error_code(Write), Some(3));
        assert_eq!(without(&tables, leaf, US, Write), None);
        tables.mode.state.rflags = AC;
        assert_eq!(tables.error_code(Write), None);
        assert_eq!(without(&tables, leaf, RW, Write), Some(3));
        assert_eq!(tables.error_code(Fetch), Some(0x11));
        // They are for supervisor-mode accesses.
        tables.mode.state.rflags = 0;
        tables.mode.state.cpl = 3;
        for access in [Read, Write, Fetch] {
            assert_eq!(tables.error_code(access), None);
        }
    }
}

/// Bit 4 of the error code: with SMEP, or where XD exists.
#[test]
fn fetches_in_error_codes() {
    let mut tables = four_level();
    tables.set(3, 0);
    assert_eq!(tables.error_code(Fetch), Some(0x10));
    tables.mode.state.efer &= !NXE;
    assert_eq!(tables.error_code(Fetch), Some(0));
    tables.mode.state.cr4 |= SMEP;
    assert_eq!(tables.error_code(Fetch), Some(0x10));
}

#[test]
fn protection_keys() {
    const KEY: u64 = 5;
    const AD: u32 = 1 << 10;
    const WD: u32 = 2 << 10;
    for user_page in [true, false] {
        let mut tables = four_level();
        let entry = tables.get(3) | KEY << 59;
        tables.set(3, if user_page { entry } else { entry & !US });
        let rights = |tables: &mut Tables, rights| match user_page {
            true => tables.mode.state.pkru = rights,
            false => tables.mode.state.pkrs = rights,
        };
        rights(&mut tables, AD | WD);
        assert_eq!(tables.error_code(Write), None, "not enabled");
        tables.mode.state.cr4 |= if user_page { PKE } else { PKS };
        assert_eq!(tables.error_code(Read), Some(0x21));
        assert_eq!(tables.error_code(Fetch), None);
        rights(&mut tables, WD);
        assert_eq!(tables.error_code(Read), None);
        assert_eq!(tables.error_code(Write), Some(0x23));
        tables.mode.state.cr0 &= !WP;
        assert_eq!(tables.error_code(Write), None);
        if user_page {
            tables.mode.state.cpl = 3;
            assert_eq!(tables.error_code(Write), Some(0x27));
        }
        // Another key's rights.
        rights(&mut tables, !(3 << 10));
        assert_eq!(tables.error_code(Write), None);
    }
}

#[test]
fn pae_paging_has_no_protection_keys() {
    let [_, mut pae, ..] = tables();
    pae.mode.state.cr4 |= PKE;
    pae.mode.state.pkru = 3;
    assert_eq!(pae.error_code(Write), None);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The checks agree with every VMLAUNCH that was observed on a processor; and what the example says
//! about files that are no such list.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../examples/corpus/format.rs"]
#[allow(dead_code, reason = "the example uses all of it")]
mod format;
#[path = "../examples/corpus/row.rs"]
#[allow(dead_code, reason = "the example uses all of it")]
mod row;

use format::{Corpus, Problem};
use proptest::prelude::*;

const FILE: &str = include_str!("facts/vmlaunch_corpus.tsv");

#[test]
fn every_row_agrees() {
    let corpus = Corpus::parse(FILE).expect("a good file");
    assert_eq!(corpus.rows.len(), 2217);
    let differences: Vec<String> = corpus
        .rows
        .iter()
        .filter_map(|row| {
            let difference = row.compare().err()?;
            Some(format!("{} {}: {difference}", row.suite, row.number))
        })
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_row_that_is_changed_does_not_agree() {
    for (from, to) in [
        ("\tEXIT 12 qual 0\t", "\tVMFAIL 7\t"),
        ("\tVMFAIL 8\t", "\tEXIT 12 qual 0\t"),
    ] {
        let changed = FILE.replace(from, to);
        assert!(changed != FILE, "nothing is {from:?}");
        let corpus = Corpus::parse(&changed).expect("a good file");
        let disagreeing = corpus
            .rows
            .iter()
            .filter(|row| row.compare().is_err())
            .count();
        assert_eq!(disagreeing, FILE.matches(from).count(), "{from}");
    }
}

const HEAD: &str = "# caps s 480=d8100000000004|cr0=31|maxphy=40\n# base s 800=10\n";

#[test]
fn bad_files_are_refused_with_their_line() {
    for (text, line, expected) in [
        ("", 0, "no rows"),
        ("# nothing\n", 1, "no rows"),
        ("s\t1\t800=1\tVMFAIL 7\tagree\n", 1, "# caps s"),
        ("# caps s 480=1\ns\t1\t\tVMFAIL 7\n", 2, "# base s"),
        ("# base s 800=1\n", 1, "# caps s"),
        ("# caps s 480\n", 1, "NAME=NUMBER"),
        ("# caps s 480=xyz\n", 1, "hexadecimal"),
        ("# caps s 999=1\n", 1, "no capability"),
        ("# caps s cr9=1\n", 1, "no capability"),
        ("# caps s maxphy=1a\n", 1, "decimal"),
    ] {
        let error = Corpus::parse(text).err().expect(text);
        assert_eq!(error.line, line, "{text}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    for (row, expected) in [
        ("s", "columns"),
        ("s\t1\t800", "columns"),
        ("s\t1\t800\tVMFAIL 7", "NAME=NUMBER"),
        ("s\t1\t801=1\tVMFAIL 7", "0x801"),
        ("s\t1\tfffffffffff=1\tVMFAIL 7", "encoding"),
        ("s\t1\t800=10000000000000000\tVMFAIL 7", "64 bits"),
        ("s\t1\t\tPASS", "VMFAIL"),
        ("s\t1\t\tVMFAIL x", "VMFAIL"),
        ("s\t1\t\tEXIT 80000021", "VMFAIL"),
    ] {
        let error = Corpus::parse(&format!("{HEAD}{row}\n")).err().expect(row);
        assert_eq!(error.line, 3);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let empty = Corpus::parse(HEAD).err().expect("no rows");
    assert_eq!(empty.problem, Problem::Empty);
}

#[test]
fn fields_that_are_not_known_are_left_out_and_named() {
    let row = "s\t1\t2046=5,800=8\tVMFAIL 7";
    let corpus = Corpus::parse(&format!("{HEAD}{row}\r\n")).expect("a good file");
    assert_eq!(corpus.rows[0].vmcs12.guest_es_selector(), 8);
    assert!(
        corpus
            .unknown
            .iter()
            .map(ToString::to_string)
            .eq(["0x2046"])
    );
}

#[test]
fn high_halves_are_part_of_their_field() {
    let row = "s\t1\t2000=5,2001=abcd\tVMFAIL 7";
    let corpus = Corpus::parse(&format!("{HEAD}{row}\n")).expect("a good file");
    assert_eq!(corpus.rows[0].vmcs12.io_bitmap_a(), 0xabcd_0000_0005);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_row_is_compared_or_refused(
        maxphy in any::<u64>(),
        fields in proptest::collection::vec((0_u32..0x7000, any::<u64>()), 0..8),
        result in "VMFAIL 7|EXIT 80000022 qual 3|EXIT 12 qual 0|.*",
    ) {
        let delta: Vec<String> = fields.iter().map(|(name, value)| format!("{name:x}={value:x}")).collect();
        let text = format!(
            "# caps s 480=d8100000000004|485={maxphy:x}|48b={maxphy:x}|maxphy={}\n# base s 800=10\ns\t1\t{}\t{result}\n",
            maxphy as u32, delta.join(",")
        );
        if let Ok(corpus) = Corpus::parse(&text) {
            for row in &corpus.rows {
                let _ = row.compare();
            }
        }
    }
}

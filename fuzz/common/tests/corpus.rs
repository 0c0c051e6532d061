// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Replays every file of every corpus, and sees to it that no target lacks one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz_common::TARGETS;

fn fuzz_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_corpus_replays() {
    for (name, run) in TARGETS {
        let corpus = fuzz_dir().join("corpus").join(name);
        let inputs = files(&corpus);
        assert!(!inputs.is_empty(), "{}: no input", corpus.display());
        for path in inputs {
            let input = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            // Captured, and so shown only above the panic that it explains.
            println!("replaying {}", path.display());
            run(&input);
        }
    }
}

#[test]
fn every_target_is_in_the_table_and_has_a_corpus() {
    let names = |dir: &str| -> BTreeSet<String> {
        files(&fuzz_dir().join(dir))
            .iter()
            .filter_map(|path| path.file_stem().and_then(OsStr::to_str))
            .map(str::to_owned)
            .collect()
    };
    let table: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        table,
        names("fuzz_targets"),
        "common/src/lib.rs, fuzz_targets/"
    );
    assert_eq!(table, names("corpus"), "common/src/lib.rs, corpus/");
}

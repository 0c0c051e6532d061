// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the fuzz targets do with their input, as ordinary functions.
//!
//! The targets in `fuzz_targets/` only call these. So `tests/corpus.rs` replays every corpus with a
//! plain `cargo test`, on stable and without a fuzzer.

pub mod command_line;
pub mod entry_checks;
pub mod ept_walk;
pub mod kernel_image;
pub mod nested_sequences;
pub mod nested_state;
pub mod operands;
pub mod requests;
pub mod run_loop;
pub mod vmcs12;

/// A fuzz target: its name, also that of its corpus, and what it does with an input. It panics
/// where the input shows a fault.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("command_line", command_line::run),
    ("entry_checks", entry_checks::run),
    ("ept_walk", ept_walk::run),
    ("kernel_image", kernel_image::run),
    ("nested_sequences", nested_sequences::run),
    ("nested_state", nested_state::run),
    ("operands", operands::run),
    ("requests", requests::run),
    ("run_loop", run_loop::run),
    ("vmcs12", vmcs12::run),
];

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any words taken for the VMM's command line.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::command_line::run(data));

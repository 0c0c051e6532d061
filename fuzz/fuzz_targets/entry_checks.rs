// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Near-valid states and random ones against the checks of VM entries.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::entry_checks::run(data));

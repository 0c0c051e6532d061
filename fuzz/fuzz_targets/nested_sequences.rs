// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Histories of a virtual processor with VMX, with the books kept about every event.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::nested_sequences::run(data));

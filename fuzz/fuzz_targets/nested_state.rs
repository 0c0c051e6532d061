// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any bytes as KVM's nested state, read, judged and written.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::nested_state::run(data));

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any bytes as a vmcs12, read, checked and launched.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::vmcs12::run(data));

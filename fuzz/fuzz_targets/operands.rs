// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bytes decoded as VMX instructions, beside another decoder.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::operands::run(data));

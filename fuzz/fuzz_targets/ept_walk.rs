// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accesses through extended page tables that are any bytes, and that change meanwhile.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::ept_walk::run(data));

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random scripts for the run loop: exits, requests, failures.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::run_loop::run(data));

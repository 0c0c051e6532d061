// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any bytes taken for a kernel.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::kernel_image::run(data));

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random schedules of simulated vCPUs and makers against a model.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_common::requests::run(data));

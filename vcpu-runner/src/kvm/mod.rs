// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's vCPUs (x86-64).

mod decode;
pub mod immediate_exit;
mod probe_guest;
mod run_area;
mod vcpu;

pub use probe_guest::{ProbeError, ProbeExit, ProbeGuest};
pub use run_area::KvmSkipFlag;
pub use vcpu::KvmVcpu;

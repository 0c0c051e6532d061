// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's vCPUs (x86-64).

mod decode;
mod run_area;
mod vcpu;

pub use run_area::ImmediateExit;
pub use vcpu::KvmVcpu;

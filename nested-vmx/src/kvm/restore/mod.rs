// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A whole vCPU, read and restored.

mod error;
mod kvm_vcpu;
mod meaning;
mod offered;
mod plan;
mod port;
mod step;
mod vcpu_state;

pub use error::{Action, Cause, StepError};
pub use kvm_vcpu::KvmVcpu;
pub use offered::{Offered, OfferedError, processor_of};
pub use plan::RestorePlan;
pub use port::{Msr, VcpuPort};
pub use step::{Dependency, Step};
pub use vcpu_state::VcpuState;

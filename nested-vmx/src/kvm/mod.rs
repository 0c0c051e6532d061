// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's nested state (feature `kvm`, x86-64 Linux): read, explained, judged before KVM sees it, and
//! restored in the order that KVM demands.
//!
//! - [`NestedState`]: what `KVM_GET_NESTED_STATE` gives, typed; any bytes of it and back.
//! - [`Whereabouts`] and [`Destination`]: where the vCPU is, what is on its way into L2, and who gets
//!   an event that comes now.
//! - [`judge`]: what `KVM_SET_NESTED_STATE` would refuse, and why. For state from a file or from a
//!   network, which is not trusted.
//! - [`RestorePlan`]: a whole vCPU, step by step, over a [`VcpuPort`]; an error names the step, what
//!   KVM's error means there, and what to do.
//! - [`Offered`]: the capabilities that a host, or a vCPU, has.
//!
//! What KVM does is stated as of Linux 6.1 and newer; functions that are named are in its
//! `arch/x86/kvm/x86.c` and `arch/x86/kvm/vmx/nested.c`.

mod errno;
mod judge;
mod place;
mod restore;
mod state;

pub use errno::Errno;
pub use judge::{CheckedBy, Context, Judgement, Refusal, SetRule, judge, judge_bytes};
pub use place::{Destination, Injection, Obstacle, Place, Source, Waiting, Whereabouts};
pub use restore::{
    Action, Cause, Dependency, KvmVcpu, Msr, Offered, OfferedError, RestorePlan, Step, StepError,
    VcpuPort, VcpuState, processor_of,
};
pub use state::{
    BytesError, HEADER_SIZE, HeaderFlags, NestedState, STATE_SIZE, SmmFlags, StateFlags,
};

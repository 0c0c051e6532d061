// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The checks of VM entry (SDM volume 3, chapter 28): every rule for the controls, the host state,
//! the guest state and the MSR-load area, those included that a hypervisor can leave to the
//! processor.
//!
//! ```
//! use nested_vmx::capability::{Capabilities, Processor};
//! use nested_vmx::check::{EntryRequest, L1State};
//! use nested_vmx::vmcs::{KVM_REVISION, Vmcs};
//!
//! let capabilities = Capabilities::software(Processor::new(40));
//! let vmcs12 = Vmcs::new(KVM_REVISION);
//! // L1 in 64-bit mode: its CR0, CR4 and IA32_EFER.
//! let l1 = L1State::new(0x8000_0031, 0x2020, 0x500);
//!
//! let request = EntryRequest::new(&capabilities, &vmcs12, l1);
//! let failure = request.check().unwrap_err();
//! assert_eq!(failure.rule.id(), "pin_allowed");
//! assert_eq!(failure.outcome().to_string(), "VMfailValid 7: VM entry with invalid control fields");
//! for failure in request.check_all() {
//!     println!("{failure}");
//! }
//! ```

mod context;
mod failure;
mod failures;
mod request;
mod rule;
mod rules;

pub use failure::{Allowed, EntryOutcome, Failure, Subject, Violation};
pub use failures::{Failures, RuleSet};
pub use request::{EntryInstruction, EntryRequest, L1State};
pub use rule::{Phase, Rule};
pub use rules::msr_load::is_loadable;

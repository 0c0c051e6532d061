// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether Linux can boot here, and what to do if not.

use super::{HostReport, Ran};
use crate::kvm_device::CAPABILITIES;

/// What to run where Linux cannot boot.
const INSTEAD: &str = "run `cargo xtask boot --accel lab-svm`, which boots it in an emulated \
                       machine that has a KVM of its own";

/// The answer, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether Linux can boot on this host's KVM.
    pub linux_can_boot: bool,
    /// Why, or why not.
    pub reason: String,
}

impl Verdict {
    pub(super) fn of(report: &HostReport) -> Self {
        let (linux_can_boot, reason) = match judge(report) {
            Ok(reason) => (true, reason),
            Err(obstacle) => (false, obstacle),
        };
        Self {
            linux_can_boot,
            reason,
        }
    }

    /// The closing sentence.
    pub fn sentence(&self) -> String {
        if self.linux_can_boot {
            format!("Linux can boot here: {}.", self.reason)
        } else {
            format!("Linux cannot boot here: {}; {INSTEAD}.", self.reason)
        }
    }
}

/// Why it can, or what is in the way.
fn judge(report: &HostReport) -> Result<String, String> {
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .zip(&report.capabilities)
        .filter(|(capability, (_, value))| capability.required && *value <= 0)
        .map(|(capability, _)| capability.name)
        .collect();
    if !missing.is_empty() {
        return Err(format!("KVM lacks {}", missing.join(", ")));
    }
    let speed = match &report.speed {
        Ok(speed) => speed,
        Err(error) => return Err(format!("no guest could be run: {error}")),
    };
    let refused: Vec<_> = report
        .instructions
        .iter()
        .filter(|(_, ran)| !matches!(ran, Ok(Ran::Yes | Ran::NotInProcessor)))
        .map(|&(name, _)| name.to_uppercase())
        .collect();
    let refused = refused.join(", ");
    if !speed.is_native() {
        let lacks = if refused.is_empty() {
            String::new()
        } else {
            format!(", and its emulator lacks {refused}")
        };
        return Err(format!(
            "KVM emulates guest kernel code ({:.0} ns per instruction, {:.1} on the host \
             itself){lacks}",
            speed.guest_ns, speed.host_ns
        ));
    }
    if !refused.is_empty() {
        return Err(format!("guest kernel code cannot use {refused}"));
    }
    Ok(format!(
        "KVM runs guest kernel code natively ({:.1} ns per instruction)",
        speed.guest_ns
    ))
}

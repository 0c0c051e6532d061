// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a kernel can boot: on this host's KVM, or in the emulated machine.

use std::path::Path;

use vmm_reference::host::HostReport;

use crate::progress;

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// What the host is good for.
    Auto,
    /// The host's KVM, whatever it is good for.
    Kvm,
    /// The emulated machine.
    LabSvm,
}

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's KVM.
    Kvm,
    /// The emulated machine's.
    LabSvm,
}

impl Accel {
    /// Decides, and says why when it is not what one would expect.
    pub fn choose(choice: Choice) -> Self {
        match choice {
            Choice::Kvm => Self::Kvm,
            Choice::LabSvm => Self::LabSvm,
            Choice::Auto => match obstacle() {
                None => Self::Kvm,
                Some(reason) => {
                    progress::say(&format!(
                        "booting in the emulated machine (lab-svm): on this host {reason}"
                    ));
                    Self::LabSvm
                }
            },
        }
    }

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::LabSvm => "lab-svm",
        }
    }
}

/// Why Linux cannot boot on this host's KVM, if it cannot: asked and measured.
fn obstacle() -> Option<String> {
    match HostReport::gather(Path::new("/dev/kvm")) {
        Ok(report) => {
            let verdict = report.verdict();
            (!verdict.linux_can_boot).then_some(verdict.reason)
        }
        Err(error) => Some(error.to_string()),
    }
}

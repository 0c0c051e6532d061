// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whose KVM a benchmark runs on.

use std::fs::File;

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// This machine.
    Kvm,
    /// The emulated machine.
    LabSvm,
}

impl Host {
    /// The hosts that a value of `--host` means.
    pub fn chosen(value: &str) -> &'static [Self] {
        match value {
            "kvm" => &[Self::Kvm],
            "lab-svm" => &[Self::LabSvm],
            _ => &[Self::Kvm, Self::LabSvm],
        }
    }

    /// The name, as on the command line and in the benchmarks' output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::LabSvm => "lab-svm",
        }
    }

    /// Why there is no KVM on it, if there is none.
    pub fn obstacle(self) -> Option<String> {
        match self {
            Self::Kvm => File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .err()
                .map(|error| format!("/dev/kvm cannot be opened: {error}")),
            // It brings its own.
            Self::LabSvm => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_what_the_others_name() {
        let names = |value| Host::chosen(value).iter().map(|host| host.name());
        assert!(names("kvm").eq(["kvm"]));
        assert!(names("lab-svm").eq(["lab-svm"]));
        assert!(names("all").eq(["kvm", "lab-svm"]));
    }
}

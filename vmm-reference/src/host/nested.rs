// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a guest can be a hypervisor that uses VMX, and what of VMX it has.

use std::fs;
use std::path::Path;

use kvm_ioctls::Kvm;
use nested_vmx::capability::{Capabilities, EptVpid, MiscFeatures, Part};
use nested_vmx::controls::{
    ExitControls, PinControls, PrimaryControls, SecondaryControls, TertiaryControls,
};
use nested_vmx::kvm::{Offered, OfferedError};

/// Where Linux shows the modules that are loaded, and their parameters.
const MODULES: &str = "/sys/module";

/// What KVM offers to a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NestedVmx {
    /// VMX, with these capabilities.
    Offered(Box<Capabilities>),
    /// None, for this reason.
    None(Missing),
    /// KVM does not tell.
    Unknown(OfferedError),
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The module has it, and was told not to offer it.
    SwitchedOff,
    /// The processor is AMD's, and guests can use SVM in its place.
    Amd,
    /// The processor is AMD's, and its module was told to offer guests nothing.
    AmdSwitchedOff,
    /// KVM has no VMX to pass on.
    NotInKvm,
}

impl Missing {
    /// The reason, and what can be done.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SwitchedOff => {
                "kvm_intel was loaded with nested=0: `modprobe -r kvm_intel` and `modprobe kvm_intel \
                 nested=1`, or boot with kvm_intel.nested=1"
            }
            Self::Amd => {
                "this is an AMD host, whose guests can use SVM; `vmm-reference --nested soft` gives them VMX \
                 in software"
            }
            Self::AmdSwitchedOff => {
                "this is an AMD host, whose guests could use SVM if kvm_amd were loaded with nested=1; \
                 `vmm-reference --nested soft` gives them VMX in software"
            }
            Self::NotInKvm => {
                "KVM has no VMX of a processor's to pass on: use an Intel host on which hardware \
                 virtualization is available, or `vmm-reference --nested soft`, which gives VMX in \
                 software"
            }
        }
    }

    fn of(modules: &Path) -> Self {
        let parameter = |module: &str| {
            let path = modules.join(module).join("parameters/nested");
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let (intel, amd) = (parameter("kvm_intel"), parameter("kvm_amd"));
        match (intel.as_deref(), amd.as_deref()) {
            (Some("N" | "0"), _) => Self::SwitchedOff,
            (None, Some("N" | "0")) => Self::AmdSwitchedOff,
            (None, Some(_)) => Self::Amd,
            _ => Self::NotInKvm,
        }
    }
}

/// The parts of VMX that matter to a hypervisor, by the SDM's names.
const FEATURES: &[(&str, Part)] = &[
    ("EPT", Part::Secondary(SecondaryControls::ENABLE_EPT)),
    ("EPT 2 MiB pages", Part::EptVpid(EptVpid::PAGE_2M)),
    ("EPT 1 GiB pages", Part::EptVpid(EptVpid::PAGE_1G)),
    (
        "EPT accessed and dirty flags",
        Part::EptVpid(EptVpid::ACCESSED_DIRTY),
    ),
    ("VPID", Part::Secondary(SecondaryControls::ENABLE_VPID)),
    (
        "unrestricted guest",
        Part::Secondary(SecondaryControls::UNRESTRICTED_GUEST),
    ),
    ("virtual NMIs", Part::Pin(PinControls::VIRTUAL_NMIS)),
    (
        "acknowledge interrupt on exit",
        Part::Exit(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT),
    ),
    ("preemption timer", Part::Pin(PinControls::PREEMPTION_TIMER)),
    (
        "MSR bitmaps",
        Part::Primary(PrimaryControls::USE_MSR_BITMAPS),
    ),
    (
        "monitor trap flag",
        Part::Primary(PrimaryControls::MONITOR_TRAP_FLAG),
    ),
    ("TPR shadow", Part::Primary(PrimaryControls::USE_TPR_SHADOW)),
    (
        "virtual-interrupt delivery",
        Part::Secondary(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY),
    ),
    (
        "posted interrupts",
        Part::Pin(PinControls::PROCESS_POSTED_INTERRUPTS),
    ),
    (
        "VMCS shadowing",
        Part::Secondary(SecondaryControls::VMCS_SHADOWING),
    ),
    (
        "page-modification logging",
        Part::Secondary(SecondaryControls::ENABLE_PML),
    ),
    (
        "TSC scaling",
        Part::Secondary(SecondaryControls::TSC_SCALING),
    ),
    (
        "VM functions",
        Part::Secondary(SecondaryControls::ENABLE_VM_FUNCTIONS),
    ),
    (
        "EPT-violation #VE",
        Part::Secondary(SecondaryControls::EPT_VIOLATION_VE),
    ),
    (
        "mode-based execute control",
        Part::Secondary(SecondaryControls::MODE_BASED_EXECUTE_CONTROL),
    ),
    ("HLAT", Part::Tertiary(TertiaryControls::ENABLE_HLAT)),
    ("activity state HLT", Part::Misc(MiscFeatures::HLT)),
    (
        "activity state shutdown",
        Part::Misc(MiscFeatures::SHUTDOWN),
    ),
    (
        "activity state wait-for-SIPI",
        Part::Misc(MiscFeatures::WAIT_FOR_SIPI),
    ),
];

impl NestedVmx {
    /// Asks.
    pub(super) fn of(kvm: &Kvm) -> Self {
        Self::from_offered(Offered::of(kvm), Path::new(MODULES))
    }

    fn from_offered(offered: Result<Offered, OfferedError>, modules: &Path) -> Self {
        match offered {
            Ok(offered) if offered.vmx_in_cpuid => Self::Offered(Box::new(offered.capabilities)),
            Ok(_) => Self::None(Missing::of(modules)),
            Err(error) => Self::Unknown(error),
        }
    }

    /// Whether a guest can use VMX, if that is known.
    pub const fn is_offered(&self) -> Option<bool> {
        match self {
            Self::Offered(_) => Some(true),
            Self::None(_) => Some(false),
            Self::Unknown(_) => None,
        }
    }

    /// One line.
    pub fn summary(&self) -> String {
        match self {
            Self::Offered(capabilities) => {
                let revision = capabilities.basic.revision();
                format!("offered to guests, VMCS revision {revision:#x}")
            }
            Self::None(missing) => format!("none: {}", missing.reason()),
            Self::Unknown(error) => format!("unknown: {error}"),
        }
    }

    /// The names of the features that a guest has, or that it lacks.
    pub fn features(&self, offered: bool) -> Vec<&'static str> {
        let Self::Offered(capabilities) = self else {
            return Vec::new();
        };
        FEATURES
            .iter()
            .filter(|(_, part)| (part.had_by(capabilities) != 0) == offered)
            .map(|(name, _)| *name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::{CpuId, kvm_cpuid_entry2};
    use nested_vmx::capability::Processor;
    use nested_vmx::kvm::Errno;
    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    fn modules(module: &str, nested: &str) -> TempDir {
        let modules = TempDir::new().unwrap();
        let parameters = modules.as_path().join(module).join("parameters");
        fs::create_dir_all(&parameters).unwrap();
        fs::write(parameters.join("nested"), nested).unwrap();
        modules
    }

    fn none(modules: &TempDir) -> NestedVmx {
        let cpuid = CpuId::from_entries(&[]).unwrap();
        NestedVmx::from_offered(Ok(Offered::from_parts(&cpuid, [])), modules.as_path())
    }

    #[test]
    fn the_reason_is_found_where_linux_shows_it() {
        let reasons = [
            ("kvm_intel", "N\n", Missing::SwitchedOff),
            ("kvm_intel", "0\n", Missing::SwitchedOff),
            ("kvm_intel", "Y\n", Missing::NotInKvm),
            ("kvm_amd", "1\n", Missing::Amd),
            ("kvm_amd", "0\n", Missing::AmdSwitchedOff),
            ("kvm", "1\n", Missing::NotInKvm),
        ];
        for (module, nested, missing) in reasons {
            let found = none(&modules(module, nested));
            assert_eq!(found, NestedVmx::None(missing), "{module} {nested}");
            assert!(found.summary().starts_with("none: "), "{found:?}");
            assert!(found.features(true).is_empty() && found.features(false).is_empty());
        }
    }

    #[test]
    fn a_kvm_that_cannot_be_asked_is_named() {
        for (error, name) in [
            (OfferedError::Errno(Errno::EINVAL), "EINVAL"),
            (OfferedError::Msr(0x480), "0x480"),
        ] {
            let found = NestedVmx::from_offered(Err(error), Path::new("/"));
            assert!(found.summary().contains(name), "{}", found.summary());
            assert_eq!(found.is_offered(), None);
        }
    }

    #[test]
    fn each_feature_is_offered_or_not() {
        let vmx = kvm_cpuid_entry2 {
            function: 1,
            ecx: 1 << 5,
            ..Default::default()
        };
        let cpuid = CpuId::from_entries(&[vmx]).unwrap();
        let bare = NestedVmx::from_offered(Ok(Offered::from_parts(&cpuid, [])), Path::new("/"));
        assert_eq!(bare.is_offered(), Some(true));
        assert_eq!(bare.features(true), [""; 0]);
        assert_eq!(bare.features(false).len(), FEATURES.len());

        let full = NestedVmx::Offered(Box::new(Capabilities::software(Processor::new(46))));
        let (has, lacks) = (full.features(true), full.features(false));
        assert!(
            has.contains(&"EPT") && has.contains(&"virtual NMIs"),
            "{has:?}"
        );
        assert_eq!(has.len() + lacks.len(), FEATURES.len());
        assert!(full.summary().contains("0x11e57ed0"), "{}", full.summary());
    }
}

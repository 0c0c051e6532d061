// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `/dev/kvm`: opened, and checked for what the VMM needs of it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kvm_ioctls::{Cap, Kvm};
use thiserror::Error;
use vmm_sys_util::errno;

/// Where KVM is found.
pub const KVM_PATH: &str = "/dev/kvm";

/// The only version of KVM's API that there has been since Linux 2.6.22 (`api.rst`, 4.1): whoever
/// gets another one is to stop.
pub const API_VERSION: i32 = 12;

/// Why KVM cannot be used. Each tells what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KvmError {
    /// There is none.
    #[error(
        "{path} does not exist: load KVM's module (`modprobe kvm_intel` or `modprobe kvm_amd`), \
         enable virtualization in the firmware, or, in a virtual machine, enable nesting on its host"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The user may not use it.
    #[error(
        "no permission to open {path}: join the group that owns it (often `sudo usermod -aG kvm \
         $USER`, then log in again) or run as root"
    )]
    Permission {
        /// The device.
        path: PathBuf,
    },
    /// It cannot be opened for another reason.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The device.
        path: PathBuf,
        /// What `open` returned.
        source: errno::Error,
    },
    /// It is something else.
    #[error("{path} is not KVM: it does not answer KVM_GET_API_VERSION")]
    NotKvm {
        /// The device.
        path: PathBuf,
    },
    /// Its API is another one.
    #[error(
        "{path} has KVM API version {found}, but version {API_VERSION} is needed: boot a current \
         Linux kernel"
    )]
    ApiVersion {
        /// The device.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// Something that the VMM needs is not there.
    #[error("{path} lacks {missing}, which this VMM needs: boot a current Linux kernel")]
    Lacks {
        /// The device.
        path: PathBuf,
        /// The names of the capabilities, with commas.
        missing: String,
    },
}

/// Something that KVM can or cannot do.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// Its number for KVM_CHECK_EXTENSION.
    pub cap: Cap,
    /// Its name in KVM's API, without KVM_CAP_, in lower case.
    pub name: &'static str,
    /// Whether the VMM cannot do without it.
    pub required: bool,
}

const fn required(cap: Cap, name: &'static str) -> Capability {
    Capability {
        cap,
        name,
        required: true,
    }
}

const fn useful(cap: Cap, name: &'static str) -> Capability {
    Capability {
        cap,
        name,
        required: false,
    }
}

/// The capabilities that the workspace's crates use.
pub const CAPABILITIES: &[Capability] = &[
    required(Cap::UserMemory, "user_memory"),
    required(Cap::SetTssAddr, "set_tss_addr"),
    required(Cap::SetIdentityMapAddr, "set_identity_map_addr"),
    required(Cap::ExtCpuid, "ext_cpuid"),
    required(Cap::Irqchip, "irqchip"),
    required(Cap::Pit2, "pit2"),
    required(Cap::Irqfd, "irqfd"),
    required(Cap::MpState, "mp_state"),
    required(Cap::ImmediateExit, "immediate_exit"),
    useful(Cap::Ioeventfd, "ioeventfd"),
    useful(Cap::GetTscKhz, "get_tsc_khz"),
    useful(Cap::TscControl, "tsc_control"),
    useful(Cap::TscDeadlineTimer, "tsc_deadline_timer"),
    useful(Cap::SplitIrqchip, "split_irqchip"),
    useful(Cap::SetGuestDebug, "set_guest_debug"),
    useful(Cap::NestedState, "nested_state"),
    useful(Cap::Xsave2, "xsave2"),
    useful(Cap::X86UserSpaceMsr, "x86_user_space_msr"),
];

/// Opens KVM at `path` and checks that the VMM can use it.
///
/// # Errors
/// [`KvmError`].
pub fn open(path: &Path) -> Result<Kvm, KvmError> {
    let kvm = open_unchecked(path)?;
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|capability| capability.required && !kvm.check_extension(capability.cap))
        .map(|capability| capability.name)
        .collect();
    if missing.is_empty() {
        return Ok(kvm);
    }
    Err(KvmError::Lacks {
        path: path.to_owned(),
        missing: missing.join(", "),
    })
}

/// Opens KVM at `path`, whatever it is capable of.
///
/// # Errors
/// [`KvmError`], but never [`KvmError::Lacks`].
pub fn open_unchecked(path: &Path) -> Result<Kvm, KvmError> {
    let open_error = |source: errno::Error| {
        let path = path.to_owned();
        match source.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmError::Missing { path },
            libc::EACCES | libc::EPERM => KvmError::Permission { path },
            _ => KvmError::Open { path, source },
        }
    };
    let c_path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| open_error(errno::Error::new(libc::ENOENT)))?;
    let kvm = Kvm::new_with_path(&c_path).map_err(open_error)?;
    check_api_version(path, kvm.get_api_version())?;
    Ok(kvm)
}

fn check_api_version(path: &Path, found: i32) -> Result<(), KvmError> {
    let path = path.to_owned();
    match found {
        API_VERSION => Ok(()),
        ..0 => Err(KvmError::NotKvm { path }),
        _ => Err(KvmError::ApiVersion { path, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &str) -> String {
        open(Path::new(path)).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_told_in_one_line_with_a_remedy() {
        let missing = message("/dev/no-such-kvm");
        assert!(
            missing.starts_with("/dev/no-such-kvm does not exist: "),
            "{missing}"
        );
        assert_eq!(
            message("/dev/null"),
            "/dev/null is not KVM: it does not answer KVM_GET_API_VERSION"
        );
        assert!(message("/dev").starts_with("cannot open /dev: "));
        let old = check_api_version(Path::new(KVM_PATH), 11)
            .unwrap_err()
            .to_string();
        assert!(
            old.contains("API version 11, but version 12 is needed"),
            "{old}"
        );
        for line in [missing, old] {
            assert!(!line.contains('\n'), "{line}");
        }
    }
}

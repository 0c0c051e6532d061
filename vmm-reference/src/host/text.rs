// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report as text: one line for each finding, with how it was found, and a closing sentence.

use std::fmt::{self, Display, Formatter};
use std::io;

use super::{HostReport, ProbeError, Ran, Speed, Works, mechanisms};
use crate::kvm_device::CAPABILITIES;

impl Display for HostReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        asked(f, "API version", &self.api_version)?;
        asked(f, "vCPUs of a VM, at most", &self.max_vcpus)?;
        asked(f, "vCPUs of a VM, recommended", &self.recommended_vcpus)?;
        for (capability, (name, value)) in CAPABILITIES.iter().zip(&self.capabilities) {
            let found = match (*value > 0, capability.required) {
                (true, _) => "yes",
                (false, true) => "no, and this VMM needs it",
                (false, false) => "no",
            };
            asked(f, &format!("capability {name}"), &found)?;
        }
        match self.nested_state {
            Some(size) => asked(f, "nested state", &format_args!("at most {size} bytes"))?,
            None => asked(f, "nested state", &"none")?,
        }
        asked(f, "nested VMX", &self.nested_vmx.summary())?;
        if self.nested_vmx.is_offered() == Some(true) {
            let list = |offered| match &*self.nested_vmx.features(offered) {
                [] => "nothing".to_owned(),
                features => features.join(", "),
            };
            asked(f, "nested VMX has", &list(true))?;
            asked(f, "nested VMX lacks", &list(false))?;
        }
        measured(f, "ring-0 instruction", &self.speed)?;
        for (name, ran) in &self.instructions {
            measured(f, &format!("ring-0 {name}"), ran)?;
        }
        measured(f, "single step", &self.single_step)?;
        measured(f, "skip flag (run->immediate_exit)", &self.immediate_exit)?;
        match &self.mechanisms {
            Ok(found) => {
                for (title, line) in mechanisms::lines(found) {
                    measured::<_, ProbeError>(f, &title, &Ok(line))?;
                }
                let strongest = mechanisms::strongest(found);
                measured::<_, ProbeError>(f, "strongest for an immediate exit", &Ok(strongest))?;
            }
            Err(error) => measured::<&str, _>(f, "immediate exit", &Err(error))?,
        }
        f.write_str(&self.verdict().sentence())
    }
}

fn asked(f: &mut Formatter<'_>, what: &str, found: &dyn Display) -> fmt::Result {
    writeln!(f, "asked     {what:<34} {found}")
}

fn measured<T: Display, E: Display>(
    f: &mut Formatter<'_>,
    what: &str,
    found: &Result<T, E>,
) -> fmt::Result {
    match found {
        Ok(found) => writeln!(f, "measured  {what:<34} {found}"),
        Err(error) => writeln!(f, "failed    {what:<34} {error}"),
    }
}

impl Display for Speed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let conclusion = if self.is_native() {
            "guest kernels run natively"
        } else {
            "KVM emulates guest kernels"
        };
        write!(
            f,
            "{:.1} ns, {:.1} times the host's own {:.2} ns: {conclusion}",
            self.guest_ns,
            self.ratio(),
            self.host_ns
        )
    }
}

impl Display for Ran {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "runs",
            Self::InternalError => "ends the VM (KVM_EXIT_INTERNAL_ERROR)",
            Self::Exception => "raises an exception",
            Self::NotInProcessor => "not tried: the processor lacks it",
        })
    }
}

impl Display for Works {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("works"),
            Self::Refused(errno) => {
                write!(f, "refused: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::No { exit, progress } => {
                write!(
                    f,
                    "does not work: {exit} after {progress} one-byte instructions"
                )
            }
        }
    }
}

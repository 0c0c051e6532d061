// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask traces`: runs `guest/l1` on bochs as a bare machine, where the processor itself is the
//! judge; under the reference VMM on Linux's nested KVM; and where the reference VMM gives it VMX in
//! software, on a KVM without. It compares what the guest prints.

mod report;
mod run;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use guest_l1::known::{self, Comparison};

use crate::error::Error;
use crate::lab::{self, Machine};
use crate::store::Store;
use crate::workspace::Workspace;

const KVM: &str = "/dev/kvm";

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the traces are written, if not under the target directory.
    pub save: Option<PathBuf>,
    /// How long each of the machines may take.
    pub timeout: Duration,
}

/// Runs it everywhere, and returns 0 if all that differs is known.
pub fn command(options: Options) -> Result<u8, Error> {
    lab::prepare_host(Machine::Vmx)?;
    lab::prepare_host(Machine::Svm)?;
    let workspace = Workspace::find()?;
    let directory = options
        .save
        .unwrap_or_else(|| workspace.target.join("xtask-traces"));
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let limit = options.timeout;
    let vmm = run::vmm(&workspace)?;
    let store = || Store::open(&workspace.target);
    let keep = |name: &str, of: &'static str, text: String| {
        let path = directory.join(name);
        fs::write(&path, &text).map_err(Error::file("write", &path))?;
        run::parse(of, &text)
    };

    let bochs = keep("bochs.txt", "bochs", run::on_bochs(limit)?)?;
    let text = run::on_linux(&workspace, store()?, &vmm, limit)?;
    let linux = keep("linux.txt", "Linux's KVM", text)?;
    let text = run::in_software_on_svm(&workspace, store()?, &vmm, limit)?;
    let software = keep("software-svm.txt", "VMX in software (lab svm)", text)?;

    let mut as_known = true;
    let mut show = |first: &'static str, second: &'static str, comparison: &Comparison| {
        println!("{first} (-) and {second} (+):");
        print!("{}", report::text(comparison));
        as_known &= comparison.is_as_known();
    };
    show("bochs", "Linux's KVM", &Comparison::new(&bochs, &linux));
    for (name, machine, trace) in [
        ("bochs", known::Machine::Bochs, &bochs),
        ("Linux's KVM", known::Machine::LinuxOnBochs, &linux),
    ] {
        let comparison = Comparison::with_software(machine, trace, &software);
        show(name, "VMX in software (lab svm)", &comparison);
    }
    match fs::metadata(KVM) {
        Ok(_) => {
            let text = run::in_software_here(&vmm, limit)?;
            let here = keep("software.txt", "VMX in software (this host)", text)?;
            let comparison = Comparison::alike(&software, &here);
            show("VMX in software: lab svm", "this host", &comparison);
        }
        Err(error) => println!("SKIPPED: VMX in software on this host: {KVM}: {error}"),
    }
    println!("the traces are in {}", directory.display());
    Ok(u8::from(!as_known))
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The stages that run in the emulated machines: a table, and how an entry becomes a stage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stage::{Stage, Step};
use crate::error::Error;
use crate::process;
use crate::workspace::Workspace;

/// What a stage runs in a machine.
#[derive(Clone, Debug)]
struct Entry {
    /// The name of the stage.
    name: &'static str,
    /// `svm` or `vmx`.
    machine: &'static str,
    /// The profile that the programs are built with: `dev`, or `lab`, which is quicker there.
    profile: &'static str,
    /// What is built for it: package, kind (`test`, `bin`, `example`) and name.
    programs: &'static [(&'static str, &'static str, &'static str)],
    /// Other files for it, or directories, by their paths in the workspace.
    files: &'static [&'static str],
    /// Options of `cargo xtask lab`.
    options: Vec<&'static str>,
    /// The shell commands that are run, in a directory with the programs and files under their
    /// names. The first that fails fails the stage.
    script: &'static str,
}

/// On the machine's one CPU, where the guest and who kicks it take turns, a kick waits for the next
/// tick; the 100,000 are for the host's own KVM. (With two CPUs the machine was seen to stand still
/// while VMs come and go. Why is not known.)
const KICKS: &str = "VCPU_RUNNER_KICKS=2000";

/// Bochs is ten times slower again.
const FEW_KICKS: &str = "VCPU_RUNNER_KICKS=300";

/// The host's own KVM has the 10,000.
const SOFT_EVENTS: &str = "NESTED_SOFT_STORM_EVENTS=2000";

/// Seconds that a stage may take in the machine.
const SECONDS: &str = "900";

/// The table. `mixture` says for how long mixtures of immediate exits with everything else go on.
fn entries(mixture: &'static str) -> Vec<Entry> {
    vec![
        Entry {
            name: "lab svm: the runner's tests on its KVM",
            machine: "svm",
            profile: "dev",
            programs: &[("vcpu-runner", "test", "kvm")],
            files: &[],
            options: vec!["--env", KICKS],
            script: "./kvm --show-output --test-threads=1",
        },
        Entry {
            name: "lab svm: immediate exits on its KVM",
            machine: "svm",
            profile: "dev",
            programs: &[("vcpu-runner", "test", "immediate_exit")],
            files: &[],
            // A timer is one of the mechanisms.
            options: vec!["--timers", "highres", "--env", mixture],
            script: "./immediate_exit --show-output --test-threads=1",
        },
        Entry {
            name: "lab svm: VMX in software, events at random",
            machine: "svm",
            profile: "lab",
            programs: &[("vmm-reference", "test", "nested")],
            files: &[],
            options: vec!["--env", SOFT_EVENTS],
            script: "./nested soft::events --show-output --test-threads=1",
        },
        Entry {
            name: "lab svm: VMX in software, hostile L1s",
            machine: "svm",
            profile: "lab",
            programs: &[
                ("vmm-reference", "bin", "vmm-reference"),
                ("vmm-reference", "test", "nested_soft"),
            ],
            files: &[],
            options: vec![],
            // Three kinds stop QEMU's processor for good: see docs/lab.md.
            script: "VMM_REFERENCE=$PWD/vmm-reference ./nested_soft --show-output --test-threads=1 \
                     --skip unrestricted --skip page_tables --skip no_memory_at_all",
        },
        Entry {
            name: "lab vmx: its KVM offers nested VMX",
            machine: "vmx",
            profile: "lab",
            programs: &[],
            files: &[],
            options: vec![],
            script: "test -c /dev/kvm\ngrep Y /sys/module/kvm_intel/parameters/nested",
        },
        Entry {
            name: "lab vmx: the runner's tests on its KVM",
            machine: "vmx",
            profile: "lab",
            programs: &[
                ("vcpu-runner", "test", "kvm"),
                ("vcpu-runner", "test", "immediate_exit"),
            ],
            files: &[],
            options: vec!["--env", FEW_KICKS],
            // Most tests of immediate exits have a guest run with interrupts off, which cannot be
            // left there: see docs/lab.md.
            script: "./kvm --show-output --test-threads=1\n\
                     ./immediate_exit --show-output --test-threads=1 refusals::",
        },
        Entry {
            name: "lab vmx: nested states, judged and set",
            machine: "vmx",
            profile: "lab",
            programs: &[("nested-vmx", "test", "kvm_nested_state")],
            files: &[],
            options: vec![],
            script: "./kvm_nested_state --show-output --test-threads=1",
        },
        Entry {
            name: "lab vmx: events and moves of a nested guest",
            machine: "vmx",
            profile: "lab",
            programs: &[("vmm-reference", "test", "nested")],
            files: &[],
            options: vec![],
            // With VMX in software it runs elsewhere: bochs would take hours.
            script: "./nested --show-output --test-threads=1 --skip soft::",
        },
    ]
}

/// The stages.
pub fn stages(workspace: &Workspace, mixture: &'static str) -> impl Iterator<Item = Stage> {
    let entries = entries(mixture).into_iter();
    entries.map(|entry| entry.stage(workspace.clone()))
}

impl Entry {
    fn stage(self, workspace: Workspace) -> Stage {
        let name = self.name;
        let run: Step = Box::new(move || {
            let directory = self.pack(&workspace)?;
            Ok(self.command(&directory))
        });
        Stage::prepared(name, vec![run])
    }

    /// Builds the programs and puts them into a directory, with the files.
    fn pack(&self, workspace: &Workspace) -> Result<PathBuf, Error> {
        let directory = workspace.target.join("xtask-lab").join(self.slug());
        // What an earlier run has left is not to be taken for this one's.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
        for &(package, kind, name) in self.programs {
            let program = workspace.build_one(&self.build(package, kind, name), name)?;
            copy(&program, &directory.join(name))?;
        }
        for file in self.files {
            let source = workspace.root.join(file);
            copy(
                &source,
                &directory.join(source.file_name().unwrap_or_default()),
            )?;
        }
        Ok(directory)
    }

    /// The name of the stage, as that of a directory.
    fn slug(&self) -> String {
        let words = self.name.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    }

    /// What cargo is asked for a program.
    fn build<'a>(&'a self, package: &'a str, kind: &str, name: &'a str) -> Vec<&'a str> {
        let (command, kind): (&[_], _) = match kind {
            "test" => (&["test", "--no-run"], "--test"),
            "bin" => (&["build"], "--bin"),
            _ => (&["build"], "--example"),
        };
        let what = ["--profile", self.profile, "--package", package, kind, name];
        command.iter().copied().chain(what).collect()
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(process::OURSELVES);
        command.args(["lab", self.machine, "--timeout", SECONDS, "--dir"]);
        command.arg(directory).args(&self.options);
        command.args(["--", "sh", "-e", "-c", self.script]);
        command
    }
}

/// Copies a file, or a directory with all that is in it.
fn copy(source: &Path, path: &Path) -> Result<(), Error> {
    if !source.is_dir() {
        let copied = fs::copy(source, path).map(drop);
        return copied.map_err(Error::file("copy", source));
    }
    fs::create_dir_all(path).map_err(Error::file("create", path))?;
    for entry in fs::read_dir(source).map_err(Error::file("read", source))? {
        let entry = entry.map_err(Error::file("read", source))?;
        copy(&entry.path(), &path.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scratch;
    use crate::test::report::NAME_WIDTH;

    #[test]
    fn names_fit_and_tell_the_stages_apart() {
        let mut slugs: Vec<_> = entries("A=1").iter().map(Entry::slug).collect();
        assert!(slugs.contains(&"lab-svm-immediate-exits-on-its-KVM".to_owned()));
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), entries("A=1").len());
        assert!(entries("A=1").iter().all(|it| it.name.len() <= NAME_WIDTH));
    }

    #[test]
    fn programs_and_files_are_there() {
        let workspace = Workspace::find().unwrap();
        for entry in entries("A=1") {
            for &(package, kind, name) in entry.programs {
                let mut packages = workspace.packages.iter();
                let package = packages.find(|it| it.name == package).unwrap();
                let target = (kind.to_owned(), name.to_owned());
                assert!(package.targets.contains(&target), "{target:?}");
            }
            for file in entry.files {
                assert!(workspace.root.join(file).exists(), "{file}");
            }
        }
    }

    #[test]
    fn a_stage_is_a_command_line() {
        let entry = Entry {
            files: &[],
            ..entries("A=1").swap_remove(1)
        };
        let command = entry.command(Path::new("/d"));
        let words: Vec<_> = command.get_args().map(|it| it.to_str().unwrap()).collect();
        let line = words.join(" ");
        assert!(
            line.starts_with("lab svm --timeout 900 --dir /d --timers highres --env A=1 -- sh")
        );
        let build = entry.build("vcpu-runner", "test", "kvm").join(" ");
        assert_eq!(
            build,
            "test --no-run --profile dev --package vcpu-runner --test kvm"
        );
    }

    #[test]
    fn directories_are_copied_whole() {
        let scratch = Scratch::new().unwrap();
        fs::create_dir_all(scratch.path("a/b")).unwrap();
        fs::write(scratch.path("a/b/c"), "x").unwrap();
        copy(&scratch.path("a"), &scratch.path("d")).unwrap();
        assert_eq!(fs::read(scratch.path("d/b/c")).unwrap(), b"x");
        let error = copy(&scratch.path("no"), &scratch.path("e")).unwrap_err();
        assert!(error.to_string().starts_with("cannot copy "), "{error}");
    }
}

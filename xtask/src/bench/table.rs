// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The benchmarks that there are.

use crate::debian;

/// A benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// What the command line calls it.
    pub name: &'static str,
    /// Whose it is.
    pub package: &'static str,
    /// What cargo calls it.
    pub target: &'static str,
    /// What it runs on.
    pub needs: Needs,
    /// Programs that it calls, and the Debian packages that hold them.
    pub programs: &'static [debian::Needed],
    /// Who wrote its frame, and so what its options are.
    pub frame: Frame,
}

/// What a benchmark runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// KVM, so each host has figures of its own.
    Kvm,
    /// Nothing: it runs on this machine, once.
    Nothing,
}

/// Whose options a benchmark takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `--json`, `--quick`, `--host NAME`.
    Own,
    /// Criterion's.
    Criterion,
}

/// A benchmark on KVM, of the runner's.
const fn on_kvm(name: &'static str, target: &'static str) -> Benchmark {
    Benchmark {
        name,
        package: "vcpu-runner",
        target,
        needs: Needs::Kvm,
        programs: &[],
        frame: Frame::Own,
    }
}

/// All of them. One more benchmark is one more row.
pub const ALL: [Benchmark; 8] = [
    on_kvm("immediate-exit", "immediate_exit"),
    on_kvm("kick", "kick"),
    on_kvm("pause", "pause"),
    on_kvm("exit", "exit"),
    Benchmark {
        needs: Needs::Nothing,
        programs: &[("valgrind", "valgrind")],
        ..on_kvm("entry", "entry")
    },
    Benchmark {
        package: "vmm-reference",
        ..on_kvm("nested-soft", "nested_soft")
    },
    Benchmark {
        name: "requests",
        package: "vcpu-requests",
        target: "requests",
        needs: Needs::Nothing,
        programs: &[],
        frame: Frame::Criterion,
    },
    Benchmark {
        name: "nested-vmx",
        package: "nested-vmx",
        target: "nested_vmx",
        needs: Needs::Nothing,
        programs: &[],
        frame: Frame::Criterion,
    },
];

/// The benchmarks' names.
pub fn names() -> [&'static str; ALL.len()] {
    ALL.map(|benchmark| benchmark.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn each_row_is_a_benchmark_that_cargo_knows() {
        let workspace = Workspace::find().unwrap();
        for Benchmark {
            package, target, ..
        } in ALL
        {
            let mut packages = workspace.packages.iter();
            let package = packages.find(|found| found.name == package).unwrap();
            let wanted = ("bench".to_owned(), target.to_owned());
            assert!(package.targets.contains(&wanted), "{wanted:?}");
        }
        assert_eq!(BTreeSet::from(names()).len(), ALL.len());
    }
}

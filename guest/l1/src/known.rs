// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the machines that the guest runs on are known to differ from the SDM, so that their traces
//! cannot be the same.

use crate::trace::{Difference, Trace, differences};

/// A machine that the guest runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Bochs 2.7 without anything else on it: its processor model is the judge.
    Bochs,
    /// Linux 6.1's KVM, for which bochs 2.7 is the processor.
    LinuxOnBochs,
}

/// Something that a machine does otherwise than the SDM says.
#[derive(Clone, Copy, Debug)]
pub struct Defect {
    /// Whose it is.
    pub machine: Machine,
    /// What is wrong.
    pub what: &'static str,
    /// Whether the scenario with this name shows it.
    pub shows: fn(&str) -> bool,
}

/// All that are known. Which of several a scenario shows first is said by the first of them.
pub const DEFECTS: &[Defect] = &[
    Defect {
        machine: Machine::Bochs,
        what: "a VM entry does not end the blocking of NMIs that is left from L1's handler or from \
               an earlier L2: an NMI that waits stays blocked, and later exits save blocking by NMI \
               (which Linux's KVM, on this processor, hands on)",
        shows: |name| {
            name.contains("an NMI waits") && !name.starts_with("L2 sends")
                || name == "NMI window, injected NMI; an interrupt waits, acknowledged on exit"
        },
    },
    Defect {
        machine: Machine::Bochs,
        what: "an exit for an NMI that comes while L2 runs saves the blocking by this very NMI",
        shows: |name| name.starts_with("L2 sends an NMI"),
    },
    Defect {
        machine: Machine::Bochs,
        what: "INIT is lost in VMX root operation; one that comes while L2 runs is never taken back, \
               and makes each later entry exit",
        shows: |name| name.contains("INIT waits"),
    },
    Defect {
        machine: Machine::Bochs,
        what: "an interrupt causes no exit while L2's IF is 0 from VM entry on",
        shows: |name| {
            name.contains("; an interrupt")
                && (name.starts_with("IF off; ")
                    || name.starts_with("IF off, blocking by MOV SS")
                    || name.starts_with("IF off in L1, off in L2, no injection")
                    || name.starts_with("interrupt window, IF off")
                    || name.starts_with("halted, IF off")
                    || name.starts_with("HLT, IF off")
                    || name.starts_with("preemption timer 0, injected"))
        },
    },
    Defect {
        machine: Machine::Bochs,
        what: "an exit for an interrupt or a window that ends HLT saves the activity state active",
        shows: |name| {
            name.starts_with("halted; an interrupt")
                || name.starts_with("interrupt window, halted; an interrupt waits")
                || name.starts_with("HLT, IF on; an interrupt")
        },
    },
    Defect {
        machine: Machine::Bochs,
        what: "an open interrupt window does not end HLT",
        shows: |name| name == "interrupt window, halted",
    },
    Defect {
        machine: Machine::LinuxOnBochs,
        what: "interrupts that wait for L1 go before interrupt windows and NMI windows, since KVM \
               looks at them before it enters L2",
        shows: |name| {
            name.contains("an interrupt waits")
                && (name.starts_with("interrupt window")
                    || name.starts_with("NMI window")
                    || name.starts_with("both windows"))
        },
    },
    Defect {
        machine: Machine::LinuxOnBochs,
        what: "an exit for an EPT misconfiguration has an exit qualification, and does not save the \
               blocking by an NMI that was being delivered",
        shows: |name| name.starts_with("EPT with a wrong entry"),
    },
];

/// Whether bochs 2.7 never comes back from the scenario, or cannot run another after it.
pub fn hangs_bochs(name: &str) -> bool {
    HANG_BOCHS.contains(&name)
}

/// Those of bochs's defects by which L2 waits for ever for what ought to end it.
const HANG_BOCHS: &[&str] = &[
    "L2 sends INIT; INIT waits",
    "L2 sends INIT; INIT waits; injected interrupt before",
    "halted, IF off; an interrupt waits",
    "halted, IF off; an interrupt waits, acknowledged on exit",
    "halted; an NMI waits",
    "halted, IF off; an NMI waits",
    "halted; an NMI waits, virtual NMIs",
    "halted, IF off; an NMI waits, virtual NMIs",
    "halted; INIT waits",
    "halted, IF off; INIT waits",
    "shutdown; an NMI waits",
    "shutdown; an NMI waits, virtual NMIs",
    "shutdown; INIT waits",
    "interrupt window, halted",
    "interrupt window, halted; an NMI waits, virtual NMIs",
    "HLT, IF off; an interrupt comes later",
    "HLT, IF off; an interrupt comes later, acknowledged on exit",
];

/// How the traces of two machines compare.
#[derive(Debug, Default)]
pub struct Comparison {
    /// How many scenarios came out the same.
    pub same: usize,
    /// Those that one of the machines left out, for want of a feature or to come to its end.
    pub skipped: Vec<String>,
    /// Those that differ by a known defect.
    pub known: Vec<(Difference, Defect)>,
    /// Those that differ for no known reason.
    pub unknown: Vec<Difference>,
    /// Defects that no scenario shows any more.
    pub stale: Vec<Defect>,
}

impl Comparison {
    /// Compares the traces of bochs and of Linux's KVM on it.
    pub fn new(bochs: &Trace, linux: &Trace) -> Self {
        Self::explained_by(bochs, linux, DEFECTS)
    }

    /// Compares the trace of one of the machines with that of VMX in software, of which no defect is
    /// known. Linux's KVM shows those of its processor too, not all of them: so none is stale.
    pub fn with_software(machine: Machine, trace: &Trace, software: &Trace) -> Self {
        let defects: Vec<_> = DEFECTS
            .iter()
            .filter(|defect| defect.machine == Machine::Bochs || defect.machine == machine)
            .copied()
            .collect();
        Self {
            stale: Vec::new(),
            ..Self::explained_by(trace, software, &defects)
        }
    }

    /// Compares two traces that have no reason to differ.
    pub fn alike(first: &Trace, second: &Trace) -> Self {
        Self::explained_by(first, second, &[])
    }

    fn explained_by(first: &Trace, second: &Trace, defects: &[Defect]) -> Self {
        let skips = |trace: &Trace, name: &str| {
            trace
                .outcome(name)
                .is_some_and(|outcome| outcome.is_skipped())
        };
        let mut comparison = Self {
            same: first.scenarios.len(),
            stale: defects.to_vec(),
            ..Self::default()
        };
        for difference in differences(first, second) {
            if first.outcome(&difference.name).is_some() {
                comparison.same -= 1;
            }
            let name = &difference.name;
            let defect = defects.iter().find(|defect| (defect.shows)(name)).copied();
            if let Some(defect) = defect {
                comparison.stale.retain(|stale| stale.what != defect.what);
            }
            if skips(first, name) || skips(second, name) {
                comparison.skipped.push(difference.name);
            } else if let Some(defect) = defect {
                comparison.known.push((difference, defect));
            } else {
                comparison.unknown.push(difference);
            }
        }
        comparison
    }

    /// Whether all that differs is accounted for, and all accounts are needed.
    pub fn is_as_known(&self) -> bool {
        self.unknown.is_empty() && self.stale.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    #[test]
    fn what_hangs_bochs_is_a_scenario_and_a_defect_of_bochs() {
        let all = scenarios::all();
        for name in HANG_BOCHS {
            assert!(all.iter().any(|scenario| scenario.name == *name), "{name}");
            let is_known = DEFECTS
                .iter()
                .any(|defect| defect.machine == Machine::Bochs && (defect.shows)(name));
            assert!(is_known, "{name}");
        }
    }

    #[test]
    fn each_defect_is_shown_by_a_scenario() {
        let all = scenarios::all();
        for defect in DEFECTS {
            let is_shown = all.iter().any(|scenario| (defect.shows)(&scenario.name));
            assert!(is_shown, "{}", defect.what);
        }
    }

    fn trace(text: &str) -> Trace {
        Trace::parse(text).unwrap()
    }

    #[test]
    fn a_defect_of_one_machine_explains_nothing_of_another() {
        let name = "interrupt window, no injection; an interrupt waits";
        let linux = DEFECTS
            .iter()
            .find(|defect| defect.machine == Machine::LinuxOnBochs && (defect.shows)(name));
        assert!(linux.is_some());
        let (first, second) = (
            trace(&format!("scenario {name}\n  x\ndone\n")),
            trace(&format!("scenario {name}\n  y\ndone\n")),
        );
        let with = |machine| Comparison::with_software(machine, &first, &second);
        assert_eq!(with(Machine::Bochs).unknown.len(), 1);
        assert_eq!(with(Machine::LinuxOnBochs).known.len(), 1);
        assert!(with(Machine::LinuxOnBochs).is_as_known());
        assert_eq!(Comparison::alike(&first, &second).unknown.len(), 1);
        assert!(Comparison::alike(&first, &first).is_as_known());
    }

    #[test]
    fn a_difference_is_known_skipped_or_unknown() {
        let bochs = trace(
            "scenario a\n  x\nscenario b\n  y\nscenario c\n  skipped: s\n\
             scenario interrupt window, halted\n  y\ndone\n",
        );
        let linux = trace(
            "scenario a\n  x\nscenario b\n  z\nscenario c\n  t\n\
             scenario interrupt window, halted\n  z\ndone\n",
        );
        let comparison = Comparison::new(&bochs, &linux);
        assert_eq!(comparison.same, 1);
        assert_eq!(comparison.skipped, ["c"]);
        assert_eq!(comparison.known.len(), 1);
        assert_eq!(comparison.unknown.len(), 1);
        assert_eq!(comparison.unknown[0].name, "b");
        assert_eq!(comparison.stale.len(), DEFECTS.len() - 1);
        assert!(!comparison.is_as_known());
    }
}

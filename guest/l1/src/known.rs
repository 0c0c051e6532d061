// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the machines that the guest runs on are known to differ from the SDM.

/// Whether bochs 2.7 never comes back from the scenario.
pub fn hangs_bochs(name: &str) -> bool {
    HANG_BOCHS.contains(&name)
}

/// Bochs 2.7 does not take an interrupt for an exit while L2's IF is 0; it loses an INIT that comes
/// in VMX root operation, and leaves NMIs blocked at VM entry if L1's handler for one is running.
const HANG_BOCHS: &[&str] = &[
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

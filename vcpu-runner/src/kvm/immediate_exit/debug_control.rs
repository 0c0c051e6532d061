// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM_SET_GUEST_DEBUG for two: what the user debugs, and what an immediate exit adds for one entry.

use kvm_bindings::{
    KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_INJECT_DB,
    KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, kvm_guest_debug,
};

use super::mechanism::{Owner, Unmet};
use crate::DebugExit;

/// Debug registers that hold an address.
const SLOTS: usize = 4;
/// DR7: bit 10 is always 1, bit 9 asks for exact breakpoints (SDM 3, 18.2.4).
const DR7_BASE: u64 = 1 << 10 | 1 << 9;
const DR7: usize = 7;
/// DR6.BS: a single step.
const DR6_BS: u64 = 1 << 14;
const BREAKPOINT_EXCEPTION: u32 = 3;

/// What is set for one entry, and which parts of it are not the user's.
#[derive(Clone, Copy, Debug)]
pub(super) struct DebugControl {
    user: kvm_guest_debug,
    merged: kvm_guest_debug,
    /// The slots that are ours, as in DR6.
    slots: u64,
    step: bool,
}

/// The user's breakpoints that are on, as in DR6.
fn user_slots(user: &kvm_guest_debug) -> u64 {
    if user.control & KVM_GUESTDBG_USE_HW_BP == 0 {
        return 0;
    }
    let dr7 = user.arch.debugreg[DR7];
    (0..SLOTS)
        .filter(|slot| dr7 >> (2 * slot) & 0b11 != 0)
        .fold(0, |slots, slot| slots | 1 << slot)
}

impl DebugControl {
    /// Holds back interrupts that nobody has foreseen, for the entry.
    pub(super) fn blocking_interrupts(mut self) -> Self {
        self.merged.control |= KVM_GUESTDBG_BLOCKIRQ;
        self
    }

    /// The user's debugging as it is, and a step or breakpoints on instructions, or both.
    pub(super) fn merge(
        user: &kvm_guest_debug,
        step: bool,
        breakpoints: &[u64],
    ) -> Result<Self, Unmet> {
        // What injects does so when it is set; it is not to happen again.
        let once = KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP;
        let user = kvm_guest_debug {
            control: user.control & !once,
            ..*user
        };
        let mut merged = user;
        merged.control |= KVM_GUESTDBG_ENABLE;
        if step {
            merged.control |= KVM_GUESTDBG_SINGLESTEP;
        }
        let taken = user_slots(&user);
        let mut slots = 0;
        if !breakpoints.is_empty() {
            if user.control & KVM_GUESTDBG_USE_HW_BP == 0 {
                merged.arch.debugreg = [0; 8];
            }
            merged.control |= KVM_GUESTDBG_USE_HW_BP;
            let mut free = (0..SLOTS).filter(|slot| taken & 1 << slot == 0);
            for &address in breakpoints {
                let slot = free.next().ok_or(Unmet::NoDebugRegister)?;
                // Length and kind 0: one byte, executed.
                let dr7 = merged.arch.debugreg[DR7] & !(0xf << (16 + 4 * slot));
                merged.arch.debugreg[DR7] = dr7 | 0b10 << (2 * slot) | DR7_BASE;
                merged.arch.debugreg[slot] = address;
                slots |= 1 << slot;
            }
        }
        Ok(Self {
            user,
            merged,
            slots,
            step,
        })
    }

    /// To be set for the entry.
    pub(super) fn merged(&self) -> &kvm_guest_debug {
        &self.merged
    }

    /// To be set afterwards.
    pub(super) fn user(&self) -> &kvm_guest_debug {
        &self.user
    }

    /// Whether a step is part of it that is not the user's.
    pub(super) fn adds_step(&self) -> bool {
        self.step && self.user.control & KVM_GUESTDBG_SINGLESTEP == 0
    }

    /// Whose a debug exit is. One that would have come without us, too, is the user's.
    ///
    /// A breakpoint on an instruction that has not been executed yet is met again by the next
    /// entry: where both of us have one at the same place, ours is the one that counts now.
    pub(super) fn owner(&self, exit: &DebugExit) -> Owner {
        let users = exit.dr6 & user_slots(&self.user) != 0 && exit.dr6 & self.slots == 0;
        let users_step = exit.dr6 & DR6_BS != 0 && self.user.control & KVM_GUESTDBG_SINGLESTEP != 0;
        match users || users_step || exit.exception == BREAKPOINT_EXCEPTION {
            true => Owner::User,
            false => Owner::Mechanism,
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn user(control: u32, breakpoints: &[(usize, u64)]) -> kvm_guest_debug {
        let mut user = kvm_guest_debug {
            control,
            ..Default::default()
        };
        for &(slot, address) in breakpoints {
            user.arch.debugreg[slot] = address;
            user.arch.debugreg[DR7] |= 1 << (2 * slot);
        }
        user
    }

    fn exit(dr6: u64) -> DebugExit {
        DebugExit {
            exception: 1,
            dr6,
            ..Default::default()
        }
    }

    #[test]
    fn without_a_user_everything_is_ours() {
        let control = DebugControl::merge(&user(0, &[]), true, &[0x1000]).unwrap();
        let merged = control.merged();
        let all = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP;
        assert_eq!(merged.control, all);
        assert_eq!(merged.arch.debugreg[0], 0x1000);
        assert_eq!(merged.arch.debugreg[DR7], DR7_BASE | 0b10);
        assert_eq!(control.user().control, 0);
        assert!(control.adds_step());
        for dr6 in [1, DR6_BS, 0] {
            assert_eq!(control.owner(&exit(dr6)), Owner::Mechanism);
        }
    }

    #[test]
    fn the_users_breakpoints_stay_and_are_told_apart() {
        let hw = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        let theirs = user(hw, &[(0, 0xa), (2, 0xb)]);
        let control = DebugControl::merge(&theirs, false, &[0xc, 0xd]).unwrap();
        let found = control.merged().arch.debugreg;
        assert_eq!(found[..4], [0xa, 0xc, 0xb, 0xd]);
        assert_eq!(found[DR7], DR7_BASE | 1 | 1 << 4 | 0b10 << 2 | 0b10 << 6);
        assert_eq!(control.user().arch.debugreg, theirs.arch.debugreg);
        assert_eq!(control.owner(&exit(1 << 1)), Owner::Mechanism);
        assert_eq!(control.owner(&exit(1 << 0)), Owner::User);
        assert_eq!(control.owner(&exit(1 << 2)), Owner::User);
        assert_eq!(control.owner(&exit(1 << 1 | 1 << 2)), Owner::Mechanism);
        assert_eq!(
            DebugControl::merge(&theirs, false, &[1, 2, 3]).unwrap_err(),
            Unmet::NoDebugRegister
        );
    }

    #[test]
    fn a_user_who_steps_gets_the_step() {
        let theirs = user(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, &[]);
        let control = DebugControl::merge(&theirs, true, &[0x10]).unwrap();
        assert!(!control.adds_step());
        assert_eq!(control.owner(&exit(DR6_BS)), Owner::User);
        assert_eq!(control.owner(&exit(1)), Owner::Mechanism);
    }

    #[test]
    fn what_injects_is_not_set_again() {
        let theirs = user(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB, &[]);
        let control = DebugControl::merge(&theirs, true, &[]).unwrap();
        assert_eq!(control.merged().control & KVM_GUESTDBG_INJECT_DB, 0);
        assert_eq!(control.user().control, KVM_GUESTDBG_ENABLE);
    }

    #[test]
    fn a_disabled_breakpoint_of_the_users_is_a_free_slot() {
        let mut theirs = user(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, &[]);
        // Address and kind are there, but it is off.
        theirs.arch.debugreg[0] = 0x99;
        theirs.arch.debugreg[DR7] = 0xf << 16;
        let control = DebugControl::merge(&theirs, false, &[0x10]).unwrap();
        assert_eq!(control.merged().arch.debugreg[0], 0x10);
        assert_eq!(control.merged().arch.debugreg[DR7], DR7_BASE | 0b10);
        assert_eq!(control.user().arch.debugreg[DR7], 0xf << 16);
    }
}

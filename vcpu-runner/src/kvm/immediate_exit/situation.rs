// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU is like before an attempt and after it, and what the difference shows.

use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE,
    KVM_MP_STATE_UNINITIALIZED, kvm_regs, kvm_sregs, kvm_sync_regs,
};
use kvm_ioctls::VcpuFd;

use super::event::{Event, Events};
use super::exits_counter::ExitsCounter;
use crate::kvm::run_area::RunArea;
use crate::{Evidence, Injection, NotEntered};

/// What KVM_RUN is to leave in the run area: KVM_SYNC_X86_REGS, _SREGS and _EVENTS (`api.rst`, 5, at
/// `kvm_valid_regs`).
const SYNC_FIELDS: u64 = 0b111;

/// RFLAGS bits (SDM 1, 3.4.3).
pub(super) const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_VM: u64 = 1 << 17;
const EFER_LMA: u64 = 1 << 10;
const CR0_PE: u64 = 1 << 0;

/// A vCPU's state, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    pub(super) regs: kvm_regs,
    pub(super) sregs: kvm_sregs,
    events: Events,
    mp_state: u32,
    /// KVM's count of exits, where there is one.
    exits: Option<u64>,
}

/// What is asked for a situation.
#[derive(Debug)]
pub(super) struct Sources {
    counter: Option<ExitsCounter>,
    /// Without a local APIC in the kernel a vCPU is always runnable there.
    has_lapic: bool,
    /// KVM_RUN can leave the registers in the run area, which saves asking for them.
    can_sync: bool,
}

impl Sources {
    /// Those that this vCPU has.
    pub(super) fn of(fd: &VcpuFd, sync_fields: u64) -> Self {
        Self {
            counter: ExitsCounter::open(fd),
            has_lapic: fd.get_lapic().is_ok(),
            can_sync: sync_fields & SYNC_FIELDS == SYNC_FIELDS,
        }
    }

    /// Looks at the vCPU, between entries.
    pub(super) fn look(&self, fd: &VcpuFd) -> Result<Situation, kvm_ioctls::Error> {
        self.complete(
            fd,
            kvm_sync_regs {
                regs: fd.get_regs()?,
                sregs: fd.get_sregs()?,
                events: fd.get_vcpu_events()?,
            },
        )
    }

    /// To be called before the KVM_RUN that [`Self::look_after`] is about.
    pub(super) fn prepare(&self, area: &mut RunArea) {
        if self.can_sync {
            area.want_synced(SYNC_FIELDS);
        }
    }

    /// Looks at the vCPU after a KVM_RUN.
    pub(super) fn look_after(
        &self,
        fd: &VcpuFd,
        area: &mut RunArea,
    ) -> Result<Situation, kvm_ioctls::Error> {
        if !self.can_sync {
            return self.look(fd);
        }
        area.want_synced(0);
        self.complete(fd, area.synced())
    }

    fn complete(&self, fd: &VcpuFd, found: kvm_sync_regs) -> Result<Situation, kvm_ioctls::Error> {
        let kvm_sync_regs {
            regs,
            sregs,
            events,
        } = found;
        let (lapic, mp_state) = match self.has_lapic {
            true => (Some(fd.get_lapic()?), fd.get_mp_state()?.mp_state),
            false => (None, KVM_MP_STATE_RUNNABLE),
        };
        Ok(Situation {
            regs,
            sregs,
            events: Events::new(&events, lapic.as_ref()),
            mp_state,
            exits: self.counter.as_ref().and_then(ExitsCounter::read),
        })
    }
}

impl Situation {
    /// Whether the guest has single-step exceptions on.
    pub(super) fn guest_steps(&self) -> bool {
        self.regs.rflags & RFLAGS_TF != 0
    }

    /// Whether the guest takes external interrupts at its next instruction.
    pub(super) fn interrupts_on(&self) -> bool {
        self.regs.rflags & RFLAGS_IF != 0 && !self.events.shadow()
    }

    /// The events that the next entry may deliver.
    pub(super) fn deliverable(&self) -> Vec<Event> {
        self.events.deliverable(self.interrupts_on())
    }

    /// Where no entry is to be expected, says why.
    pub(super) fn check_enterable(&self) -> Result<(), NotEntered> {
        match self.mp_state {
            KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED => Err(NotEntered::NotStarted),
            _ => Ok(()),
        }
    }

    /// Whether the guest is halted, with the interrupt controller in the kernel.
    pub(super) fn is_halted(&self) -> bool {
        self.mp_state == KVM_MP_STATE_HALTED
    }

    /// What shows that the guest ran between `self` and `after`, apart from its exits.
    pub(super) fn evidence(&self, after: &Self) -> Option<Evidence> {
        if self.events.any_consumed(&after.events) {
            return Some(Evidence::Injection);
        }
        match (self.exits, after.exits) {
            (Some(before), Some(after)) if before < after => return Some(Evidence::Counter),
            // It counts every entry, so there was none: what has changed was KVM's doing.
            (Some(_), Some(_)) => return None,
            _ => {}
        }
        // Not RFLAGS: KVM itself has a say in TF. Not the segments: an exit may mark them accessed.
        (registers(&self.regs) != registers(&after.regs)).then_some(Evidence::Progress)
    }

    /// What became of the events between `self` and `after`.
    pub(super) fn injection(&self, after: &Self) -> Injection {
        if !self.events.waits() && self.deliverable().is_empty() {
            // An interrupt controller in the kernel may have had one that nothing showed.
            return match after.events.under_way() {
                true => Injection::Waits,
                false => Injection::Nothing,
            };
        }
        let is_left = |event: &Event| after.events.has_request(event.vector);
        let left = self.deliverable().iter().any(is_left);
        match self.events.any_consumed(&after.events) && !after.events.waits() && !left {
            true => Injection::Consumed,
            false => Injection::Waits,
        }
    }

    /// Whether an event was delivered between `self` and `after`.
    pub(super) fn delivered(&self, after: &Self) -> bool {
        self.events.any_consumed(&after.events)
    }

    /// Whether the entry between `self` and `after` ended before the event that it was to deliver was
    /// delivered, and before anything else was done.
    pub(super) fn undelivered(&self, after: &Self) -> bool {
        if !self.deliverable().is_empty() {
            return !self.delivered(after);
        }
        // One that nothing showed beforehand, as the in-kernel PIC's.
        after.events.under_way() && registers(&self.regs) == registers(&after.regs)
    }

    /// The linear address of the next instruction.
    pub(super) fn linear_rip(&self) -> u64 {
        let address = self.sregs.cs.base.wrapping_add(self.regs.rip);
        if self.is_64_bit() {
            return self.regs.rip;
        }
        address & u64::from(u32::MAX)
    }

    /// The linear address of the top of the stack.
    pub(super) fn linear_rsp(&self) -> u64 {
        if self.is_64_bit() {
            return self.regs.rsp;
        }
        let ss = &self.sregs.ss;
        let mask = if ss.db == 0 {
            0xffff
        } else {
            u64::from(u32::MAX)
        };
        ss.base.wrapping_add(self.regs.rsp & mask) & u64::from(u32::MAX)
    }

    pub(super) fn is_64_bit(&self) -> bool {
        self.is_long() && self.sregs.cs.l != 0
    }

    /// Whether the guest is in long mode, 64-bit or compatibility.
    pub(super) fn is_long(&self) -> bool {
        self.sregs.efer & EFER_LMA != 0
    }

    /// Whether the guest is in protected mode.
    pub(super) fn is_protected(&self) -> bool {
        self.sregs.cr0 & CR0_PE != 0
    }

    /// Whether the guest is in virtual-8086 mode.
    pub(super) fn is_virtual_8086(&self) -> bool {
        self.regs.rflags & RFLAGS_VM != 0
    }

    /// The privilege level.
    pub(super) fn cpl(&self) -> u8 {
        self.sregs.ss.dpl
    }

    /// Whether the guest has not been anywhere else than at the instruction that it stood at and the
    /// one that comes after it: no frame was pushed.
    pub(super) fn is_undisturbed(&self, after: &Self) -> bool {
        self.regs.rsp == after.regs.rsp && self.sregs.cs.selector == after.sregs.cs.selector
    }
}

#[cfg(test)]
#[cfg(not(loom))]
impl Situation {
    /// One in which nothing waits.
    pub(super) fn of(regs: kvm_regs, sregs: kvm_sregs) -> Self {
        Self {
            regs,
            sregs,
            events: Events::default(),
            mp_state: KVM_MP_STATE_RUNNABLE,
            exits: None,
        }
    }
}

/// The registers that instructions change, RFLAGS left out.
fn registers(regs: &kvm_regs) -> kvm_regs {
    kvm_regs { rflags: 0, ..*regs }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use kvm_bindings::{kvm_lapic_state, kvm_vcpu_events};

    use super::*;

    fn idle() -> Situation {
        Situation::of(kvm_regs::default(), kvm_sregs::default())
    }

    fn with(set: impl FnOnce(&mut kvm_vcpu_events)) -> Situation {
        let mut events = kvm_vcpu_events::default();
        set(&mut events);
        let events = Events::new(&events, None::<&kvm_lapic_state>);
        Situation { events, ..idle() }
    }

    #[test]
    fn without_a_difference_there_is_no_evidence() {
        assert_eq!(idle().evidence(&idle()), None);
        // RFLAGS alone is KVM's doing as well.
        let mut after = idle();
        after.regs.rflags = RFLAGS_TF;
        assert_eq!(idle().evidence(&after), None);
        // A count that was not to be had shows nothing.
        let mut after = idle();
        after.exits = None;
        assert_eq!(idle().evidence(&after), None);
    }

    #[test]
    fn each_difference_is_evidence() {
        let mut after = idle();
        after.regs.rip = 1;
        assert_eq!(idle().evidence(&after), Some(Evidence::Progress));
        // Where entries are counted and there was none, it is KVM that has finished I/O.
        let mut before = idle();
        (before.exits, after.exits) = (Some(3), Some(3));
        assert_eq!(before.evidence(&after), None);
        let (mut before, mut after) = (idle(), idle());
        (before.exits, after.exits) = (Some(3), Some(4));
        assert_eq!(before.evidence(&after), Some(Evidence::Counter));
        let before = with(|events| events.nmi.pending = 1);
        assert_eq!(before.evidence(&idle()), Some(Evidence::Injection));
        assert_eq!(before.injection(&idle()), Injection::Consumed);
        assert_eq!(before.injection(&before), Injection::Waits);
        assert_eq!(idle().injection(&idle()), Injection::Nothing);
    }

    #[test]
    fn one_of_two_events_leaves_the_other_waiting() {
        let both = with(|events| (events.nmi.pending, events.interrupt.injected) = (1, 1));
        let one = with(|events| events.nmi.pending = 1);
        assert_eq!(both.injection(&one), Injection::Waits);
        assert!(both.delivered(&one) && !both.undelivered(&one));
    }

    #[test]
    fn an_event_that_nothing_showed_may_be_left_undelivered() {
        let put_back = with(|events| events.interrupt.injected = 1);
        assert!(idle().undelivered(&put_back));
        assert_eq!(idle().injection(&put_back), Injection::Waits);
        assert!(!idle().undelivered(&idle()));
        // It came after the guest had done something: the entry was one.
        let mut later = put_back.clone();
        later.regs.rip = 1;
        assert!(!idle().undelivered(&later));
        // One that has come meanwhile was not this entry's.
        assert!(!idle().undelivered(&with(|events| events.nmi.pending = 1)));
        assert!(put_back.undelivered(&put_back));
        assert!(!put_back.undelivered(&idle()));
    }

    #[test]
    fn a_vcpu_that_was_not_started_is_not_entered() {
        let in_state = |mp_state| Situation { mp_state, ..idle() };
        let check = |situation: Situation| situation.check_enterable();
        assert_eq!(check(in_state(KVM_MP_STATE_RUNNABLE)), Ok(()));
        let not_started = Err(NotEntered::NotStarted);
        assert_eq!(check(in_state(KVM_MP_STATE_UNINITIALIZED)), not_started);
        assert_eq!(check(in_state(KVM_MP_STATE_INIT_RECEIVED)), not_started);
        // What wakes it is KVM's to know.
        assert_eq!(check(in_state(KVM_MP_STATE_HALTED)), Ok(()));
        assert!(in_state(KVM_MP_STATE_HALTED).is_halted());
    }

    #[test]
    fn addresses_are_linear() {
        let mut situation = idle();
        situation.sregs.cs.base = 0xffff_0000;
        situation.regs.rip = 0x1_fff0;
        assert_eq!(situation.linear_rip(), 0xfff0);
        situation.sregs.ss.base = 0x10;
        situation.regs.rsp = 0x1_0008;
        assert_eq!(situation.linear_rsp(), 0x18);
        situation.sregs.efer = 1 << 10;
        situation.sregs.cs.l = 1;
        assert_eq!(situation.linear_rip(), 0x1_fff0);
        assert_eq!(situation.linear_rsp(), 0x1_0008);
    }
}

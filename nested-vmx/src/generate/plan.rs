// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is settled about a state before its fields are drawn.

use super::controls::ControlSet;
use super::dice::Dice;
use super::mode::Mode;
use crate::capability::Capabilities;
use crate::check::EntryInstruction;
use crate::controls::{EntryControls, ExitControls, PrimaryControls, SecondaryControls};
use crate::registers::{activity, cr0, cr4};

/// The event that a VM entry injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Injection {
    None,
    ExternalInterrupt,
    Nmi,
    /// A hardware exception with an error code.
    ExceptionWithCode,
    /// A hardware exception without one.
    Exception,
    /// INT n, INT1 or INT3.
    Software(u32),
    /// A pending MTF VM exit.
    Mtf,
}

impl Injection {
    /// An event, or none.
    pub(super) const ALL: &[Self] = &[
        Self::None,
        Self::ExternalInterrupt,
        Self::Nmi,
        Self::ExceptionWithCode,
        Self::Exception,
        Self::Software(4),
        Self::Software(5),
        Self::Software(6),
        Self::Mtf,
    ];

    /// Some event.
    pub(super) const EVENTS: &[Self] = &[
        Self::ExternalInterrupt,
        Self::Nmi,
        Self::ExceptionWithCode,
        Self::Exception,
        Self::Software(4),
        Self::Software(5),
        Self::Software(6),
        Self::Mtf,
    ];

    /// A hardware exception.
    pub(super) const EXCEPTIONS: &[Self] = &[Self::ExceptionWithCode, Self::Exception];

    /// An event from an instruction, which has a length.
    pub(super) const SOFTWARE: &[Self] = &[Self::Software(4), Self::Software(5), Self::Software(6)];

    /// Whether a VM entry into this activity state can deliver it (SDM volume 3, section
    /// 28.3.1.5). Exceptions are then #DB or #MC.
    const fn fits(self, state: u32) -> bool {
        match state {
            activity::ACTIVE => true,
            activity::HLT => matches!(
                self,
                Self::None | Self::ExternalInterrupt | Self::Nmi | Self::Exception | Self::Mtf
            ),
            activity::SHUTDOWN => matches!(self, Self::None | Self::Nmi | Self::Exception),
            _ => matches!(self, Self::None),
        }
    }
}

/// What blocks events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    None,
    Sti,
    MovSs,
}

/// What to make. What is `None` is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) host_is_64_bit: Option<bool>,
    pub(super) mode: Option<Mode>,
    /// One of these.
    pub(super) injections: &'static [Injection],
    pub(super) instruction: Option<EntryInstruction>,
    pub(super) activity: Option<u32>,
    pub(super) blocking: Option<Blocking>,
    /// SS.DPL.
    pub(super) privilege: Option<u8>,
    /// Whether CS is accessed data of an unrestricted guest, type 3.
    pub(super) cs_is_data: Option<bool>,
    /// Whether all segment registers are usable.
    pub(super) segments_usable: Option<bool>,
    /// Whether the link pointer points to a VMCS.
    pub(super) linked: Option<bool>,
    /// Whether the MSR areas have entries.
    pub(super) msr_areas: Option<bool>,
    /// Whether VM function 0 is on.
    pub(super) eptp_switching: Option<bool>,
    /// The trap flag.
    pub(super) trap_flag: Option<bool>,
    /// Whether IF is 1.
    pub(super) interrupts: Option<bool>,
    /// Whether the interruption of a transaction is pending.
    pub(super) transaction: Option<bool>,
    /// CR0 and CR4 bits that are to be 1 in the guest and the host, and those that are to be 0.
    pub(super) cr0: (u64, u64),
    pub(super) cr4: (u64, u64),
    pub(super) on: ControlSet,
    pub(super) off: ControlSet,
}

/// What is settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) instruction: EntryInstruction,
    pub(super) host_is_64_bit: bool,
    pub(super) mode: Mode,
    pub(super) unrestricted: bool,
    pub(super) injection: Injection,
    pub(super) activity: u32,
    pub(super) blocking: Blocking,
    pub(super) privilege: u8,
    pub(super) controls: ControlSet,
}

impl Plan {
    /// Anything.
    pub(super) const ANY: Self = Self {
        host_is_64_bit: None,
        mode: None,
        injections: Injection::ALL,
        instruction: None,
        activity: None,
        blocking: None,
        privilege: None,
        cs_is_data: None,
        segments_usable: None,
        linked: None,
        msr_areas: None,
        eptp_switching: None,
        trap_flag: None,
        interrupts: None,
        transaction: None,
        cr0: (0, 0),
        cr4: (0, 0),
        on: ControlSet::NONE,
        off: ControlSet::NONE,
    };

    /// Draws what is open. `None` if the capabilities do not allow what is not open, or the plan is
    /// at odds with itself.
    pub(super) fn settle(
        &self,
        capabilities: &Capabilities,
        dice: &mut Dice<'_, '_>,
    ) -> Option<Settled> {
        let host_is_64_bit = self.choose_host(capabilities, dice)?;
        let mode = self.choose_mode(capabilities, host_is_64_bit, dice)?;
        let controls = self.choose_controls(capabilities, host_is_64_bit, mode, dice)?;
        let (activity, injection) = self.choose_event(capabilities, mode, dice)?;
        let privilege = self.choose_privilege(mode, activity, dice)?;
        let blocking = self.choose_blocking(activity, injection, dice)?;
        let instructions = [EntryInstruction::Vmlaunch, EntryInstruction::Vmresume];
        let instruction = match self.instruction {
            Some(instruction) => instruction,
            None => dice.one_of(&instructions, EntryInstruction::Vmlaunch),
        };
        Some(Settled {
            instruction,
            host_is_64_bit,
            mode,
            unrestricted: controls
                .secondary
                .contains(SecondaryControls::UNRESTRICTED_GUEST),
            injection,
            activity,
            blocking,
            privilege,
            controls,
        })
    }

    fn choose_host(&self, capabilities: &Capabilities, dice: &mut Dice<'_, '_>) -> Option<bool> {
        let size = ExitControls::HOST_ADDRESS_SPACE_SIZE;
        let exit = capabilities.exit();
        let can_be_64 = exit.may_be_1(size)
            && capabilities.cr4_fixed1 & cr4::PAE != 0
            && Mode::has_long_mode(capabilities);
        let can_be_32 = exit.must_be_1() & u64::from(size.bits()) == 0;
        let wanted = match (self.host_is_64_bit, self.mode) {
            (Some(wanted), _) => wanted,
            (None, Some(mode)) if mode.is_ia32e() => true,
            _ => match (can_be_64, can_be_32) {
                (true, true) => !dice.once_in(4),
                (can_be_64, _) => can_be_64,
            },
        };
        let possible = if wanted { can_be_64 } else { can_be_32 };
        possible.then_some(wanted)
    }

    fn choose_mode(
        &self,
        capabilities: &Capabilities,
        host_is_64_bit: bool,
        dice: &mut Dice<'_, '_>,
    ) -> Option<Mode> {
        let fits = |mode: &Mode| {
            let is_wanted = self.mode.is_none_or(|wanted| wanted == *mode);
            is_wanted
                && mode.is_possible(capabilities)
                && (host_is_64_bit || !mode.is_ia32e())
                && self.controls_fit(*mode, capabilities)
                && self.registers_fit(*mode)
                && self.privilege_fits(*mode)
        };
        let possible = || Mode::ALL.iter().filter(|mode| fits(mode));
        let which = dice.below(possible().count() as u64);
        possible().nth(which as usize).copied()
    }

    /// Whether this mode can be had with the controls that are to be 1 or 0.
    fn controls_fit(&self, mode: Mode, capabilities: &Capabilities) -> bool {
        let missing = capabilities.cr0_fixed0 & (cr0::PE | cr0::PG) & !mode.cr0();
        let unrestricted = SecondaryControls::UNRESTRICTED_GUEST;
        let ia32e = EntryControls::IA32E_MODE_GUEST;
        let opposite = match mode.is_ia32e() {
            true => self.off.entry,
            false => self.on.entry,
        };
        (missing == 0 || !self.off.secondary.contains(unrestricted)) && !opposite.contains(ia32e)
    }

    /// Whether it can be had with the bits that are to be 1 or 0, and the event.
    fn registers_fit(&self, mode: Mode) -> bool {
        let (cr0_on, cr0_off) = self.cr0;
        let (cr4_on, cr4_off) = self.cr4;
        let mode_bits = cr0::PE | cr0::PG;
        let without = match mode {
            Mode::Long | Mode::Compatibility => 0,
            Mode::Paging32 | Mode::Virtual8086 => cr4::PAE | cr4::PCIDE,
            _ => cr4::PCIDE,
        };
        let pae = if mode.has_pae() { cr4::PAE } else { 0 };
        // An error code is pushed in protected mode only.
        let event_fits = mode != Mode::Real || self.injections != [Injection::ExceptionWithCode];
        cr0_on & mode_bits & !mode.cr0() == 0
            && cr0_off & mode.cr0() == 0
            && cr4_on & without == 0
            && cr4_off & pae == 0
            && event_fits
    }

    fn privilege_fits(&self, mode: Mode) -> bool {
        let for_kernel_only = self.activity == Some(activity::HLT) || self.cs_is_data == Some(true);
        if mode.is_virtual_8086() && for_kernel_only {
            return false;
        }
        match self.privilege {
            None => true,
            Some(privilege) if mode.is_virtual_8086() => privilege == 3,
            Some(privilege) => mode != Mode::Real || privilege == 0,
        }
    }

    fn choose_controls(
        &self,
        capabilities: &Capabilities,
        host_is_64_bit: bool,
        mode: Mode,
        dice: &mut Dice<'_, '_>,
    ) -> Option<ControlSet> {
        let (mut on, mut off) = (self.on, self.off);
        // Only L1's SMM may set these (SDM volume 3, section 28.2.1.3).
        off.insert(EntryControls::ENTRY_TO_SMM | EntryControls::DEACTIVATE_DUAL_MONITOR);
        match mode.is_ia32e() {
            true => on.insert(EntryControls::IA32E_MODE_GUEST),
            false => off.insert(EntryControls::IA32E_MODE_GUEST),
        }
        match host_is_64_bit {
            true => on.insert(ExitControls::HOST_ADDRESS_SPACE_SIZE),
            false => off.insert(ExitControls::HOST_ADDRESS_SPACE_SIZE),
        }
        let missing = (cr0::PE | cr0::PG) & !mode.cr0();
        if capabilities.cr0_fixed0 & missing != 0 || self.cs_is_data == Some(true) {
            on.insert(SecondaryControls::UNRESTRICTED_GUEST);
        }
        // Without a cause there are no secondary controls in one of eight states.
        let activate = PrimaryControls::ACTIVATE_SECONDARY_CONTROLS;
        let must = capabilities.primary().must_be_1() & u64::from(activate.bits()) != 0;
        let called_for = must || on.calls_for_secondary();
        if !called_for && dice.once_in(8) {
            off.insert(activate);
        }
        ControlSet::arbitrary(capabilities, on, off, dice)
    }

    fn choose_event(
        &self,
        capabilities: &Capabilities,
        mode: Mode,
        dice: &mut Dice<'_, '_>,
    ) -> Option<(u32, Injection)> {
        let wanted = match self.activity {
            Some(wanted) => wanted,
            None if dice.once_in(4) => dice.below(4) as u32,
            None => activity::ACTIVE,
        };
        let state = match (self.state_fits(wanted, mode, capabilities), self.activity) {
            (true, _) => wanted,
            (false, None) => activity::ACTIVE,
            (false, Some(_)) => return None,
        };
        let possible = || {
            let all = self.injections.iter();
            all.filter(|injection| self.event_fits(**injection, state, mode, capabilities))
        };
        let which = dice.below(possible().count() as u64);
        let injection = possible().nth(which as usize)?;
        Some((state, *injection))
    }

    fn state_fits(&self, state: u32, mode: Mode, capabilities: &Capabilities) -> bool {
        let is_kernel = !mode.is_virtual_8086() && matches!(self.privilege, None | Some(0));
        capabilities.misc.has_activity_state(state)
            && (state == activity::ACTIVE || self.is_unblocked())
            && (state != activity::HLT || is_kernel)
            && self
                .injections
                .iter()
                .any(|injection| self.event_fits(*injection, state, mode, capabilities))
    }

    /// Whether the event can be injected into this activity state and mode.
    fn event_fits(
        &self,
        injection: Injection,
        state: u32,
        mode: Mode,
        capabilities: &Capabilities,
    ) -> bool {
        injection.fits(state)
            && match injection {
                Injection::Mtf => capabilities
                    .primary()
                    .may_be_1(PrimaryControls::MONITOR_TRAP_FLAG),
                Injection::ExceptionWithCode => mode != Mode::Real,
                Injection::ExternalInterrupt => {
                    self.interrupts != Some(false) && self.is_unblocked()
                }
                Injection::Nmi => self.is_unblocked(),
                _ => true,
            }
    }

    const fn is_unblocked(&self) -> bool {
        matches!(self.blocking, None | Some(Blocking::None))
    }

    fn choose_privilege(&self, mode: Mode, state: u32, dice: &mut Dice<'_, '_>) -> Option<u8> {
        let drawn = match mode {
            _ if mode.is_virtual_8086() => 3,
            Mode::Real => 0,
            _ if state == activity::HLT || self.cs_is_data == Some(true) => 0,
            _ => self.privilege.unwrap_or_else(|| dice.below(4) as u8),
        };
        self.privilege
            .is_none_or(|wanted| wanted == drawn)
            .then_some(drawn)
    }

    fn choose_blocking(
        &self,
        state: u32,
        injection: Injection,
        dice: &mut Dice<'_, '_>,
    ) -> Option<Blocking> {
        let sti_fits = self.interrupts != Some(false);
        let fits = |blocking| match blocking {
            Blocking::None => true,
            Blocking::Sti if !sti_fits => false,
            // For #DB of a transaction, blocking by MOV SS is refused.
            Blocking::MovSs if self.transaction == Some(true) => false,
            _ => {
                state == activity::ACTIVE
                    && !matches!(injection, Injection::ExternalInterrupt | Injection::Nmi)
            }
        };
        match self.blocking {
            Some(blocking) => fits(blocking).then_some(blocking),
            None => {
                let choices = [
                    Blocking::None,
                    Blocking::None,
                    Blocking::Sti,
                    Blocking::MovSs,
                ];
                let drawn = dice.one_of(&choices, Blocking::None);
                Some(if fits(drawn) { drawn } else { Blocking::None })
            }
        }
    }
}

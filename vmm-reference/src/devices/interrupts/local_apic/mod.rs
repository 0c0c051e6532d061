// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The local APIC of a machine's only processor, as xAPIC and as x2APIC (Intel SDM, volume 3,
//! chapter "Advanced Programmable Interrupt Controller").
//!
//! Six entries in the local vector table, no suppression of EOI broadcasts. The timer's clock runs
//! at 1 GHz. The id is 0 and cannot be changed.

mod base;
mod destination;
mod errors;
mod icr;
mod lvt;
mod mmio;
mod msr;
mod priority;
mod register;
mod registers;
mod signals;
mod timer;

#[cfg(test)]
mod tests;

pub use lvt::Lint;
pub use msr::ApicMsrFault;
pub use signals::Signals;

use base::Base;
use errors::Errors;
use lvt::{Entry, VectorTable};
use timer::Timer;

use super::message::{DeliveryMode, InterruptMessage};
use super::now::Now;
use super::vector_set::VectorSet;

/// The first vector that an interrupt can have.
const FIRST_VECTOR: u8 = 16;

/// The spurious-interrupt vector register, bit 8: the APIC is enabled by software.
const SOFTWARE_ENABLED: u32 = 1 << 8;

/// A local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    base: Base,
    task_priority: u8,
    requested: VectorSet,
    in_service: VectorSet,
    /// Which of them are level-triggered.
    level_triggered: VectorSet,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    errors: Errors,
    /// The interrupt command register.
    command: u64,
    table: VectorTable,
    timer: Timer,
    signals: Signals,
    /// Level-triggered interrupts whose end nobody was told yet.
    ended: VectorSet,
}

impl LocalApic {
    /// As a PC's firmware leaves it: enabled as xAPIC, disabled by software, with the 8259's
    /// interrupts at LINT0 and NMIs at LINT1. The TSC that deadlines are compared with counts
    /// `tsc_khz` times in a millisecond.
    pub fn new(tsc_khz: u32) -> Self {
        Self {
            base: Base::at_reset(),
            table: VectorTable::of_firmware(),
            ..Self::at_reset(tsc_khz)
        }
    }

    fn at_reset(tsc_khz: u32) -> Self {
        Self {
            base: Base::at_reset(),
            task_priority: 0,
            requested: VectorSet::default(),
            in_service: VectorSet::default(),
            level_triggered: VectorSet::default(),
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: 0xff,
            errors: Errors::default(),
            command: 0,
            table: VectorTable::at_reset(),
            timer: Timer::new(tsc_khz),
            signals: Signals::default(),
            ended: VectorSet::default(),
        }
    }

    /// An INIT: all registers but IA32_APIC_BASE and the id are as after reset, where all of the
    /// local vector table is masked.
    pub fn init(&mut self) {
        *self = Self {
            base: self.base,
            // These have left the APIC already.
            signals: self.signals,
            ended: self.ended,
            table: self.table.reset(),
            ..Self::at_reset(self.timer.tsc_khz())
        };
    }

    /// Where the register page is. `None`: the registers are not in memory, because the APIC is
    /// disabled or an x2APIC.
    pub fn page(&self) -> Option<u64> {
        self.base.page()
    }

    /// Lets time pass: the timer fires if it is due. However many periods have passed, it is one
    /// interrupt.
    pub fn advance(&mut self, now: Now) {
        if self.timer.expire(now) {
            self.deliver_local(Entry::Timer);
        }
    }

    /// When [`advance`](Self::advance) has something to do next, in nanoseconds on the scale of
    /// [`Now`]. It may have been before `now`, and as soon after it as the guest likes. `None`:
    /// never.
    pub fn deadline(&self, now: Now) -> Option<u64> {
        // A masked timer counts without anybody's help.
        if self.table.is_masked(Entry::Timer) {
            return None;
        }
        self.timer.next(now)
    }

    /// An interrupt message arrives. Returns whether this APIC is addressed by it. If it is, but
    /// disabled by software, it does not take interrupts; all else it does.
    ///
    /// What is not a vector has to be asked for with [`take_signals`](Self::take_signals). An
    /// ExtINT does nothing here: who routes messages gives the processor the 8259's vector.
    pub fn accept(&mut self, message: &InterruptMessage) -> bool {
        let addressed = self.base.is_enabled() && self.is_addressed_by(message);
        if addressed {
            self.deliver(message.mode, message.vector, message.level_triggered);
        }
        addressed
    }

    /// Takes the signals that have arrived: with a message, by a pin, or from the APIC itself. The
    /// APIC's own reset by an INIT is [`init`](Self::init).
    pub fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// Takes the vector of a level-triggered interrupt that has ended, for the I/O APIC.
    pub fn take_ended(&mut self) -> Option<u8> {
        self.ended.take_highest()
    }

    /// Whether the processor takes the 8259's interrupts: it has no APIC at the moment, or lets
    /// them through.
    pub fn takes_pic(&self) -> bool {
        !self.base.is_enabled() || self.table.lets_ext_int_through()
    }

    /// Sets the level of one of the processor's pins. A rise does what the local vector table says.
    /// While LINT0 lets the 8259's interrupts through, nothing comes of it here: see
    /// [`takes_pic`](Self::takes_pic).
    pub fn set_lint(&mut self, pin: Lint, high: bool) {
        if !self.table.rises(pin, high) {
            return;
        }
        if self.base.is_enabled() {
            self.deliver_local(pin.entry());
        } else if pin == Lint::Lint1 {
            // Without an APIC, the pins are INTR and NMI.
            self.signals.nmi = true;
        }
    }

    fn is_software_enabled(&self) -> bool {
        self.spurious & SOFTWARE_ENABLED != 0
    }

    fn deliver(&mut self, mode: DeliveryMode, vector: u8, level_triggered: bool) {
        match mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                if vector < FIRST_VECTOR {
                    self.report(errors::RECEIVED_ILLEGAL_VECTOR);
                } else if self.is_software_enabled() {
                    self.requested.set(vector, true);
                    self.level_triggered.set(vector, level_triggered);
                }
            }
            DeliveryMode::Smi => self.signals.smi = true,
            DeliveryMode::Nmi => self.signals.nmi = true,
            DeliveryMode::Init => self.signals.init = true,
            DeliveryMode::StartUp => self.signals.start_up = Some(vector),
            DeliveryMode::ExtInt => {}
        }
    }

    /// Does what an entry of the local vector table says.
    fn deliver_local(&mut self, entry: Entry) {
        if let Some((mode, vector)) = self.table.delivery(entry) {
            self.deliver(mode, vector, false);
        }
    }

    /// Notes an error. The first one since the guest has looked interrupts.
    fn report(&mut self, error: u32) {
        // An illegal vector of that interrupt is an error too, but not the first.
        if self.errors.detect(error) {
            self.deliver_local(Entry::Error);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! IA32_APIC_BASE: where the registers are, and which kind of APIC it is.

/// The processor is the one that boots.
const BOOTSTRAP: u64 = 1 << 8;
const X2APIC: u64 = 1 << 10;
const ENABLED: u64 = 1 << 11;
/// Where the register page can be.
const ADDRESS: u64 = ((1 << 52) - 1) & !0xfff;

/// Where the register page is after reset.
const PAGE_AT_RESET: u64 = 0xfee0_0000;

/// What the MSR says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base(u64);

/// What a write of the MSR does to the rest of the APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Its registers are kept.
    Keeps,
    /// It was switched off, and with it its state.
    SwitchesOff,
}

impl Base {
    pub(super) fn at_reset() -> Self {
        Self(PAGE_AT_RESET | BOOTSTRAP | ENABLED)
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    /// As xAPIC or as x2APIC.
    pub(super) fn is_enabled(self) -> bool {
        self.0 & ENABLED != 0
    }

    pub(super) fn is_x2apic(self) -> bool {
        self.0 & X2APIC != 0
    }

    pub(super) fn page(self) -> Option<u64> {
        (self.is_enabled() && !self.is_x2apic()).then_some(self.0 & ADDRESS)
    }

    /// Writes the MSR. `None`: this is no value for it, or none that can follow the present one.
    pub(super) fn write(&mut self, value: u64) -> Option<Change> {
        let old = std::mem::replace(self, Self(value));
        let change = match (old.state(), self.state()) {
            (from, to) if from == to => Some(Change::Keeps),
            // There is a way up, step by step, and one down.
            ((false, false), (true, false)) | ((true, false), (true, true)) => Some(Change::Keeps),
            ((true, _), (false, false)) => Some(Change::SwitchesOff),
            _ => None,
        };
        let known = value & !(BOOTSTRAP | X2APIC | ENABLED | ADDRESS) == 0;
        let change = change.filter(|_| known);
        if change.is_none() {
            *self = old;
        }
        change
    }

    fn state(self) -> (bool, bool) {
        (self.is_enabled(), self.is_x2apic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_each_other_as_the_manual_says() {
        const OFF: u64 = PAGE_AT_RESET;
        const X: u64 = PAGE_AT_RESET | ENABLED;
        const X2: u64 = PAGE_AT_RESET | ENABLED | X2APIC;
        const INVALID: u64 = PAGE_AT_RESET | X2APIC;
        let (keeps, off) = (Some(Change::Keeps), Some(Change::SwitchesOff));
        for (from, to, expected) in [
            (OFF, OFF, keeps),
            (OFF, X, keeps),
            (OFF, X2, None),
            (OFF, INVALID, None),
            (X, OFF, off),
            (X, X, keeps),
            (X, X2, keeps),
            (X, INVALID, None),
            (X2, OFF, off),
            (X2, X, None),
            (X2, X2, keeps),
            (X2, INVALID, None),
            (X, X | 1, None),
            (X, X | 1 << 9, None),
            (X, X | 1 << 52, None),
            (X, X | BOOTSTRAP, keeps),
            (X, ENABLED | 0x1234_5000, keeps),
        ] {
            let mut base = Base(from);
            assert_eq!(base.write(to), expected, "{from:#x} {to:#x}");
            let after = if expected.is_some() { to } else { from };
            assert_eq!(base.value(), after);
        }
    }
}

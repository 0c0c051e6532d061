// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! CR0 and CR4 behind a guest/host mask and a read shadow (SDM volume 3, section 26.6.6).

use crate::vmcs::{Field, Vmcs};

/// One control register as three fields of a VMCS say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ControlRegister {
    /// What the processor runs with.
    pub value: u64,
    /// Bits that belong to the hypervisor: the guest reads them from the shadow.
    pub mask: u64,
    /// What the guest reads in the hypervisor's bits.
    pub shadow: u64,
}

/// Which fields hold a control register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    value: Field,
    mask: Field,
    shadow: Field,
}

/// CR0's.
pub(super) const CR0: Fields = Fields {
    value: Field::GuestCr0,
    mask: Field::Cr0GuestHostMask,
    shadow: Field::Cr0ReadShadow,
};

/// CR4's.
pub(super) const CR4: Fields = Fields {
    value: Field::GuestCr4,
    mask: Field::Cr4GuestHostMask,
    shadow: Field::Cr4ReadShadow,
};

impl ControlRegister {
    /// The register in this VMCS.
    pub const fn of(vmcs: &Vmcs, fields: Fields) -> Self {
        Self {
            value: vmcs.read(fields.value),
            mask: vmcs.read(fields.mask),
            shadow: vmcs.read(fields.shadow),
        }
    }

    /// Writes it to the VMCS.
    pub const fn write(self, vmcs: &mut Vmcs, fields: Fields) {
        vmcs.write(fields.value, self.value);
        vmcs.write(fields.mask, self.mask);
        vmcs.write(fields.shadow, self.shadow);
    }

    /// What the guest reads.
    pub const fn view(self) -> u64 {
        self.value & !self.mask | self.shadow & self.mask
    }

    /// The register after the guest was given `view`. Bits that the hypervisor holds at another
    /// value than the guest believes stay as it holds them.
    pub const fn with_view(self, view: u64) -> Self {
        Self {
            value: self.force(view),
            mask: self.mask,
            shadow: view & self.mask | self.shadow & !self.mask,
        }
    }

    /// `value` with those bits that the hypervisor forces now.
    const fn force(self, value: u64) -> u64 {
        let forced = (self.value ^ self.shadow) & self.mask;
        value & !forced | self.value & forced
    }

    /// The register for L2: `self` is L1's as L0 runs it (vmcs01), `inner` L2's as L1 asks for it
    /// (vmcs12). L2's bits belong to L0 where either hypervisor owns them.
    pub const fn nested(self, inner: Self) -> Self {
        Self {
            value: self.force(inner.value),
            mask: self.mask | inner.mask,
            shadow: inner.view(),
        }
    }

    /// The guest field of vmcs12 after L2 ran: `self` is the register in vmcs02, `outer` that of
    /// vmcs01, `inner` vmcs12's as it was at VM entry.
    ///
    /// What L1 owns cannot have changed; what only L0 owns is in the shadow, where L0's emulation
    /// writes it; the rest is in the register.
    pub const fn unnested(self, outer: Self, inner: Self) -> u64 {
        let l0s = outer.mask & !inner.mask;
        inner.value & inner.mask | self.shadow & l0s | self.value & !(inner.mask | outer.mask)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register() -> impl Strategy<Value = ControlRegister> {
        any::<[u64; 3]>().prop_map(|[value, mask, shadow]| ControlRegister {
            value,
            mask,
            shadow,
        })
    }

    proptest! {
        #[test]
        fn l2_reads_what_l1_shows_it(outer in register(), inner in register()) {
            prop_assert_eq!(outer.nested(inner).view() & outer.nested(inner).mask,
                inner.view() & (outer.mask | inner.mask));
        }

        #[test]
        fn an_entry_and_an_exit_change_nothing(outer in register(), inner in register()) {
            prop_assert_eq!(outer.nested(inner).unnested(outer, inner), inner.value);
        }

        #[test]
        fn a_view_is_read_back(register in register(), view in any::<u64>()) {
            prop_assert_eq!(register.with_view(view).view() & register.mask, view & register.mask);
        }

        #[test]
        fn what_l2_may_write_is_seen_by_l1(outer in register(), inner in register(), new in any::<u64>()) {
            let mut running = outer.nested(inner);
            running.value = running.value & running.mask | new & !running.mask;
            let seen = running.unnested(outer, inner);
            prop_assert_eq!(seen & !running.mask, new & !running.mask);
            prop_assert_eq!(seen & inner.mask, inner.value & inner.mask);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accesses of an L2 with EPT that KVM leaves to the VMM: to devices of L1's, to memory that L0 did
//! not foresee, and to nothing.

use vcpu_runner::Exit;

use super::error::SoftError;
use super::sites::Unpatched;
use super::vcpu::{On, SoftVcpu};
use super::world::World;
use crate::ept::{Access, AccessKind, Ept, LinearPage, Origin};
use crate::memory::L1Memory;

/// What becomes of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is the VMM's as it is.
    AsItIs,
    /// It is the VMM's, at this address in L1.
    At(u64),
    /// The access has been made, or there is nothing where it leads: L2 goes on.
    Done,
}

impl<W: World> SoftVcpu<W> {
    /// Looks at the last exit before the VMM does. KVM knows guest-physical addresses of L2's only.
    pub(super) fn settle(&mut self) -> Result<Settled, SoftError> {
        if self.on == On::Whole {
            return Ok(Settled::AsItIs);
        }
        let ept = Ept::of(self.vmx.vmcs12(), self.vmx.capabilities());
        let page = LinearPage {
            user: self.state.cpl() == 3,
            ..LinearPage::default()
        };
        let memory = Unpatched::new(self.world.memory(), &self.sites);
        let in_l1 = |address: u64, kind| {
            let access = Access::new(kind, Origin::Linear(page));
            let found = ept?.translate(&memory, address, &access, None);
            Some(found.ok()?.address)
        };
        let exit = self
            .for_view
            .vcpu_mut()
            .last_exit()
            .map_err(|defect| SoftError::Run(defect.into()))?;
        Ok(match exit {
            Exit::MmioRead { address, data } => match in_l1(address, AccessKind::READ) {
                Some(address) if memory.read(address, data).is_ok() => Settled::Done,
                Some(address) => Settled::At(address),
                // Nobody drives the bus.
                None => {
                    data.fill(0xff);
                    Settled::Done
                }
            },
            Exit::MmioWrite { address, data } => match in_l1(address, AccessKind::WRITE) {
                Some(address) if memory.write(address, data).is_ok() => Settled::Done,
                Some(address) => Settled::At(address),
                None => Settled::Done,
            },
            _ => Settled::AsItIs,
        })
    }
}

/// The exit, with the address that it has in L1.
pub(super) fn at(exit: Exit<'_>, settled: Settled) -> Exit<'_> {
    match (exit, settled) {
        (Exit::MmioRead { data, .. }, Settled::At(address)) => Exit::MmioRead { address, data },
        (Exit::MmioWrite { data, .. }, Settled::At(address)) => Exit::MmioWrite { address, data },
        (exit, _) => exit,
    }
}

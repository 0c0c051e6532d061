// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What INVEPT invalidates (SDM volume 3, section 30.4.3.1 and chapter 32, "INVEPT").

use super::eptp::Eptp;
use crate::capability::{Capabilities, EptVpid};

/// Which of the mappings that L0 derived from EPT12 are no longer good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// Those of all EPTPs with the same root.
    SingleContext(Eptp),
    /// All.
    AllContexts,
}

impl Invalidation {
    /// What INVEPT of this type with this descriptor, low quadword first, invalidates; `None` where
    /// it fails with VM-instruction error 28: a type that is not supported, a reserved bit in the
    /// descriptor, or for a single context an EPTP that VM entries would refuse.
    pub fn from_invept(
        kind: u64,
        [eptp, reserved]: [u64; 2],
        capabilities: &Capabilities,
    ) -> Option<Self> {
        let eptp = Eptp(eptp);
        let (capability, invalidation) = match kind {
            1 => (EptVpid::INVEPT_SINGLE, Self::SingleContext(eptp)),
            2 => (EptVpid::INVEPT_ALL, Self::AllContexts),
            _ => return None,
        };
        let valid = match invalidation {
            Self::SingleContext(eptp) => eptp.check(capabilities).is_ok(),
            Self::AllContexts => true,
        };
        (capabilities.ept_vpid.contains(capability) && valid && reserved == 0)
            .then_some(invalidation)
    }

    /// Whether what was derived from the tables of this EPTP is affected.
    pub const fn affects(&self, eptp: Eptp) -> bool {
        match self {
            Self::SingleContext(invalidated) => invalidated.root() == eptp.root(),
            Self::AllContexts => true,
        }
    }
}

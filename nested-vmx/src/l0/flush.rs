// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which cached translations L0 has to forget before it enters a guest (SDM volume 3, section
//! 30.4.3).

use crate::ept::Invalidation;

/// Translations of linear addresses of L2's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinearFlush {
    /// Those of one linear address under one of L1's VPIDs.
    Address {
        /// L1's VPID.
        vpid: u16,
        /// The linear address.
        address: u64,
    },
    /// Those of one of L1's VPIDs.
    Vpid(u16),
    /// All of L2's.
    All,
}

/// What is to be forgotten. Requests that do not fit together become one that is wider: to forget
/// more than was asked is always right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flush {
    /// Linear translations.
    pub linear: Option<LinearFlush>,
    /// EPT12's translations.
    pub ept: Option<Invalidation>,
}

impl Flush {
    pub(super) fn linear(&mut self, wanted: LinearFlush) {
        let vpid = |flush| match flush {
            LinearFlush::Address { vpid, .. } | LinearFlush::Vpid(vpid) => Some(vpid),
            LinearFlush::All => None,
        };
        self.linear = Some(match self.linear {
            None => wanted,
            Some(before) if before == wanted => wanted,
            Some(before) => match (vpid(before), vpid(wanted)) {
                (Some(one), Some(other)) if one == other => LinearFlush::Vpid(one),
                _ => LinearFlush::All,
            },
        });
    }

    pub(super) fn ept(&mut self, wanted: Invalidation) {
        self.ept = Some(match (self.ept, wanted) {
            (None, wanted) => wanted,
            (Some(before), Invalidation::SingleContext(eptp)) if before.affects(eptp) => before,
            _ => Invalidation::AllContexts,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ept::Eptp;

    #[test]
    fn what_does_not_fit_together_gets_wider() {
        let mut flush = Flush::default();
        let address = |vpid, address| LinearFlush::Address { vpid, address };
        flush.linear(address(1, 0x1000));
        flush.linear(address(1, 0x1000));
        assert_eq!(flush.linear, Some(address(1, 0x1000)));
        flush.linear(address(1, 0x2000));
        assert_eq!(flush.linear, Some(LinearFlush::Vpid(1)));
        flush.linear(LinearFlush::Vpid(2));
        assert_eq!(flush.linear, Some(LinearFlush::All));

        let single = |root| Invalidation::SingleContext(Eptp(root));
        flush.ept(single(0x101e));
        // The same tables.
        flush.ept(single(0x105e));
        assert_eq!(flush.ept, Some(single(0x101e)));
        flush.ept(single(0x201e));
        assert_eq!(flush.ept, Some(Invalidation::AllContexts));
        flush.ept(single(0x101e));
        assert_eq!(flush.ept, Some(Invalidation::AllContexts));
    }
}

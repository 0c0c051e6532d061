// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! IA32_VMX_EPT_VPID_CAP (SDM volume 3, appendix A.10).

use bitflags::bitflags;

bitflags! {
    /// What EPT and VPID can do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EptVpid: u64 {
        /// Execute-only translations.
        const EXECUTE_ONLY = 1 << 0;
        /// Page walks of length 4.
        const WALK_4 = 1 << 6;
        /// Page walks of length 5.
        const WALK_5 = 1 << 7;
        /// EPT structures in uncacheable memory.
        const UC = 1 << 8;
        /// EPT structures in write-back memory.
        const WB = 1 << 14;
        /// An EPT PDE can map a 2-MByte page.
        const PAGE_2M = 1 << 16;
        /// An EPT PDPTE can map a 1-GByte page.
        const PAGE_1G = 1 << 17;
        /// INVEPT.
        const INVEPT = 1 << 20;
        /// Accessed and dirty flags.
        const ACCESSED_DIRTY = 1 << 21;
        /// Advanced VM-exit information for EPT violations.
        const ADVANCED_EXIT_INFORMATION = 1 << 22;
        /// Supervisor shadow-stack control.
        const SUPERVISOR_SHADOW_STACK = 1 << 23;
        /// Single-context INVEPT (type 1).
        const INVEPT_SINGLE = 1 << 25;
        /// All-context INVEPT (type 2).
        const INVEPT_ALL = 1 << 26;
        /// INVVPID.
        const INVVPID = 1 << 32;
        /// Individual-address INVVPID (type 0).
        const INVVPID_ADDRESS = 1 << 40;
        /// Single-context INVVPID (type 1).
        const INVVPID_SINGLE = 1 << 41;
        /// All-context INVVPID (type 2).
        const INVVPID_ALL = 1 << 42;
        /// Single-context-retaining-globals INVVPID (type 3).
        const INVVPID_SINGLE_RETAINING_GLOBALS = 1 << 43;
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The numbers of the capability MSRs (SDM volume 3, appendix A; volume 4, table 2-2).

macro_rules! indices {
    ($($name:ident = $index:literal, $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`.")]
            pub const $name: u32 = $index;
        )*

        /// All of them.
        pub const ALL: &[u32] = &[$($name,)*];

        /// Its name: `IA32_VMX_BASIC`.
        pub const fn name(index: u32) -> Option<&'static str> {
            match index {
                $($name => Some($text),)*
                _ => None,
            }
        }
    };
}

indices! {
    FEATURE_CONTROL = 0x3a, "IA32_FEATURE_CONTROL";
    BASIC = 0x480, "IA32_VMX_BASIC";
    PINBASED_CTLS = 0x481, "IA32_VMX_PINBASED_CTLS";
    PROCBASED_CTLS = 0x482, "IA32_VMX_PROCBASED_CTLS";
    EXIT_CTLS = 0x483, "IA32_VMX_EXIT_CTLS";
    ENTRY_CTLS = 0x484, "IA32_VMX_ENTRY_CTLS";
    MISC = 0x485, "IA32_VMX_MISC";
    CR0_FIXED0 = 0x486, "IA32_VMX_CR0_FIXED0";
    CR0_FIXED1 = 0x487, "IA32_VMX_CR0_FIXED1";
    CR4_FIXED0 = 0x488, "IA32_VMX_CR4_FIXED0";
    CR4_FIXED1 = 0x489, "IA32_VMX_CR4_FIXED1";
    VMCS_ENUM = 0x48a, "IA32_VMX_VMCS_ENUM";
    PROCBASED_CTLS2 = 0x48b, "IA32_VMX_PROCBASED_CTLS2";
    EPT_VPID_CAP = 0x48c, "IA32_VMX_EPT_VPID_CAP";
    TRUE_PINBASED_CTLS = 0x48d, "IA32_VMX_TRUE_PINBASED_CTLS";
    TRUE_PROCBASED_CTLS = 0x48e, "IA32_VMX_TRUE_PROCBASED_CTLS";
    TRUE_EXIT_CTLS = 0x48f, "IA32_VMX_TRUE_EXIT_CTLS";
    TRUE_ENTRY_CTLS = 0x490, "IA32_VMX_TRUE_ENTRY_CTLS";
    VMFUNC = 0x491, "IA32_VMX_VMFUNC";
    PROCBASED_CTLS3 = 0x492, "IA32_VMX_PROCBASED_CTLS3";
    EXIT_CTLS2 = 0x493, "IA32_VMX_EXIT_CTLS2";
}

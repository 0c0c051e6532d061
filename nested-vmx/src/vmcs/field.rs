// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The fields of a VMCS, as an enum.

use core::fmt;

use super::encoding::{Access, Encoding, Kind, Width};
use super::table::vmcs_fields;
use crate::capability::Capabilities;
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls as P, SecondaryControls as S,
    SecondaryExitControls, TertiaryControls as T,
};

/// When a processor has a field: always, or where a control may be 1 (SDM volume 3, the notes of
/// appendix B).
#[derive(Clone, Copy, Debug)]
enum Existence {
    Always,
    Never,
    Pin(PinControls),
    Primary(P),
    Secondary(S),
    Tertiary(T),
    Entry(EntryControls),
    Exit(ExitControls),
    SecondaryExit(SecondaryExitControls),
    /// IA32_VMX_MISC counts at least so many CR3-target values.
    Cr3Targets(u32),
    /// The VM function 0 may be enabled.
    EptpSwitching,
    /// IA32_VMX_BASIC bit 49.
    DualMonitor,
    /// IA32_VMX_BASIC bit 58.
    NestedException,
    Pat,
    Efer,
    Bndcfgs,
    RtitCtl,
    Cet,
    Fred,
}

impl Existence {
    fn holds(self, capabilities: &Capabilities) -> bool {
        let may = |entry, exit| {
            capabilities.entry().may_be_1(entry) || capabilities.exit().may_be_1(exit)
        };
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Pin(control) => capabilities.pin().may_be_1(control),
            Self::Primary(control) => capabilities.primary().may_be_1(control),
            Self::Secondary(control) => capabilities.secondary().may_be_1(control),
            Self::Tertiary(control) => capabilities.tertiary().may_be_1(control),
            Self::Entry(control) => capabilities.entry().may_be_1(control),
            Self::Exit(control) => capabilities.exit().may_be_1(control),
            Self::SecondaryExit(control) => capabilities.secondary_exit().may_be_1(control),
            Self::Cr3Targets(count) => capabilities.misc.cr3_targets() >= count,
            Self::EptpSwitching => {
                capabilities.secondary().may_be_1(S::ENABLE_VM_FUNCTIONS)
                    && capabilities.vm_functions & 1 != 0
            }
            Self::DualMonitor => capabilities.basic.has_dual_monitor(),
            Self::NestedException => capabilities.basic.has_nested_exception(),
            Self::Pat => may(EntryControls::LOAD_PAT, ExitControls::SAVE_PAT),
            Self::Efer => may(EntryControls::LOAD_EFER, ExitControls::SAVE_EFER),
            Self::Bndcfgs => may(EntryControls::LOAD_BNDCFGS, ExitControls::CLEAR_BNDCFGS),
            Self::RtitCtl => may(EntryControls::LOAD_RTIT_CTL, ExitControls::CLEAR_RTIT_CTL),
            Self::Cet => may(EntryControls::LOAD_CET, ExitControls::LOAD_CET),
            Self::Fred => {
                capabilities.entry().may_be_1(EntryControls::LOAD_FRED)
                    || capabilities.secondary_exit().may_be_1(
                        SecondaryExitControls::SAVE_FRED | SecondaryExitControls::LOAD_FRED,
                    )
            }
        }
    }
}

macro_rules! define_fields {
    ($($variant:ident, $accessor:ident, $name:literal, $encoding:literal, $type:ident, $offset:literal, $existence:expr;)*) => {
        /// A field of the VMCS. Its numbers are in [`Field::encoding`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Field {
            $(
                #[doc = concat!($name, ", encoding ", stringify!($encoding), ".")]
                $variant,
            )*
        }

        impl Field {
            /// All fields, in the order of their encodings.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its encoding (that of the whole field).
            #[inline]
            pub const fn encoding(self) -> Encoding {
                match self {
                    $(Self::$variant => Encoding($encoding),)*
                }
            }

            /// Its name, the kernel's where that has one: `GUEST_CR0`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Where its bytes are in the region of a [`Vmcs`](super::Vmcs).
            #[inline]
            pub const fn offset(self) -> usize {
                match self {
                    $(Self::$variant => $offset,)*
                }
            }

            const fn existence(self) -> Existence {
                use Existence::*;
                match self {
                    $(Self::$variant => $existence,)*
                }
            }

            /// The field with this encoding. Both accesses of a 64-bit field name the same field.
            pub const fn from_encoding(encoding: Encoding) -> Option<Self> {
                if !encoding.is_well_formed() {
                    return None;
                }
                match encoding.full().0 {
                    $($encoding => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The field with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

vmcs_fields!(define_fields);

impl Field {
    /// The first offset in the region that KVM's layout does not use: fields from here on are not
    /// in the kernel's `struct vmcs12`.
    pub const KVM_LAYOUT_END: usize = 998;

    /// How wide it is.
    #[inline]
    pub const fn width(self) -> Width {
        self.encoding().width()
    }

    /// What it is for.
    #[inline]
    pub const fn kind(self) -> Kind {
        self.encoding().kind()
    }

    /// Whether the kernel's `struct vmcs12` has it.
    pub const fn is_in_kvm_layout(self) -> bool {
        self.offset() < Self::KVM_LAYOUT_END
    }

    /// Whether a processor with these capabilities has it. VMREAD and VMWRITE of others fail with
    /// error 12.
    pub fn exists(self, capabilities: &Capabilities) -> bool {
        self.existence().holds(capabilities)
    }

    /// The part of `value` that an access sees, at bit 0.
    pub(crate) const fn part(self, access: Access, value: u64) -> u64 {
        match access {
            Access::Full => value & self.width().mask(),
            Access::High => value >> 32,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

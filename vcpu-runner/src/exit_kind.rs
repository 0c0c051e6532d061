// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The kinds of exits, by which they are counted.

macro_rules! exit_kinds {
    ($($kind:ident),* $(,)?) => {
        /// The kinds of [`Exit`](crate::Exit)s, by which they are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ExitKind {
            $(
                #[doc = concat!("[`Exit::", stringify!($kind), "`](crate::Exit::", stringify!($kind), ").")]
                $kind,
            )*
        }

        impl ExitKind {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Its name, as in [`Exit`](crate::Exit).
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }

            pub(crate) const COUNT: usize = Self::ALL.len();
        }
    };
}

exit_kinds!(
    IoOut,
    IoIn,
    MmioRead,
    MmioWrite,
    Hlt,
    Shutdown,
    SystemEvent,
    InternalError,
    FailEntry,
    Debug,
    IrqWindowOpen,
    IoapicEoi,
    Hypercall,
    ReadMsr,
    WriteMsr,
    MemoryFault,
    Other,
);

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_at_its_own_index() {
        for (index, kind) in ExitKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index, "{}", kind.name());
        }
    }
}

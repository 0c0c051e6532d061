// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Linux's error numbers, by name (kernel, `include/uapi/asm-generic/errno-base.h` and `errno.h`).

use core::fmt;

/// An error number, as `errno` has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! numbers {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(
                #[doc = concat!($text, ".")]
                pub const $name: Self = Self($number);
            )*

            /// Its name: `EINVAL`. `None` for those that KVM's vCPU ioctls do not give.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    EPERM = 1, "Not permitted";
    ENOENT = 2, "There is no such thing";
    EINTR = 4, "Interrupted by a signal";
    EIO = 5, "Input or output failed";
    ENXIO = 6, "There is no such device or address";
    E2BIG = 7, "The list is too long for the buffer";
    EBADF = 9, "This is no open file";
    EAGAIN = 11, "Try again";
    ENOMEM = 12, "There is no memory left";
    EACCES = 13, "No permission";
    EFAULT = 14, "A pointer leads to no memory";
    EBUSY = 16, "It is in use";
    EEXIST = 17, "It exists already";
    ENODEV = 19, "There is no such device";
    EINVAL = 22, "A value that is not valid";
    ENOTTY = 25, "This is no ioctl of this file";
    ENOSYS = 38, "Not implemented";
    EOPNOTSUPP = 95, "Not supported";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

impl From<kvm_ioctls::Error> for Errno {
    fn from(error: kvm_ioctls::Error) -> Self {
        Self(error.errno())
    }
}

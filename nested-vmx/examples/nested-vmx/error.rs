// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be wrong with the inputs.

use std::io;
use std::path::PathBuf;

use nested_vmx::vmcs::REGION_SIZE;
use thiserror::Error;

/// What is wrong with an input, and what would be right.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    /// A file is larger than any input is.
    #[error("{}: more than 1 MiB is neither a vmcs12 nor a nested state", .0.display())]
    TooLarge(PathBuf),
    /// A file's content cannot be understood.
    #[error("{}: {problem}", path.display())]
    Content { path: PathBuf, problem: Problem },
}

/// What is wrong with a file's content.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// It is none of the kinds of input.
    #[error(
        "{0} bytes are neither a vmcs12 ({kvm} to {REGION_SIZE} bytes) nor a nested state of KVM's \
         (its size in the second 4 bytes), and no text; --input says which one is meant",
        kvm = nested_vmx::vmcs::Field::KVM_LAYOUT_END
    )]
    Unknown(usize),
    /// A vmcs12 has too few or too many bytes.
    #[error(
        "a vmcs12 has {kvm} to {REGION_SIZE} bytes, this has {0}",
        kvm = nested_vmx::vmcs::Field::KVM_LAYOUT_END
    )]
    VmcsSize(usize),
    /// A nested state is shorter than its header.
    #[error("a nested state begins with 128 bytes, this has {0}")]
    NoHeader(usize),
    /// A nested state is not Intel's.
    #[error("the format of the nested state is {0}; 0 is VMX, and only that can be explained")]
    Format(u16),
    /// A nested state's size is not that of the file.
    #[error("the nested state says that it has {said} bytes, the file has {found}: it is cut off")]
    CutOff { said: u32, found: usize },
    /// A line is no assignment.
    #[error("line {line}: {text:?} is not NAME=NUMBER")]
    Assignment { line: usize, text: String },
    /// Something is no number.
    #[error("line {line}: {text:?} is not a hexadecimal number of at most 64 bits")]
    Number { line: usize, text: String },
    /// There is no such field.
    #[error(
        "line {line}: {text:?} is no VMCS field: a name as GUEST_RIP, or an encoding as 681e, is meant"
    )]
    Field { line: usize, text: String },
    /// There is no such capability.
    #[error(
        "line {line}: {text:?} is no capability: IA32_VMX_BASIC or 480 to IA32_VMX_EXIT_CTLS2 or \
         493, IA32_FEATURE_CONTROL, cr0, cr4, efer, or maxphy is meant"
    )]
    Capability { line: usize, text: String },
    /// It is no text.
    #[error("it is not text")]
    NotText,
    /// A text has nothing in it.
    #[error("it says nothing")]
    Empty,
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be wrong with a command line, each in one line that names the flag and the remedy.

use thiserror::Error;

/// A command line that can't be obeyed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CliError {
    /// `--nested` wants something that there is not.
    #[error("--nested: {value:?} is not known; use --nested {usage}")]
    Nested {
        /// What was given.
        value: String,
        /// What may be.
        usage: &'static str,
    },
    /// More than one vCPU with `--nested soft`.
    #[error(
        "--nested soft has one vCPU, and --vcpu num={num} wants more: leave one of the two out"
    )]
    NestedVcpus {
        /// What was asked for.
        num: u8,
    },
    /// No such flag or subcommand.
    #[error("unknown argument `{argument}`; `--help` lists the flags")]
    UnknownArgument {
        /// As it was written.
        argument: String,
    },
    /// A flag was given twice.
    #[error("`{flag}` is given more than once; keep one")]
    RepeatedFlag {
        /// The flag.
        flag: String,
    },
    /// A flag that needs a value has none.
    #[error("`{flag}` needs a value: {flag} {usage}")]
    MissingValue {
        /// The flag.
        flag: &'static str,
        /// What its value looks like.
        usage: &'static str,
    },
    /// There is nothing to boot.
    #[error(
        "no kernel given: add --kernel path=FILE (an ELF vmlinux, a vmlinuz or a multiboot kernel)"
    )]
    MissingKernel,
    /// A parameter that the flag does not have.
    #[error("`{flag}` has no parameter `{name}`; expected {flag} {usage}")]
    UnknownParameter {
        /// The flag.
        flag: &'static str,
        /// The parameter as it was written.
        name: String,
        /// What the flag's value looks like.
        usage: &'static str,
    },
    /// A parameter was given twice.
    #[error("`{flag}` has parameter `{name}` more than once; keep one")]
    RepeatedParameter {
        /// The flag.
        flag: &'static str,
        /// The parameter.
        name: &'static str,
    },
    /// Something that is not `name=value`.
    #[error("`{flag}`: `{text}` is not name=value; expected {flag} {usage}")]
    NotAParameter {
        /// The flag.
        flag: &'static str,
        /// As it was written.
        text: String,
        /// What the flag's value looks like.
        usage: &'static str,
    },
    /// A double quote is opened and never closed.
    #[error("`{flag}`: the value of `{name}` opens a double quote that no later one closes")]
    UnclosedQuote {
        /// The flag.
        flag: &'static str,
        /// The parameter.
        name: &'static str,
    },
    /// Not a number, or one that no machine word holds.
    #[error("`{flag}`: {name}=`{value}` is not a number; use decimal or 0x and hexadecimal digits")]
    NotANumber {
        /// The flag.
        flag: &'static str,
        /// The parameter.
        name: &'static str,
        /// As it was written.
        value: String,
    },
    /// A number that the machine can't have.
    #[error("`{flag}`: {name}={value} is out of range; use {min} to {max}")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// The parameter.
        name: &'static str,
        /// The number.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// A path that must be given is empty.
    #[error("`{flag}` needs a path: {flag} {usage}")]
    MissingPath {
        /// The flag.
        flag: &'static str,
        /// What the flag's value looks like.
        usage: &'static str,
    },
    /// The kernel would cut the command line off.
    #[error("the kernel command line has {len} bytes; Linux reads at most {max}: shorten it")]
    CmdlineTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The command line holds what can't be passed on.
    #[error("the kernel command line may hold printable ASCII only; byte {offset} is {byte:#04x}")]
    CmdlineNotAscii {
        /// Where.
        offset: usize,
        /// What.
        byte: u8,
    },
    /// Not a log level.
    #[error("`--log`: `{value}` is not a level; use off, error, warn, info, debug or trace")]
    LogLevel {
        /// As it was written.
        value: String,
    },
    /// A flag of rust-vmm's first vmm-reference that this one does not have.
    #[error("`{flag}` is not there yet: this VMM has a serial console and no virtio devices")]
    NotYet {
        /// The flag.
        flag: &'static str,
    },
    /// Anything else that the argument parser found.
    #[error("{message}; see --help")]
    Usage {
        /// In its words.
        message: String,
    },
}

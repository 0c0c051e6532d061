// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What to run: the kernel, the machine's size, the console. [`crate::cli`] fills it from flags;
//! a program that embeds the VMM starts from [`VmmConfig::new`] and sets what differs.

use std::path::PathBuf;

use log::LevelFilter;
use nested_vmx::soft::Catch;

/// The command line that a kernel gets when none is given.
///
/// Console on the first serial port; a panic resets the machine after a second; a reset goes
/// through the keyboard controller, which is emulated; there is no PCI bus to look for.
pub const DEFAULT_CMDLINE: &str = "console=ttyS0 reboot=k panic=1 pci=off";

/// The longest command line, without the final NUL, that Linux reads on x86.
pub const MAX_CMDLINE_LEN: usize = 2047;

/// Guest memory when none is given.
pub const DEFAULT_MEMORY_MIB: u32 = 256;

/// The debug exit port when none is given: the one that most test programs use.
pub const DEFAULT_DEBUG_EXIT_PORT: u16 = 0xf4;

/// The most vCPUs that xAPIC ids can name (255 means "all").
///
/// KVM may allow fewer: it is asked when the VM is made.
pub const MAX_VCPUS: u8 = 254;

/// Everything the VMM needs to know before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmmConfig {
    /// The kernel and its command line.
    pub kernel: KernelConfig,
    /// The guest's memory.
    pub memory: MemoryConfig,
    /// The guest's CPUs.
    pub vcpus: VcpuConfig,
    /// An initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Where the first serial port leads.
    pub serial: SerialConfig,
    /// The first of the four ports by which the guest may end its run with a status, as QEMU's
    /// `isa-debug-exit`.
    pub debug_exit: Option<u16>,
    /// Whether the guest has VMX though the host's KVM has none, and how it is caught.
    pub nested: Option<NestedConfig>,
    /// What the VMM itself logs, on standard error.
    pub log: LevelFilter,
    /// Where to write a JSON summary of the run.
    pub summary: Option<PathBuf>,
}

impl VmmConfig {
    /// A machine with the default size and console, for the kernel at `kernel`.
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Self {
            kernel: KernelConfig::new(kernel),
            memory: MemoryConfig::default(),
            vcpus: VcpuConfig::default(),
            initrd: None,
            serial: SerialConfig::Stdio,
            debug_exit: None,
            nested: None,
            log: LevelFilter::Warn,
            summary: None,
        }
    }
}

/// The kernel to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// An ELF `vmlinux`, a bzImage `vmlinuz` or a multiboot kernel.
    pub path: PathBuf,
    /// The kernel's command line. A multiboot kernel gets the name of its file instead of the
    /// [default](DEFAULT_CMDLINE), which is Linux's.
    pub cmdline: String,
    /// No part of the kernel may lie below this address (default: 1 MiB, the start of high
    /// memory). rust-vmm's first vmm-reference gave the parameter this meaning.
    pub kernel_load_addr: Option<u64>,
}

impl KernelConfig {
    /// The kernel at `path` with the [default command line](DEFAULT_CMDLINE).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cmdline: DEFAULT_CMDLINE.to_owned(),
            kernel_load_addr: None,
        }
    }
}

/// The guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Its size in MiB.
    pub size_mib: u32,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            size_mib: DEFAULT_MEMORY_MIB,
        }
    }
}

/// The guest's CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuConfig {
    /// How many.
    pub num: u8,
}

impl Default for VcpuConfig {
    fn default() -> Self {
        Self { num: 1 }
    }
}

/// VMX for the guest, in software.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NestedConfig {
    /// How the guest's VMX instructions are caught; `None`: as is best on this host.
    pub catch: Option<Catch>,
}

/// Where the guest's first serial port leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SerialConfig {
    /// To standard input and output.
    #[default]
    Stdio,
    /// To a file, output only.
    File(PathBuf),
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM's binary with a guest of a few instructions: an ELF file with a PVH note, assembled by
//! hand, so that the whole way from command line to exit status runs on any KVM, also on one that
//! emulates guest kernels.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "part of tests, though not itself one"
)]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use vmm_sys_util::tempdir::TempDir;

/// The VMM: cargo's, or what VMM_REFERENCE names, in a machine that has only what it was given.
pub fn binary() -> String {
    let named = env::var("VMM_REFERENCE");
    named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_vmm-reference").to_owned())
}

const LOAD_ADDRESS: u32 = 0x10_0000;

/// Code for 32-bit protected mode, ring 0: how a PVH kernel starts.
#[derive(Clone, Default)]
pub struct Guest(Vec<u8>);

impl Guest {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn code(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// mov dx, port
    fn port(self, port: u16) -> Self {
        let [low, high] = port.to_le_bytes();
        self.code(&[0x66, 0xba, low, high])
    }

    /// Writes `text` to the serial port.
    pub fn print(self, text: &str) -> Self {
        text.bytes().fold(self.port(0x3f8), |guest, byte| {
            // mov al, byte; out dx, al
            guest.code(&[0xb0, byte, 0xee])
        })
    }

    /// Writes `text` to the serial port with one string instruction. Comes first in the code.
    pub fn print_string(self, text: &str) -> Self {
        assert!(self.0.is_empty());
        let len = text.len() as u8;
        // mov esi, text; mov ecx, len; mov dx, port; rep outsb; jmp over the text
        let start = (LOAD_ADDRESS + 18).to_le_bytes();
        self.code(&[0xbe])
            .code(&start)
            .code(&[0xb9, len, 0, 0, 0])
            .port(0x3f8)
            .code(&[0xf3, 0x6e, 0xeb, len])
            .code(text.as_bytes())
    }

    /// ACPI's S5.
    pub fn power_off(self) -> Self {
        // mov ax, SLP_TYP 5 and SLP_EN; out dx, ax
        self.port(0x604).code(&[0x66, 0xb8, 0x00, 0x34, 0x66, 0xef])
    }

    /// The keyboard controller's.
    pub fn reset(self) -> Self {
        // mov al, 0xfe; out 0x64, al
        self.code(&[0xb0, 0xfe, 0xe6, 0x64])
    }

    /// The ACPI reset register's.
    pub fn acpi_reset(self) -> Self {
        // mov al, 1; out dx, al
        self.port(0x606).code(&[0xb0, 0x01, 0xee])
    }

    /// An invalid instruction without a handler.
    pub fn triple_fault(self) -> Self {
        // ud2
        self.code(&[0x0f, 0x0b])
    }

    /// An instruction that no KVM can emulate, with an operand where no memory is, so that every
    /// KVM must.
    pub fn unknown_instruction(self) -> Self {
        // popcnt eax, [0xd0000000]
        self.code(&[0xf3, 0x0f, 0xb8, 0x05, 0x00, 0x00, 0x00, 0xd0])
    }

    /// Writes `value` to the debug exit port.
    pub fn debug_exit(self, value: u8) -> Self {
        // mov al, value; out 0xf4, al
        self.code(&[0xb0, value, 0xe6, 0xf4])
    }

    /// Jumps to itself.
    pub fn spin(self) -> Self {
        self.code(&[0xeb, 0xfe])
    }

    /// Halts with interrupts off.
    pub fn halt(self) -> Self {
        // cli; hlt; jump back
        self.code(&[0xfa, 0xf4, 0xeb, 0xfd])
    }

    /// Prints without end.
    pub fn flood(self) -> Self {
        // mov al, 'x'; again: out dx, al; jmp again
        self.port(0x3f8).code(&[0xb0, b'x', 0xee, 0xeb, 0xfd])
    }

    /// Prints what is typed, until a 'q'.
    pub fn echo_until_q(self) -> Self {
        self.code(&[
            0x66, 0xba, 0xfd, 0x03, // again: mov dx, line status
            0xec, // in al, dx
            0xa8, 0x01, // test al, data ready
            0x74, 0xf7, // jz again
            0x66, 0xba, 0xf8, 0x03, // mov dx, data
            0xec, 0xee, // in al, dx; out dx, al
            0x3c, b'q', // cmp al, 'q'
            0x75, 0xed, // jne again
        ])
    }

    /// Magic, these flags, checksum.
    fn multiboot_header(flags: u32) -> [[u8; 4]; 3] {
        let checksum = 0u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
        [0x1bad_b002, flags, checksum].map(u32::to_le_bytes)
    }

    /// A flat file with a multiboot header that says where it is loaded and entered.
    pub fn multiboot_flat(&self) -> Vec<u8> {
        const HEADER: u32 = 32;
        let mut file = Self::multiboot_header(1 << 16).concat();
        for field in [LOAD_ADDRESS, LOAD_ADDRESS, 0, 0, LOAD_ADDRESS + HEADER] {
            file.extend(field.to_le_bytes());
        }
        file.extend(&self.0);
        file
    }

    /// An ELF file of 32 bits with a multiboot header.
    pub fn multiboot_elf(&self) -> Vec<u8> {
        const HEADERS: u32 = 52 + 32;
        let mut content = Self::multiboot_header(3).concat();
        let entry = LOAD_ADDRESS + content.len() as u32;
        content.extend(&self.0);
        let len = content.len() as u32;
        let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([2u16, 3].map(u16::to_le_bytes).concat());
        elf.extend([1, entry, 52, 0, 0].map(u32::to_le_bytes).concat());
        elf.extend([52u16, 32, 1, 40, 0, 0].map(u16::to_le_bytes).concat());
        let segment = [1, HEADERS, LOAD_ADDRESS, LOAD_ADDRESS, len, len, 7, 4];
        elf.extend(segment.map(u32::to_le_bytes).concat());
        elf.extend(content);
        elf
    }

    /// The ELF file.
    pub fn elf(&self) -> Vec<u8> {
        const HEADERS: u64 = 64 + 2 * 56;
        // A note: name, value, type 18 (XEN_ELFNOTE_PHYS32_ENTRY).
        let mut note = Vec::new();
        for word in [4u32, 4, 18] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"Xen\0");
        note.extend(LOAD_ADDRESS.to_le_bytes());
        let code_offset = HEADERS + note.len() as u64;
        let code_len = self.0.len() as u64;

        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [2u16, 62] {
            elf.extend(half.to_le_bytes());
        }
        elf.extend(1u32.to_le_bytes());
        for quad in [u64::from(LOAD_ADDRESS), 64, 0] {
            elf.extend(quad.to_le_bytes());
        }
        elf.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 2, 64, 0, 0] {
            elf.extend(half.to_le_bytes());
        }
        let mut segment = |kind: u32, offset: u64, address: u64, len: u64| {
            elf.extend(kind.to_le_bytes());
            elf.extend(7u32.to_le_bytes());
            for quad in [offset, address, address, len, len, 4] {
                elf.extend(quad.to_le_bytes());
            }
        };
        segment(1, code_offset, LOAD_ADDRESS.into(), code_len);
        segment(4, HEADERS, 0, note.len() as u64);
        elf.extend(note);
        elf.extend(&self.0);
        elf
    }
}

/// A directory with a guest's kernel in it.
pub struct Machine {
    dir: TempDir,
}

impl Machine {
    pub fn new(guest: &Guest) -> Self {
        Self::with_kernel(&guest.elf())
    }

    pub fn with_kernel(kernel: &[u8]) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.as_path().join("kernel"), kernel).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.as_path().join(name)
    }

    /// The binary with `arguments`, its standard input empty.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("--kernel")
            .arg(format!("path={}", self.path("kernel").display()))
            .args(["--memory", "size_mib=16"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A shell starts what it puts into the background with SIGINT and SIGQUIT ignored, which the
        // tests would hand on, and the VMM leaves a signal ignored that is.
        let as_usual = || {
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM] {
                // SAFETY: signal is async-signal-safe, and SIG_DFL is no function.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls and allocates nothing.
        unsafe { command.pre_exec(as_usual) };
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::run(&mut self.command(arguments))
    }

    pub fn summary(&self) -> serde_json::Value {
        let text = fs::read_to_string(self.path("summary.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub fn summary_flag(&self) -> String {
        format!("file={}", self.path("summary.json").display())
    }
}

/// How the binary ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl Ran {
    /// Runs `command`; what it says is caught.
    pub fn run(command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of(command.spawn().unwrap())
    }

    pub fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self::new(output.status, &output.stdout, &output.stderr)
    }

    fn new(status: ExitStatus, output: &[u8], errors: &[u8]) -> Self {
        Self {
            status: status.code(),
            signal: status.signal(),
            output: String::from_utf8_lossy(output).into_owned(),
            errors: String::from_utf8_lossy(errors).into_owned(),
        }
    }

    /// The one line that tells what went wrong.
    pub fn complaint(&self) -> &str {
        let line = self.errors.strip_suffix('\n').unwrap_or(&self.errors);
        assert!(!line.contains('\n') && !line.is_empty(), "{self:?}");
        line.strip_prefix("vmm-reference: ")
            .unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// Reads from `stream` until `text` has come.
pub fn read_until(stream: &mut impl Read, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = stream.read(&mut byte).unwrap();
        assert_ne!(count, 0, "ended after {:?}", String::from_utf8_lossy(&seen));
        seen.extend(byte);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

pub fn send(child: &Child, signal: i32) {
    // SAFETY: the child has not been waited for, so that its id is its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

pub fn type_in(child: &mut Child, text: &[u8]) {
    child.stdin.as_mut().unwrap().write_all(text).unwrap();
}

/// What a host must have for these tests. Prints why if it has not.
pub fn has_kvm(test: &str) -> bool {
    match vmm_reference::kvm_device::open(Path::new(vmm_reference::kvm_device::KVM_PATH)) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("SKIPPED: {test}: {error}");
            false
        }
    }
}

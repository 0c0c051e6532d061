// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The instruction that a vCPU stands at: found through the guest's page tables, decoded with
//! iced-x86.

use std::fmt;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// No x86 instruction is longer (SDM vol. 2, 2.3.11).
pub const MAX_INSTRUCTION_LEN: usize = 15;

const PAGE: u64 = 4096;
const EFER_LMA: u64 = 1 << 10;

/// Where a vCPU stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestInstruction {
    /// RIP.
    pub rip: u64,
    /// The instruction's bytes; none if they cannot be read.
    pub bytes: Vec<u8>,
    /// It, disassembled; `None`: these bytes are no instruction.
    pub text: Option<String>,
}

impl GuestInstruction {
    /// The instruction at the vCPU's RIP. `known`: its first bytes, if KVM has told them.
    ///
    /// # Errors
    /// When the registers cannot be had.
    pub fn at_rip(
        vcpu: &VcpuFd,
        memory: &GuestMemoryMmap,
        known: Option<&[u8]>,
    ) -> Result<Self, kvm_ioctls::Error> {
        let regs = vcpu.get_regs()?;
        let sregs = vcpu.get_sregs()?;
        let bytes = match known {
            Some(known) => known.to_vec(),
            None => read(vcpu, memory, linear_rip(&regs, &sregs)),
        };
        Ok(Self::decode(regs.rip, bitness(&sregs), &bytes))
    }

    /// Decodes `bytes`, which are at `rip`.
    pub fn decode(rip: u64, bitness: u32, bytes: &[u8]) -> Self {
        let fetched = bytes.get(..MAX_INSTRUCTION_LEN).unwrap_or(bytes);
        let instruction = Decoder::with_ip(bitness, fetched, rip, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            return Self {
                rip,
                bytes: fetched.to_vec(),
                text: None,
            };
        }
        let mut text = String::new();
        IntelFormatter::new().format(&instruction, &mut text);
        Self {
            rip,
            bytes: fetched.get(..instruction.len()).unwrap_or(fetched).to_vec(),
            text: Some(text),
        }
    }
}

/// `popcnt rax,rdi` (f3 48 0f b8 c7) at RIP 0x1000000
impl fmt::Display for GuestInstruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "`{text}` (")?,
            None if self.bytes.is_empty() => write!(f, "an unreadable instruction (")?,
            None => write!(f, "no instruction (")?,
        }
        for (index, byte) in self.bytes.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{byte:02x}")?;
        }
        if self.bytes.is_empty() {
            f.write_str("no bytes")?;
        }
        write!(f, ") at RIP {:#x}", self.rip)
    }
}

fn bitness(sregs: &kvm_sregs) -> u32 {
    match (sregs.efer & EFER_LMA != 0 && sregs.cs.l != 0, sregs.cs.db) {
        (true, _) => 64,
        (false, 0) => 16,
        (false, _) => 32,
    }
}

fn linear_rip(regs: &kvm_regs, sregs: &kvm_sregs) -> u64 {
    match bitness(sregs) {
        64 => regs.rip,
        _ => sregs.cs.base.wrapping_add(regs.rip) & u64::from(u32::MAX),
    }
}

/// What can be read of the instruction at `linear`. It may end in the next page, which may lie
/// anywhere or nowhere.
fn read(vcpu: &VcpuFd, memory: &GuestMemoryMmap, linear: u64) -> Vec<u8> {
    let in_page = (PAGE - linear % PAGE).min(MAX_INSTRUCTION_LEN as u64) as usize;
    let mut bytes = read_in_page(vcpu, memory, linear, in_page);
    if bytes.len() == in_page {
        let next = linear.wrapping_add(in_page as u64);
        bytes.extend(read_in_page(
            vcpu,
            memory,
            next,
            MAX_INSTRUCTION_LEN - in_page,
        ));
    }
    bytes
}

fn read_in_page(vcpu: &VcpuFd, memory: &GuestMemoryMmap, linear: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let physical = match vcpu.translate_gva(linear) {
        Ok(translation) if translation.valid != 0 => translation.physical_address,
        _ => return Vec::new(),
    };
    match memory.read_slice(&mut bytes, GuestAddress(physical)) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_named_with_their_bytes_and_rip() {
        let bytes = [0xf3, 0x48, 0x0f, 0xb8, 0xc7, 0x90, 0x90];
        let popcnt = GuestInstruction::decode(0x100_0000, 64, &bytes);
        assert_eq!(
            popcnt.to_string(),
            "`popcnt rax,rdi` (f3 48 0f b8 c7) at RIP 0x1000000"
        );
        let in_16_bit = GuestInstruction::decode(0x7c00, 16, &[0xb8, 0x34, 0x12]);
        assert_eq!(in_16_bit.text.as_deref(), Some("mov ax,1234h"));
    }

    #[test]
    fn what_is_no_instruction_or_cut_off_is_told_as_it_is() {
        let invalid = GuestInstruction::decode(0x10, 64, &[0x06]);
        assert_eq!(invalid.to_string(), "no instruction (06) at RIP 0x10");
        let cut_off = GuestInstruction::decode(0x10, 64, &[0xf3, 0x48]);
        assert_eq!(cut_off.text, None);
        let unreadable = GuestInstruction::decode(u64::MAX, 64, &[]);
        assert!(
            unreadable
                .to_string()
                .starts_with("an unreadable instruction")
        );
        assert_eq!(GuestInstruction::decode(0, 64, &[0x66; 40]).bytes.len(), 15);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM_EXIT_INTERNAL_ERROR: what KVM tells, in words that help.

use std::fmt;

use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION,
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
};

use crate::guest_instruction::{GuestInstruction, MAX_INSTRUCTION_LEN};

/// KVM cannot go on with this guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalError {
    /// KVM_INTERNAL_ERROR_*.
    pub suberror: u32,
    /// KVM's own data.
    pub data: Vec<u64>,
    /// Where the vCPU stands; `None`: its registers cannot be had.
    pub at: Option<GuestInstruction>,
}

/// The bytes of the instruction that could not be emulated, if `data` hold them
/// (`kvm_run.emulation_failure`: flags, then a length and 15 bytes).
pub fn instruction_bytes(suberror: u32, data: &[u64]) -> Option<Vec<u8>> {
    let (flags, rest) = data.split_first()?;
    let has_bytes = flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
    if suberror != KVM_INTERNAL_ERROR_EMULATION || !has_bytes {
        return None;
    }
    let bytes: Vec<u8> = rest.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (&len, bytes) = bytes.split_first()?;
    let len = usize::from(len).min(MAX_INSTRUCTION_LEN);
    bytes
        .get(..len)
        .filter(|bytes| !bytes.is_empty())
        .map(<[u8]>::to_vec)
}

impl fmt::Display for InternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.suberror {
            KVM_INTERNAL_ERROR_EMULATION => f.write_str("KVM cannot emulate ")?,
            KVM_INTERNAL_ERROR_SIMUL_EX => {
                f.write_str("KVM cannot emulate simultaneous exceptions (SIMUL_EX) of ")?;
            }
            KVM_INTERNAL_ERROR_DELIVERY_EV => {
                f.write_str("an exit while an event was delivered (DELIVERY_EV) at ")?;
            }
            KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => {
                f.write_str("an exit that KVM does not know (UNEXPECTED_EXIT_REASON) at ")?;
            }
            other => write!(f, "KVM's internal error {other} at ")?,
        }
        match &self.at {
            Some(at) => write!(f, "{at}; ")?,
            None => f.write_str("an unknown place; ")?,
        }
        if self.suberror == KVM_INTERNAL_ERROR_EMULATION {
            f.write_str(
                "where KVM emulates guest kernel code, Linux cannot boot: `vmm-reference host` \
                 tells whether it does here and what to run instead",
            )
        } else {
            write!(
                f,
                "KVM's data are {:x?}; the guest has destroyed its own state or the host's KVM \
                 has a defect, see `dmesg`",
                self.data
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As KVM writes them: ndata counts these words.
    fn emulation_data(flags: u64, len: u8, bytes: [u8; 15]) -> Vec<u64> {
        let mut all = vec![len];
        all.extend(bytes);
        let words = all
            .chunks(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        [flags].into_iter().chain(words).collect()
    }

    #[test]
    fn the_instruction_is_taken_from_kvms_data() {
        let mut bytes = [0; 15];
        bytes[..5].copy_from_slice(&[0xf3, 0x48, 0x0f, 0xb8, 0xc7]);
        let data = emulation_data(1, 5, bytes);
        assert_eq!(instruction_bytes(1, &data).unwrap(), bytes[..5]);
        let odd_length = emulation_data(1, 255, bytes);
        assert_eq!(instruction_bytes(1, &odd_length).unwrap(), bytes);
    }

    #[test]
    fn data_without_an_instruction_give_none() {
        let data = emulation_data(0, 5, [0x90; 15]);
        assert_eq!(instruction_bytes(1, &data), None);
        let data = emulation_data(1, 0, [0x90; 15]);
        assert_eq!(instruction_bytes(1, &data), None);
        let data = emulation_data(1, 5, [0x90; 15]);
        assert_eq!(instruction_bytes(3, &data), None);
        for cut in 0..2 {
            assert_eq!(instruction_bytes(1, &data[..cut]), None);
        }
    }

    #[test]
    fn the_message_is_one_line_with_instruction_and_advice() {
        let error = InternalError {
            suberror: 1,
            data: vec![],
            at: Some(GuestInstruction::decode(0x100_0000, 64, &[0xcc])),
        };
        let message = error.to_string();
        assert!(message.starts_with("KVM cannot emulate `int3` (cc) at RIP 0x1000000; "));
        assert!(message.contains("vmm-reference host"), "{message}");
        for suberror in [0, 2, 3, 4, 77] {
            let error = InternalError {
                suberror,
                data: vec![1, 2],
                at: None,
            };
            assert!(!error.to_string().contains('\n'));
        }
    }
}

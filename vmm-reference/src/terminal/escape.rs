// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Keys for the VMM itself. In raw mode every key goes to the guest, Ctrl-C too, so Ctrl-A begins
//! a command, as it does in QEMU and screen.

/// What Ctrl-A and a key ask of the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// x: end the VMM.
    Quit,
    /// r: show the vCPUs' registers.
    Registers,
}

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

/// Parts the VMM's keys from the guest's.
#[derive(Debug, Default)]
pub struct EscapeKeys(Seen);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Nothing,
    Escape,
}

impl EscapeKeys {
    /// What a user has to know.
    pub const HELP: &'static str = "the guest has the keyboard; Ctrl-A x quits, Ctrl-A r shows registers, \
         Ctrl-A Ctrl-A sends Ctrl-A";

    /// Takes a key. What is for the guest goes to `guest`.
    pub fn key(&mut self, key: u8, guest: &mut impl Extend<u8>) -> Option<Command> {
        match (std::mem::take(&mut self.0), key) {
            (Seen::Nothing, ESCAPE) => self.0 = Seen::Escape,
            (Seen::Nothing, key) => guest.extend([key]),
            (Seen::Escape, b'x') => return Some(Command::Quit),
            (Seen::Escape, b'r') => return Some(Command::Registers),
            (Seen::Escape, ESCAPE | b'a') => guest.extend([ESCAPE]),
            (Seen::Escape, key) => guest.extend([ESCAPE, key]),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(keys: &[u8]) -> (Vec<u8>, Vec<Command>) {
        let mut escape = EscapeKeys::default();
        let mut guest = Vec::new();
        let commands = keys
            .iter()
            .filter_map(|&key| escape.key(key, &mut guest))
            .collect();
        (guest, commands)
    }

    #[test]
    fn ctrl_a_begins_a_command() {
        assert_eq!(type_in(b"ab\x03"), (b"ab\x03".to_vec(), vec![]));
        assert_eq!(type_in(b"a\x01x"), (b"a".to_vec(), vec![Command::Quit]));
        assert_eq!(type_in(b"\x01r"), (vec![], vec![Command::Registers]));
    }

    #[test]
    fn ctrl_a_can_be_sent_and_other_keys_are_not_swallowed() {
        assert_eq!(type_in(b"\x01\x01x"), (b"\x01x".to_vec(), vec![]));
        assert_eq!(type_in(b"\x01ax"), (b"\x01x".to_vec(), vec![]));
        assert_eq!(type_in(b"\x01k"), (b"\x01k".to_vec(), vec![]));
    }
}

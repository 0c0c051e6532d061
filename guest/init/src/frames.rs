// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Several channels on one way out.
//!
//! A frame is [`MAGIC`], the channel's number, the length of what follows as two bytes (the low one
//! first), and that many bytes. What lies between frames is not ours: the emulator says a few words
//! there before the machine runs and after it.

use std::io::{self, Read};

use crate::channel::Channel;

/// How each frame begins: bytes that no text has.
pub const MAGIC: [u8; 4] = [0xff, 0x00, 0xfe, 0x01];

/// The most that one frame carries.
pub const MAX_LENGTH: usize = u16::MAX as usize;

/// The frame that carries `bytes`, or as many of them as go into one.
pub fn encode(channel: Channel, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(MAGIC.len() + 3 + usize::from(length));
    frame.extend(MAGIC);
    frame.push(channel.number());
    frame.extend(length.to_le_bytes());
    frame.extend(bytes.iter().take(length.into()));
    frame
}

/// Reads the next frame, or `None` at the end. Skips what is no frame.
pub fn decode(reader: &mut impl Read) -> io::Result<Option<(Channel, Vec<u8>)>> {
    loop {
        let Some([number, low, high]) = header(reader)? else {
            return Ok(None);
        };
        let mut bytes = vec![0; u16::from_le_bytes([low, high]).into()];
        let known = Channel::ALL
            .into_iter()
            .find(|channel| channel.number() == number);
        if let Some(channel) = known {
            reader.read_exact(&mut bytes)?;
            return Ok(Some((channel, bytes)));
        }
    }
}

/// Finds the next [`MAGIC`] and returns the three bytes behind it.
fn header(reader: &mut impl Read) -> io::Result<Option<[u8; 3]>> {
    let mut last = [0; MAGIC.len()];
    while last != MAGIC {
        let mut byte = [0];
        match reader.read_exact(&mut byte) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        last.rotate_left(1);
        let [.., end] = &mut last;
        [*end] = byte;
    }
    let mut header = [0; 3];
    reader.read_exact(&mut header).map(|()| Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(mut bytes: &[u8]) -> io::Result<Vec<(Channel, Vec<u8>)>> {
        std::iter::from_fn(|| decode(&mut bytes).transpose()).collect()
    }

    #[test]
    fn frames_come_back_from_among_other_text() {
        let every_byte: Vec<u8> = (0..=255).chain(MAGIC).collect();
        let mut stream = b"Next at t=0\n\xff\x00\xfe\xff".to_vec();
        stream.extend(encode(Channel::Stdout, &every_byte));
        stream.extend(encode(Channel::Report, b""));
        stream.extend(b"(0).[12] out dx, al");
        stream.extend(encode(Channel::Stderr, b"x"));
        stream.extend(b"bye\xff\x00");
        let expected = [
            (Channel::Stdout, every_byte),
            (Channel::Report, Vec::new()),
            (Channel::Stderr, b"x".to_vec()),
        ];
        assert_eq!(decode_all(&stream).unwrap(), expected);
    }

    #[test]
    fn a_frame_carries_so_much_and_no_more() {
        let frame = encode(Channel::Stdout, &vec![7; MAX_LENGTH + 1]);
        let carried = decode_all(&frame).unwrap();
        assert_eq!(carried, [(Channel::Stdout, vec![7; MAX_LENGTH])]);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let frame = encode(Channel::Stdout, b"abc");
        for length in MAGIC.len()..frame.len() {
            assert!(decode_all(&frame[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_channel_that_there_is_not_is_no_frame() {
        let mut stream = MAGIC.to_vec();
        stream.extend([9, 1, 0, b'x']);
        stream.extend(encode(Channel::Report, b"y"));
        assert_eq!(
            decode_all(&stream).unwrap(),
            [(Channel::Report, b"y".to_vec())]
        );
    }
}

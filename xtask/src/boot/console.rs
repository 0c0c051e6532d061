// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's console: shown as it comes, and watched for the line that says that user space was
//! reached.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use guest_init::greeting::Greeting;

/// The longest line that is looked at.
const MAX_LINE: usize = 4096;

/// The greeting and when it came, once it has come.
pub type Sighting = Arc<Mutex<Option<(Greeting, Instant)>>>;

/// What was seen, if anything.
pub fn seen(sighting: &Sighting) -> Option<(Greeting, Instant)> {
    sighting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Passes bytes on, and looks for the greeting in them.
pub struct Console<W> {
    output: W,
    line: Vec<u8>,
    sighting: Sighting,
}

impl<W: Write> Console<W> {
    /// A console that is shown on `output`.
    pub fn new(output: W) -> (Self, Sighting) {
        let sighting = Sighting::default();
        (
            Self {
                output,
                line: Vec::new(),
                sighting: sighting.clone(),
            },
            sighting,
        )
    }

    fn watch(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < MAX_LINE {
                    self.line.push(byte);
                }
                continue;
            }
            if let Some(greeting) = Greeting::find(&String::from_utf8_lossy(&self.line)) {
                let mut sighting = self.sighting.lock().unwrap_or_else(PoisonError::into_inner);
                sighting.get_or_insert_with(|| (greeting, Instant::now()));
            }
            self.line.clear();
        }
    }
}

impl<W: Write> Write for Console<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Watched first: when nobody reads the output any more, the boot is still judged.
        self.watch(bytes);
        self.output.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"[ 0.1] Linux\r\n\
        init: Linux 6.1.0, 1 CPU, 242 MiB, 0.81 s after start\r\nmore\r\n";

    #[test]
    fn the_greeting_is_seen_in_pieces_of_any_size() {
        for size in 1..TEXT.len() {
            let mut shown = Vec::new();
            let (mut console, sighting) = Console::new(&mut shown);
            TEXT.chunks(size)
                .for_each(|piece| console.write_all(piece).unwrap());
            assert_eq!(seen(&sighting).unwrap().0.kernel, "6.1.0");
            assert_eq!(shown, TEXT);
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let (mut console, sighting) = Console::new(io::sink());
        console.write_all(&vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(console.line.len(), MAX_LINE);
        console.write_all(b"\n").unwrap();
        console.write_all(TEXT).unwrap();
        assert!(seen(&sighting).is_some());
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This program under valgrind's callgrind, which counts.

use std::env;
use std::ops::Sub;
use std::process::Command;

use crate::driver::Driver;

/// What callgrind counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Instructions (Ir).
    pub instructions: u64,
    /// Data reads (Dr).
    pub loads: u64,
    /// Data writes (Dw).
    pub stores: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            instructions: self.instructions - less.instructions,
            loads: self.loads - less.loads,
            stores: self.stores - less.stores,
        }
    }
}

/// Whether there is a valgrind.
pub fn is_there() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Has a process of its own do it, and counts from its first instruction to its last.
pub fn count(driver: Driver, entries: u64) -> Counts {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(env::current_exe().unwrap())
        .args(["--driver", driver.name()])
        .args(["--entries", &entries.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    parse(&said).unwrap_or_else(|| panic!("callgrind's summary is not there:\n{said}"))
}

/// Reads the summary: a line with the events' names and one with how many there were.
fn parse(said: &str) -> Option<Counts> {
    let words = |key: &str| {
        let after = |line: &'_ str| Some(line.split_once(key)?.1.trim().to_owned());
        said.lines().find_map(after)
    };
    let (names, numbers) = (words("Events    :")?, words("Collected :")?);
    let pairs: Vec<_> = names.split(' ').zip(numbers.split(' ')).collect();
    let of = |event: &str| {
        let (_, number) = pairs.iter().find(|(name, _)| *name == event)?;
        number.parse().ok()
    };
    Some(Counts {
        instructions: of("Ir")?,
        loads: of("Dr")?,
        stores: of("Dw")?,
    })
}

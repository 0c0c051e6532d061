// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A benchmark's command line.

use std::env;
use std::process::exit;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// One line of JSON for each row, and nothing else on standard output.
    pub json: bool,
    /// So few repetitions that the figures mean nothing: whether the program runs at all.
    pub quick: bool,
    /// What to call the machine that this runs on.
    pub host: String,
    /// Arguments that only this benchmark knows.
    pub own: Vec<String>,
}

impl Options {
    /// Reads the command line. Arguments that are in `own`, each with a value, are the benchmark's;
    /// any other mistake ends the process with status 2.
    pub fn read(own: &[&str]) -> Self {
        let mut options = Self {
            json: false,
            quick: false,
            host: "kvm".to_owned(),
            own: Vec::new(),
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // What `cargo bench` adds.
                "--bench" => {}
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--host" => options.host = value(&argument, arguments.next()),
                name if own.contains(&name) => {
                    options.own.push(value(&argument, arguments.next()));
                }
                other => refuse(&format!("{other} is not known")),
            }
        }
        options
    }

    /// `full`, or `quick` if it is to be quick.
    pub fn repetitions(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

fn value(argument: &str, value: Option<String>) -> String {
    value.unwrap_or_else(|| refuse(&format!("{argument} needs a value")))
}

fn refuse(mistake: &str) -> ! {
    eprintln!("error: {mistake}; there are --json, --quick and --host NAME");
    exit(2)
}

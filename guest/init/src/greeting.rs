// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The line that says that user space was reached, and on what.
//!
//! `init: Linux 6.1.0-56-cloud-amd64, 2 CPUs, 242 MiB, 0.81 s after start`

use std::fmt;

/// What process 1 found out about the machine it runs on.
#[derive(Clone, Debug, PartialEq)]
pub struct Greeting {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// Memory that the kernel manages, in MiB.
    pub memory_mib: u64,
    /// Seconds since the kernel started.
    pub uptime: f64,
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            cpus,
            memory_mib,
            uptime,
        } = self;
        let plural = if *cpus == 1 { "CPU" } else { "CPUs" };
        write!(
            f,
            "init: Linux {kernel}, {cpus} {plural}, {memory_mib} MiB, {uptime:.2} s after start"
        )
    }
}

impl Greeting {
    /// Reads a greeting back from a line of the console, wherever in the line it begins: a kernel
    /// message that did not end its line may stand before it.
    pub fn find(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("init: Linux ")?;
        let mut fields = rest.trim_end().split(", ");
        let kernel = fields.next()?.to_owned();
        let cpus = fields.next()?.split_once(" CPU")?.0.parse().ok()?;
        let memory_mib = fields.next()?.strip_suffix(" MiB")?.parse().ok()?;
        let uptime = fields
            .next()?
            .strip_suffix(" s after start")?
            .parse()
            .ok()?;
        Some(Self {
            kernel,
            cpus,
            memory_mib,
            uptime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(cpus: usize) -> Greeting {
        Greeting {
            kernel: "6.1.0-56-cloud-amd64".into(),
            cpus,
            memory_mib: 242,
            uptime: 0.81,
        }
    }

    #[test]
    fn reads_as_a_sentence() {
        let line = "init: Linux 6.1.0-56-cloud-amd64, 2 CPUs, 242 MiB, 0.81 s after start";
        assert_eq!(greeting(2).to_string(), line);
        assert!(greeting(1).to_string().contains(", 1 CPU, "));
    }

    #[test]
    fn comes_back_from_a_console_line() {
        for cpus in [1, 2, 64] {
            let line = format!("[    0.8] something{}\r\n", greeting(cpus));
            assert_eq!(Greeting::find(&line), Some(greeting(cpus)));
        }
    }

    #[test]
    fn other_lines_are_not_greetings() {
        for line in [
            "",
            "init: ",
            "init: Linux ",
            "init: Linux 6.1, x CPUs, 1 MiB, 1 s after start",
        ] {
            assert_eq!(Greeting::find(line), None, "{line}");
        }
    }
}

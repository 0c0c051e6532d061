// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What came of a boot, in words and as JSON.

use std::fmt;
use std::time::Duration;

use guest_init::greeting::Greeting;
use serde_json::{Value, json};

use super::accel::Accel;
use crate::error::Error;

/// What came of a boot.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it was.
    pub accel: Accel,
    /// The status of the VMM.
    pub status: u8,
    /// What the guest's init said, and how long after the VMM's start.
    pub greeting: Option<(Greeting, Duration)>,
    /// The VMM's own summary, if it wrote one.
    pub vmm: Option<Value>,
}

impl Outcome {
    /// Whether user space was reached and the machine ended well.
    pub fn booted(&self) -> bool {
        self.greeting.is_some() && self.status == 0
    }

    fn vmm_field(&self, name: &str) -> Value {
        self.vmm
            .as_ref()
            .and_then(|summary| summary.get(name))
            .cloned()
            .unwrap_or_default()
    }

    /// One line of JSON. What is not known is `null`.
    pub fn to_json(&self) -> String {
        let kernel = self.greeting.as_ref().map(|(greeting, _)| &greeting.kernel);
        let seconds = self
            .greeting
            .as_ref()
            .map(|(_, time)| rounded(time.as_secs_f64()));
        // Written field by field to keep their order.
        let fields = [
            ("booted", json!(self.booted())),
            ("accel", json!(self.accel.name())),
            ("kernel", json!(kernel)),
            ("seconds_to_init", json!(seconds)),
            ("vmm_rss_kib", self.vmm_field("vmm_rss_kib")),
            ("exits", self.vmm_field("exits")),
        ];
        object(fields)
    }
}

/// The line of JSON for a boot that did not come so far.
pub fn failure_to_json(error: &Error) -> String {
    object([
        ("booted", json!(false)),
        ("error", json!(error.to_string())),
    ])
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> String {
    let fields = fields.map(|(name, value)| format!("{}:{value}", json!(name)));
    format!("{{{}}}", fields.join(","))
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.greeting, self.status) {
            (Some((greeting, time)), 0) => {
                let Greeting {
                    kernel,
                    cpus,
                    memory_mib,
                    ..
                } = greeting;
                let (plural, seconds) = (if *cpus == 1 { "" } else { "s" }, time.as_secs_f64());
                let place = match self.accel {
                    Accel::Kvm => "on this host's KVM",
                    Accel::LabSvm => "in the emulated machine (lab-svm)",
                };
                write!(
                    f,
                    "Booted Linux {kernel} ({cpus} CPU{plural}, {memory_mib} MiB) {place}: init \
                     after {seconds:.2} s, then the guest powered off."
                )?;
            }
            (Some(_), status) => {
                write!(f, "Init ran, but then the VMM ended with status {status}.")?;
            }
            (None, status) => {
                write!(
                    f,
                    "Not booted: init was not seen, and the VMM ended with status {status}."
                )?;
            }
        }
        if let Some(kib) = self.vmm_field("vmm_rss_kib").as_u64() {
            write!(
                f,
                "\nMemory of the VMM: {:.1} MiB beside the guest's.",
                kib as f64 / 1024.0
            )?;
        }
        if let Value::Object(exits) = self.vmm_field("exits") {
            let exits: Vec<_> = exits
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            write!(f, "\nExits: {}.", exits.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let kernel = "6.1.0".to_owned();
        let greeting = Greeting {
            kernel,
            cpus: 1,
            memory_mib: 242,
            uptime: 0.8,
        };
        Outcome {
            accel: Accel::LabSvm,
            status: 0,
            greeting: Some((greeting, Duration::from_micros(3_141_592))),
            vmm: Some(json!({"outcome": "x", "vmm_rss_kib": 2048, "exits": {"io_out": 7}})),
        }
    }

    #[test]
    fn json_keeps_its_form() {
        assert_eq!(
            outcome().to_json(),
            "{\"booted\":true,\"accel\":\"lab-svm\",\"kernel\":\"6.1.0\",\
             \"seconds_to_init\":3.142,\"vmm_rss_kib\":2048,\"exits\":{\"io_out\":7}}"
        );
    }

    #[test]
    fn what_is_missing_is_null() {
        let nothing = Outcome {
            greeting: None,
            vmm: None,
            ..outcome()
        };
        assert_eq!(
            nothing.to_json(),
            "{\"booted\":false,\"accel\":\"lab-svm\",\"kernel\":null,\
             \"seconds_to_init\":null,\"vmm_rss_kib\":null,\"exits\":null}"
        );
    }

    #[test]
    fn a_boot_needs_init_and_a_good_end() {
        assert!(outcome().booted());
        assert!(
            !Outcome {
                status: 1,
                ..outcome()
            }
            .booted()
        );
        assert!(
            !Outcome {
                greeting: None,
                ..outcome()
            }
            .booted()
        );
    }

    #[test]
    fn words() {
        let text = outcome().to_string();
        assert!(
            text.starts_with("Booted Linux 6.1.0 (1 CPU, 242 MiB)"),
            "{text}"
        );
        assert!(text.ends_with("Memory of the VMM: 2.0 MiB beside the guest's.\nExits: io_out 7."));
        let text = Outcome {
            status: 3,
            ..outcome()
        }
        .to_string();
        assert!(text.contains("status 3"), "{text}");
    }

    #[test]
    fn an_error_is_json_too() {
        let line = failure_to_json(&Error::CommandNotFound("a\"b".into()));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["booted"], false);
        assert!(
            value["error"]
                .as_str()
                .unwrap()
                .starts_with("a\"b: command not found")
        );
    }
}

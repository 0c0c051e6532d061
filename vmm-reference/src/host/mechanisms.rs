// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What each mechanism for an immediate exit lets through on this host, as text and as JSON.

use std::fmt::{self, Display, Formatter};

use serde_json::{Value, json};
use vcpu_runner::kvm::immediate_exit::{HostMechanisms, Measured, Sample};

/// A part of the table: the title of its lines, and what was measured.
pub(super) fn lines(mechanisms: &HostMechanisms) -> impl Iterator<Item = (String, Line<'_>)> + '_ {
    mechanisms.measured().iter().flat_map(|measured| {
        let name = measured.mechanism;
        [
            (format!("{name}, with an event"), &measured.with_event),
            (format!("{name}, without"), &measured.without_event),
        ]
        .map(|(title, found)| (title, Line(found)))
    })
}

/// What the strongest mechanisms are, in one line.
pub(super) fn strongest(mechanisms: &HostMechanisms) -> String {
    let order = mechanisms.order();
    let first = |found: &[_]| found.first().map_or("none".to_owned(), ToString::to_string);
    format!(
        "with an event {}, without one {}",
        first(&order.with_event),
        first(&order.without_event)
    )
}

/// One line's finding.
pub(super) struct Line<'a>(&'a Result<Sample, String>);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(sample) => write!(
                f,
                "guest instructions: {}, at most {}; {:.0} us; {} of {} attempts missed",
                sample.instructions,
                sample.most_instructions,
                sample.time.as_secs_f64() * 1e6,
                sample.missed,
                sample.entries.saturating_add(sample.missed),
            ),
            Err(why) => write!(f, "not possible: {why}"),
        }
    }
}

/// As JSON, one object a mechanism.
pub(super) fn json(mechanisms: &HostMechanisms) -> Value {
    let sample = |found: &Result<Sample, String>| match found {
        Ok(sample) => json!({
            "insns_p50": sample.instructions,
            "insns_max": sample.most_instructions,
            "us_p50": sample.time.as_secs_f64() * 1e6,
            "entries": sample.entries,
            "missed": sample.missed,
        }),
        Err(why) => json!({ "impossible": why }),
    };
    let object = |measured: &Measured| {
        json!({
            "mechanism": measured.mechanism.name(),
            "with_event": sample(&measured.with_event),
            "without_event": sample(&measured.without_event),
        })
    };
    mechanisms.measured().iter().map(object).collect()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the guest printed, and how what it printed on two machines differs.

use std::fmt;

/// What the guest printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What each scenario came to, in the order in which they ran.
    pub scenarios: Vec<Outcome>,
}

/// What came of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// One line for each exit or failure, and one with the counts.
    pub lines: Vec<String>,
}

impl Outcome {
    /// Whether the guest left the scenario out.
    pub fn is_skipped(&self) -> bool {
        matches!(&*self.lines, [line, ..] if line.trim_start().starts_with("skipped: "))
    }
}

/// Why a text is not a whole trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line that the guest prints only after the name of a scenario came before the first.
    #[error("line {line}: {text:?} belongs to no scenario")]
    NoScenario {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The guest did not come to its end.
    #[error("the trace ends after {scenarios} scenarios, in {last:?}, without a line \"done\"")]
    NotDone {
        /// How many scenarios began.
        scenarios: usize,
        /// The name of the last one.
        last: String,
    },
    /// The guest came to its end without having run a scenario.
    #[error("the trace has no scenario")]
    Empty,
    /// Something else follows the end.
    #[error("line {line}: {text:?} follows the line \"done\"")]
    AfterDone {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

impl Trace {
    /// Reads what the guest printed. Lines may end with a carriage return, which terminals add.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut scenarios: Vec<Outcome> = Vec::new();
        let mut done = false;
        for (index, text) in text.lines().enumerate() {
            let text = text.trim_end();
            let line = index + 1;
            if text.is_empty() {
                continue;
            }
            if done {
                let text = text.into();
                return Err(TraceError::AfterDone { line, text });
            }
            if let Some(name) = text.strip_prefix("scenario ") {
                scenarios.push(Outcome {
                    name: name.into(),
                    lines: Vec::new(),
                });
            } else if text == "done" {
                done = true;
            } else if let Some(scenario) = scenarios.last_mut() {
                scenario.lines.push(text.trim_start().into());
            } else {
                let text = text.into();
                return Err(TraceError::NoScenario { line, text });
            }
        }
        match scenarios.last() {
            None => Err(TraceError::Empty),
            Some(last) if !done => Err(TraceError::NotDone {
                scenarios: scenarios.len(),
                last: last.name.clone(),
            }),
            Some(_) => Ok(Self { scenarios }),
        }
    }

    /// The outcome of the scenario with this name.
    pub fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.scenarios.iter().find(|scenario| scenario.name == name)
    }
}

/// A scenario that came out differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The scenario's name.
    pub name: String,
    /// Its lines on the first machine; nothing if it did not run there.
    pub first: Vec<String>,
    /// Its lines on the second machine.
    pub second: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        for (mark, lines) in [('-', &self.first), ('+', &self.second)] {
            for line in lines {
                write!(f, "\n{mark} {line}")?;
            }
        }
        Ok(())
    }
}

/// The scenarios that differ between two traces, in the order of the first; then those that only the
/// second has.
pub fn differences(first: &Trace, second: &Trace) -> Vec<Difference> {
    let of = |trace: &Trace, name: &str| {
        trace
            .outcome(name)
            .map(|outcome| outcome.lines.clone())
            .unwrap_or_default()
    };
    let only_second = second
        .scenarios
        .iter()
        .filter(|scenario| first.outcome(&scenario.name).is_none());
    first
        .scenarios
        .iter()
        .chain(only_second)
        .map(|scenario| Difference {
            name: scenario.name.clone(),
            first: of(first, &scenario.name),
            second: of(second, &scenario.name),
        })
        .filter(|difference| difference.first != difference.second)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "scenario a\n  exit reason 1\n  L1; L2\nscenario b\n  skipped: field 4000 \
                        lacks bits 8\ndone\n";

    #[test]
    fn a_trace_has_its_scenarios_in_order() {
        let trace = Trace::parse(TEXT).unwrap();
        let names: Vec<_> = trace.scenarios.iter().map(|s| &*s.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(trace.scenarios[0].lines, ["exit reason 1", "L1; L2"]);
        assert!(!trace.scenarios[0].is_skipped());
        assert!(trace.scenarios[1].is_skipped());
    }

    #[test]
    fn carriage_returns_make_no_difference() {
        let other = Trace::parse(&TEXT.replace('\n', "\r\n"));
        assert_eq!(other, Trace::parse(TEXT));
    }

    #[test]
    fn what_is_not_a_whole_trace_is_refused() {
        assert_eq!(Trace::parse(""), Err(TraceError::Empty));
        assert_eq!(Trace::parse("done\n"), Err(TraceError::Empty));
        assert_eq!(
            Trace::parse("scenario a\n  L1; L2\n"),
            Err(TraceError::NotDone {
                scenarios: 1,
                last: "a".into()
            })
        );
        assert!(matches!(
            Trace::parse("no VMX\n"),
            Err(TraceError::NoScenario { line: 1, .. })
        ));
        assert!(matches!(
            Trace::parse(&format!("{TEXT}x\n")),
            Err(TraceError::AfterDone { line: 7, .. })
        ));
    }

    #[test]
    fn differences_are_found_in_both_directions() {
        let first = Trace::parse(TEXT).unwrap();
        assert_eq!(differences(&first, &first), []);
        let second =
            Trace::parse("scenario a\n  exit reason 0\n  L1; L2\nscenario c\n  L1\ndone\n")
                .unwrap();
        let found = differences(&first, &second);
        let names: Vec<_> = found.iter().map(|difference| &*difference.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(found[2].first, [""; 0]);
        assert_eq!(
            found[0].to_string(),
            "a\n- exit reason 1\n- L1; L2\n+ exit reason 0\n+ L1; L2"
        );
    }
}

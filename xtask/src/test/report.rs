// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What came of the stages: how each went, how many tests it had, what was skipped.

use std::fmt;
use std::time::Duration;

/// How wide the names of stages are shown.
pub const NAME_WIDTH: usize = 44;

/// What came of one stage.
#[derive(Clone, Debug)]
pub struct StageResult {
    passed: bool,
    time: Duration,
    counts: Counts,
    skipped: Vec<String>,
    output: String,
}

/// How many tests a stage had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Counts {
    /// Adds up the summaries that Rust's test programs print: `test result: ok. 3 passed; …`.
    pub fn of(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines() {
            let Some((_, summary)) = line.split_once("test result: ") else {
                continue;
            };
            let count = |what: &str| -> Option<u64> {
                summary
                    .split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(what))?
                    .trim()
                    .parse()
                    .ok()
            };
            counts.passed += count("passed").unwrap_or_default();
            counts.failed += count("failed").unwrap_or_default();
        }
        counts
    }
}

impl StageResult {
    /// The result of a stage that printed `output`.
    pub fn new(passed: bool, time: Duration, output: String) -> Self {
        let skipped = output
            .lines()
            .filter_map(|line| line.trim().strip_prefix("SKIPPED:"));
        let skipped = skipped.map(|what| what.trim().to_owned()).collect();
        Self {
            passed,
            time,
            counts: Counts::of(&output),
            skipped,
            output,
        }
    }

    /// What it printed, if it failed, without what tests that passed printed.
    pub fn failure(&self) -> Option<String> {
        (!self.passed).then(|| without_successes(&self.output))
    }

    /// Passed and failed checks. A stage that has no tests is a check itself, and so is one that
    /// failed for another reason than a test.
    fn checks(&self) -> Counts {
        let Counts { passed, failed } = self.counts;
        match self.passed {
            true => Counts {
                passed: passed.max(1),
                failed: 0,
            },
            false => Counts {
                passed,
                failed: failed.max(1),
            },
        }
    }

    /// What is shown behind the stage's name.
    pub fn line(&self) -> String {
        let word = if self.passed { "ok" } else { "FAILED" };
        let mut line = format!("{word:<6} {:>7.1} s", self.time.as_secs_f64());
        let Counts { passed, failed } = self.counts;
        if failed > 0 {
            line += &format!("   {passed} tests passed, {failed} failed");
        } else if passed > 0 {
            line += &format!("   {passed} tests");
        }
        if !self.skipped.is_empty() {
            line += &format!(", {} SKIPPED", self.skipped.len());
        }
        line
    }
}

/// Leaves out the part in which a Rust test program shows what its successful tests printed: from
/// a line `successes:` to the failures, or to the summary.
fn without_successes(output: &str) -> String {
    let mut left_out = false;
    let kept = output.lines().filter(|line| {
        left_out = match *line {
            "successes:" => true,
            "failures:" => false,
            line => left_out && !line.starts_with("test result: "),
        };
        !left_out
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// The results of all stages.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(&'static str, StageResult)>,
}

impl Table {
    /// Adds a stage's result.
    pub fn add(&mut self, name: &'static str, result: StageResult) {
        self.rows.push((name, result));
    }

    /// How many checks failed.
    pub fn failed(&self) -> u64 {
        self.rows
            .iter()
            .map(|(_, result)| result.checks().failed)
            .sum()
    }

    fn passed(&self) -> u64 {
        self.rows
            .iter()
            .map(|(_, result)| result.checks().passed)
            .sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (name, result) in &self.rows {
            writeln!(f, "{name:<NAME_WIDTH$} {}", result.line())?;
        }
        let time: Duration = self.rows.iter().map(|(_, result)| result.time).sum();
        let all = if self.failed() == 0 { "ok" } else { "FAILED" };
        writeln!(
            f,
            "{:<NAME_WIDTH$} {all:<6} {:>7.1} s",
            "all stages",
            time.as_secs_f64()
        )?;
        let skipped = self.rows.iter().flat_map(|(_, result)| &result.skipped);
        for (at, what) in skipped.enumerate() {
            if at == 0 {
                writeln!(f, "\nSKIPPED, because this host lacks what they need:")?;
            }
            writeln!(f, "  SKIPPED: {what}")?;
        }
        write!(f, "\n{} passed, {} failed", self.passed(), self.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "running 3 tests\n\
        test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
        SKIPPED: kvm_thing: no usable /dev/kvm\n\
        test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";

    fn result(passed: bool, output: &str) -> StageResult {
        StageResult::new(passed, Duration::from_millis(1500), output.to_owned())
    }

    #[test]
    fn tests_are_counted() {
        assert_eq!(
            Counts::of(PRINTED),
            Counts {
                passed: 7,
                failed: 2
            }
        );
        assert_eq!(Counts::of("test result: nonsense"), Counts::default());
    }

    #[test]
    fn lines() {
        let line = result(false, PRINTED).line();
        assert_eq!(
            line,
            "FAILED     1.5 s   7 tests passed, 2 failed, 1 SKIPPED"
        );
        assert_eq!(result(true, "").line(), "ok         1.5 s");
    }

    #[test]
    fn the_last_line_counts_every_check() {
        let mut table = Table::default();
        table.add("formatting", result(true, ""));
        table.add(
            "tests",
            result(true, "test result: ok. 5 passed; 0 failed; 0 ignored"),
        );
        let text = table.to_string();
        assert!(text.ends_with("\n6 passed, 0 failed"), "{text}");
        assert!(!text.contains("SKIPPED"), "{text}");
    }

    #[test]
    fn a_stage_that_fails_is_a_failed_check() {
        let mut table = Table::default();
        table.add("clippy", result(false, "error: …"));
        // It stopped before the tests that would have failed.
        table.add(
            "tests",
            result(false, "test result: ok. 5 passed; 0 failed; 0 ignored"),
        );
        assert_eq!(table.failed(), 2);
        assert!(table.to_string().ends_with("\n5 passed, 2 failed"));
    }

    #[test]
    fn successes_are_left_out_of_a_failure() {
        let output = "running 2 tests\nsuccesses:\n---- a stdout ----\nnoise\n\nsuccesses:\n    a\n\n\
                      failures:\n---- b stdout ----\npanicked\n\nfailures:\n    b\n\n\
                      test result: FAILED. 1 passed; 1 failed\nsuccesses:\nnoise\n\
                      test result: ok. 1 passed; 0 failed\nend\n";
        let text = result(false, output).failure().unwrap();
        assert!(
            !text.contains("noise") && text.contains("panicked"),
            "{text}"
        );
        assert_eq!(text.matches("test result").count(), 2);
        assert!(text.ends_with("end\n"));
    }

    #[test]
    fn what_was_skipped_is_listed() {
        let mut table = Table::default();
        table.add("tests", result(true, PRINTED));
        assert!(
            table
                .to_string()
                .contains("\n  SKIPPED: kvm_thing: no usable /dev/kvm\n")
        );
    }
}

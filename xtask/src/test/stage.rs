// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One stage: some commands in a row, whose output is kept for the case that one fails.

use std::process::Command;
use std::time::{Duration, Instant};

use super::report::StageResult;
use crate::error::Error;
use crate::process;

/// How long one command of a stage may take. Only what hangs takes so long.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// A step of a stage: prepares the command that is then run. What it depends on may fail, and may
/// be the result of an earlier step.
pub type Step = Box<dyn FnOnce() -> Result<Command, Error>>;

/// A stage.
pub struct Stage {
    /// What it is called.
    pub name: &'static str,
    steps: Vec<Step>,
}

impl Stage {
    /// A stage of these commands.
    pub fn new(name: &'static str, commands: impl IntoIterator<Item = Command>) -> Self {
        let step = |command| Box::new(move || Ok(command)) as Step;
        Self {
            name,
            steps: commands.into_iter().map(step).collect(),
        }
    }

    /// A stage whose commands are prepared one after the other.
    pub fn prepared(name: &'static str, steps: Vec<Step>) -> Self {
        Self { name, steps }
    }

    /// Runs the commands until one fails.
    pub fn run(&mut self, verbose: bool) -> StageResult {
        let start = Instant::now();
        let mut output = String::new();
        let mut passed = true;
        for step in self.steps.drain(..) {
            let ended = step().and_then(|mut command| {
                output += &format!("$ {}\n", process::describe(&command));
                process::record(&mut command, LIMIT, verbose)
            });
            match ended {
                Ok((status, printed)) => {
                    output += &printed;
                    passed = status.success();
                }
                Err(error) => {
                    output += &format!("{error}\n");
                    passed = false;
                }
            }
            if !passed {
                break;
            }
        }
        StageResult::new(passed, start.elapsed(), output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_ends_the_stage() {
        let commands = [
            shell("echo one; echo two >&2"),
            shell("exit 1"),
            shell("echo three"),
        ];
        let result = Stage::new("x", commands).run(false);
        let output = result.failure().unwrap();
        assert!(
            output.contains("one\ntwo\n") && !output.contains("three\n"),
            "{output}"
        );
    }

    #[test]
    fn a_command_that_cannot_be_prepared_fails_the_stage() {
        let steps: Vec<Step> = vec![Box::new(|| Err(Error::NotABoot))];
        let result = Stage::prepared("x", steps).run(false);
        assert!(result.failure().unwrap().contains("not a boot"));
    }

    #[test]
    fn all_that_succeed() {
        assert!(
            Stage::new("x", [shell("true"), shell("true")])
                .run(false)
                .failure()
                .is_none()
        );
    }
}

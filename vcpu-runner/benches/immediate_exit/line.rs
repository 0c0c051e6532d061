// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One contender's figures, as a line of a table or of JSON.

use std::time::Duration;

use crate::contender::Subject;
use crate::report::Options;

/// What was measured of one contender.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    instructions: Vec<u64>,
    times: Vec<Duration>,
    missed: u64,
}

impl Measured {
    pub fn add(&mut self, instructions: u64, time: Duration, missed: u32) {
        self.instructions.push(instructions);
        self.times.push(time);
        self.missed += u64::from(missed);
    }

    pub fn entries(&self) -> usize {
        self.times.len()
    }
}

/// One line.
pub struct Line {
    pub name: &'static str,
    pub subject: Subject,
    pub measured: Result<Measured, String>,
}

struct Figures {
    entries: usize,
    missed: u64,
    insns_p50: u64,
    insns_p99: u64,
    insns_max: u64,
    us_p50: f64,
}

impl From<&Measured> for Figures {
    fn from(measured: &Measured) -> Self {
        let mut instructions = measured.instructions.clone();
        let mut times = measured.times.clone();
        instructions.sort_unstable();
        times.sort_unstable();
        let at = |percent: usize| {
            let index = instructions.len() * percent / 100;
            instructions[index.min(instructions.len() - 1)]
        };
        Self {
            entries: measured.entries(),
            missed: measured.missed,
            insns_p50: at(50),
            insns_p99: at(99),
            insns_max: at(100),
            us_p50: times[times.len() / 2].as_secs_f64() * 1e6,
        }
    }
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Event => "interrupt",
            Self::Nothing => "nothing",
        }
    }
}

/// Prints all lines.
pub fn print(lines: &[Line], options: &Options) {
    if !options.json {
        println!(
            "{:<26} {:<10} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}",
            format!("immediate-exit ({})", options.host),
            "delivers",
            "entries",
            "missed",
            "insns p50",
            "insns p99",
            "insns max",
            "us p50"
        );
    }
    for line in lines {
        match options.json {
            true => println!("{}", json(line, &options.host)),
            false => println!("{}", text(line)),
        }
    }
}

fn text(line: &Line) -> String {
    let begin = format!("{:<26} {:<10}", line.name, line.subject.name());
    match &line.measured {
        Ok(measured) => {
            let figures = Figures::from(measured);
            format!(
                "{begin} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10.1}",
                figures.entries,
                figures.missed,
                figures.insns_p50,
                figures.insns_p99,
                figures.insns_max,
                figures.us_p50
            )
        }
        Err(why) => format!("{begin} not possible: {why}"),
    }
}

fn json(line: &Line, host: &str) -> String {
    // Names and reasons are plain words, of which Rust's quoting is JSON's too.
    let begin = format!(
        "{{\"bench\":\"immediate-exit\",\"mechanism\":{:?},\"delivers\":{:?},\"host\":{host:?},\
         \"available\":{}",
        line.name,
        line.subject.name(),
        line.measured.is_ok()
    );
    match &line.measured {
        Ok(measured) => {
            let figures = Figures::from(measured);
            format!(
                "{begin},\"entries\":{},\"missed\":{},\"insns_p50\":{},\"insns_p99\":{},\
                 \"insns_max\":{},\"us_p50\":{:.1}}}",
                figures.entries,
                figures.missed,
                figures.insns_p50,
                figures.insns_p99,
                figures.insns_max,
                figures.us_p50
            )
        }
        Err(why) => format!(
            "{begin},\"entries\":0,\"missed\":0,\"insns_p50\":null,\"insns_p99\":null,\
             \"insns_max\":null,\"us_p50\":null,\"why\":{why:?}}}"
        ),
    }
}

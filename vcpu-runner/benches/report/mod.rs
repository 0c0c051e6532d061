// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a benchmark prints: a table for people, or a line of JSON for each of its rows.

mod options;

pub use options::Options;

/// A figure, with what it is.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// A time in nanoseconds. Its name ends in `_ns`; the table has microseconds.
    Nanoseconds(f64),
    /// How many times something else.
    Ratio(f64),
    /// How many.
    Count(f64),
}

impl Figure {
    /// The share of each of `number`.
    pub fn divided_by(self, number: usize) -> Self {
        let share = |value| value / number as f64;
        match self {
            Self::Nanoseconds(time) => Self::Nanoseconds(share(time)),
            Self::Ratio(ratio) => Self::Ratio(share(ratio)),
            Self::Count(count) => Self::Count(share(count)),
        }
    }

    fn in_table(self) -> String {
        match self {
            Self::Nanoseconds(time) => format!("{:.2} us", time / 1000.0),
            Self::Ratio(ratio) => format!("{ratio:.3}"),
            Self::Count(count) => format!("{count}"),
        }
    }

    fn in_json(self) -> String {
        match self {
            Self::Nanoseconds(time) => format!("{time:.0}"),
            Self::Ratio(ratio) => format!("{ratio:.4}"),
            Self::Count(count) => format!("{count}"),
        }
    }
}

/// One case and its figures.
#[derive(Clone, Debug)]
struct Row {
    case: String,
    figures: Vec<(&'static str, Figure)>,
}

/// The rows of a benchmark.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    options: Options,
    rows: Vec<Row>,
}

impl Report {
    /// No rows yet.
    pub fn new(bench: &'static str, options: Options) -> Self {
        Self {
            bench,
            options,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, case: impl Into<String>, figures: &[(&'static str, Figure)]) {
        self.rows.push(Row {
            case: case.into(),
            figures: figures.to_vec(),
        });
    }

    /// Prints all rows, which have the same figures in the same order.
    pub fn print(&self) {
        if self.options.json {
            for row in &self.rows {
                println!("{}", self.json(row));
            }
        } else {
            print!("{}", self.table());
        }
    }

    fn json(&self, row: &Row) -> String {
        // Names, cases and hosts are plain words, of which Rust's quoting is JSON's too.
        let mut line = format!(
            "{{\"bench\":{:?},\"host\":{:?},\"case\":{:?}",
            self.bench, self.options.host, row.case
        );
        for (name, figure) in &row.figures {
            line += &format!(",{name:?}:{}", figure.in_json());
        }
        line + "}"
    }

    fn table(&self) -> String {
        let first = format!("{} ({})", self.bench, self.options.host);
        let title = |name: &str| name.trim_end_matches("_ns").replace('_', " ");
        let mut lines = Vec::new();
        for row in &self.rows {
            if lines.is_empty() {
                let titles = row.figures.iter().map(|(name, _)| title(name));
                lines.push([first.clone()].into_iter().chain(titles).collect());
            }
            let figures = row.figures.iter().map(|(_, figure)| figure.in_table());
            lines.push([row.case.clone()].into_iter().chain(figures).collect());
        }
        aligned(&lines)
    }
}

/// The first column to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            row += &match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

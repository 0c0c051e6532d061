// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the comparison came to, for people.

use std::fmt::Write;

use guest_l1::known::{Comparison, DEFECTS, Machine};

/// Whose a defect is.
fn owner(machine: Machine) -> &'static str {
    match machine {
        Machine::Bochs => "bochs",
        Machine::LinuxOnBochs => "Linux's KVM",
    }
}

/// The report: scenarios by known defect, then what is not known.
pub fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_to(&mut text, comparison);
    text
}

fn write_to(text: &mut String, comparison: &Comparison) -> std::fmt::Result {
    for defect in DEFECTS {
        let shown = comparison
            .known
            .iter()
            .filter(|(_, by)| by.what == defect.what);
        let names: Vec<_> = shown.map(|(difference, _)| &difference.name).collect();
        if !names.is_empty() {
            writeln!(
                text,
                "known defect of {}: {}",
                owner(defect.machine),
                defect.what
            )?;
            for name in names {
                writeln!(text, "  {name}")?;
            }
        }
    }
    if !comparison.skipped.is_empty() {
        writeln!(text, "left out on one machine:")?;
        for name in &comparison.skipped {
            writeln!(text, "  {name}")?;
        }
    }
    for difference in &comparison.unknown {
        writeln!(text, "NOT KNOWN: {difference}")?;
    }
    for defect in &comparison.stale {
        writeln!(
            text,
            "NO MORE SEEN, take it from the list: {}: {}",
            owner(defect.machine),
            defect.what
        )?;
    }
    writeln!(
        text,
        "{} scenarios the same, {} differ by known defects, {} left out on one machine, {} differ \
         for no known reason",
        comparison.same,
        comparison.known.len(),
        comparison.skipped.len(),
        comparison.unknown.len()
    )
}

#[cfg(test)]
mod tests {
    use guest_l1::trace::Trace;

    use super::*;

    #[test]
    fn what_is_not_known_is_shown_whole() {
        let trace = |line: &str| Trace::parse(&format!("scenario a\n  {line}\ndone\n")).unwrap();
        let comparison = Comparison::new(&trace("x"), &trace("y"));
        let text = text(&comparison);
        assert!(text.contains("NOT KNOWN: a\n- x\n+ y\n"), "{text}");
        assert!(text.contains("NO MORE SEEN"), "{text}");
        assert!(text.contains("\n0 scenarios the same, 0 differ by known defects, 0 left out"));
    }
}

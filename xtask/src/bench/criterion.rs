// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What criterion has measured, as the other benchmarks print it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::Error;

/// The lines for everything below `directory`, criterion's home in a run of which nothing else is in
/// there.
pub fn lines(directory: &Path, bench: &str, host: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    collect(directory, bench, host, &mut found)?;
    found.sort();
    Ok(found)
}

/// Goes down to the directories called `new`, one for each line of each group.
fn collect(
    directory: &Path,
    bench: &str,
    host: &str,
    found: &mut Vec<String>,
) -> Result<(), Error> {
    let (about, estimates) = (
        directory.join("benchmark.json"),
        directory.join("estimates.json"),
    );
    if directory.ends_with("new") && estimates.is_file() {
        let (about, estimates) = (read(&about)?, read(&estimates)?);
        let line = line(&about, &estimates, bench, host).ok_or_else(|| Error::Output {
            command: format!("cargo bench --bench {bench}"),
            reason: format!("{} is not criterion's", directory.display()),
        })?;
        found.push(line);
        return Ok(());
    }
    let unread = |error| Error::file("read", directory)(error);
    for entry in fs::read_dir(directory).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.is_dir() {
            collect(&path, bench, host, found)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    serde_json::from_str(&text).map_err(|error| Error::Output {
        command: "criterion".to_owned(),
        reason: format!("{}: {error}", path.display()),
    })
}

fn line(about: &Value, estimates: &Value, bench: &str, host: &str) -> Option<String> {
    let case = format!(
        "{}: {}",
        about["group_id"].as_str()?,
        about["function_id"].as_str()?
    );
    let median = estimates["median"]["point_estimate"].as_f64()?;
    let line = json!({"bench": bench, "host": host, "case": case, "median_ns": median});
    Some(line.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_of_the_two_files() {
        let about = json!({"group_id": "make", "function_id": "std mpsc"});
        let estimates = json!({"median": {"point_estimate": 12.5}});
        let line = line(&about, &estimates, "requests", "kvm").unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["case"], "make: std mpsc");
        assert_eq!(line["median_ns"], 12.5);
        assert_eq!(super::line(&about, &json!({}), "requests", "kvm"), None);
    }
}

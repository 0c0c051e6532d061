// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The run in numbers, as a JSON file for programs.

mod output_file;
mod resident;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use vcpu_runner::Statistics;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use self::resident::Resident;
use crate::outcome::Outcome;

/// The summary cannot be written.
#[derive(Debug, Error)]
#[error("cannot write the summary {path:?}: {source}")]
pub struct SummaryError {
    /// Where to.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The run in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// [`Outcome::name`].
    pub outcome: &'static str,
    /// [`Outcome`]'s message.
    pub message: String,
    /// What the guest wrote to the debug exit port, if that was the end.
    pub debug_exit: Option<u32>,
    /// From the first entry of the guest to its end.
    pub duration: Duration,
    /// The VMM's resident memory, without the guest's.
    pub vmm_rss_kib: u64,
    /// The guest's resident memory.
    pub guest_rss_kib: u64,
    /// Exits by kind, of all vCPUs.
    pub exits: BTreeMap<&'static str, u64>,
    /// Entries into the guest, of all vCPUs.
    pub entries: u64,
}

impl Summary {
    /// Sums up. The guest's memory must still be there.
    pub fn new(
        outcome: &Outcome,
        duration: Duration,
        memory: &GuestMemoryMmap,
        vcpus: &[Statistics],
    ) -> Self {
        let mut exits = BTreeMap::new();
        for (kind, count) in vcpus.iter().flat_map(Statistics::exits) {
            *exits.entry(kind.name()).or_default() += count;
        }
        let guest: Vec<_> = memory
            .iter()
            .map(|region| {
                let start = region.as_ptr() as u64;
                start..start.saturating_add(region.len())
            })
            .collect();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let resident = Resident::of(&smaps, &guest);
        Self {
            outcome: outcome.name(),
            message: outcome.to_string(),
            debug_exit: match outcome {
                Outcome::DebugExit { value } => Some(*value),
                _ => None,
            },
            duration,
            vmm_rss_kib: resident.own_kib,
            guest_rss_kib: resident.guest_kib,
            exits,
            entries: vcpus.iter().map(|statistics| statistics.entries).sum(),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "outcome": self.outcome,
            "message": self.message,
            "seconds": self.duration.as_secs_f64(),
            "vmm_rss_kib": self.vmm_rss_kib,
            "guest_rss_kib": self.guest_rss_kib,
            "entries": self.entries,
            "exits": self.exits,
        });
        if let Some(value) = self.debug_exit {
            json["debug_exit"] = value.into();
        }
        json
    }

    /// Writes it to `path`: a file whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written. A file that was there is then as before.
    pub fn write(&self, path: &Path) -> Result<(), SummaryError> {
        output_file::write(path, &format!("{}\n", self.to_json())).map_err(|source| SummaryError {
            path: path.to_owned(),
            source,
        })
    }
}

/// Finds out early whether a summary can be written to `path`. Changes nothing.
///
/// # Errors
/// When it cannot.
pub fn check_path(path: &Path) -> Result<(), SummaryError> {
    output_file::check(path).map_err(|source| SummaryError {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    fn summary() -> Summary {
        Summary {
            outcome: "poweroff",
            message: "the guest switched itself off".to_owned(),
            debug_exit: None,
            duration: Duration::from_millis(1500),
            vmm_rss_kib: 4000,
            guest_rss_kib: 80_000,
            exits: BTreeMap::from([("IoOut", 7)]),
            entries: 9,
        }
    }

    #[test]
    fn the_file_is_one_line_of_json() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("run.json");
        summary().write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["outcome"], "poweroff");
        assert_eq!(json["seconds"], 1.5);
        assert_eq!(json["exits"]["IoOut"], 7);
        assert!(json.get("debug_exit").is_none());
        let mut summary = summary();
        summary.debug_exit = Some(7);
        assert_eq!(summary.to_json()["debug_exit"], 7);
    }
}

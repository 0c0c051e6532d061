// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The run in numbers, as a JSON file for programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use vcpu_runner::Statistics;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

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
            duration,
            vmm_rss_kib: resident.own_kib,
            guest_rss_kib: resident.guest_kib,
            exits,
            entries: vcpus.iter().map(|statistics| statistics.entries).sum(),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "outcome": self.outcome,
            "message": self.message,
            "seconds": self.duration.as_secs_f64(),
            "vmm_rss_kib": self.vmm_rss_kib,
            "guest_rss_kib": self.guest_rss_kib,
            "entries": self.entries,
            "exits": self.exits,
        })
    }

    /// Writes it to `path`: whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written. A file that was there is then as before.
    pub fn write(&self, path: &Path) -> Result<(), SummaryError> {
        write_whole(path, &format!("{}\n", self.to_json())).map_err(|source| SummaryError {
            path: path.to_owned(),
            source,
        })
    }
}

/// Finds out early whether a summary can be written to `path`. Leaves nothing behind.
///
/// # Errors
/// When it cannot.
pub fn check_path(path: &Path) -> Result<(), SummaryError> {
    let error = |source| SummaryError {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Err(error(io::Error::from_raw_os_error(libc::EISDIR)));
    }
    let temporary = temporary_beside(path).map_err(error)?;
    File::create_new(&temporary).map_err(error)?;
    fs::remove_file(&temporary).map_err(error)
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    });
    if result.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// In the same directory, so that renaming replaces in one step.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// Resident memory, by what it is for.
#[derive(Debug, PartialEq, Eq)]
struct Resident {
    own_kib: u64,
    guest_kib: u64,
}

impl Resident {
    /// Adds up `/proc/self/smaps`; mappings that overlap `guest` are the guest's.
    fn of(smaps: &str, guest: &[Range<u64>]) -> Self {
        let mut resident = Self {
            own_kib: 0,
            guest_kib: 0,
        };
        let mut is_guest = false;
        for line in smaps.lines() {
            if let Some(mapping) = mapping_of(line) {
                is_guest = guest
                    .iter()
                    .any(|range| range.start < mapping.end && mapping.start < range.end);
            } else if let Some(kib) = line.strip_prefix("Rss:").and_then(kib_of) {
                match is_guest {
                    true => resident.guest_kib += kib,
                    false => resident.own_kib += kib,
                }
            }
        }
        resident
    }
}

/// "7f00a000-7f00b000 rw-p …"
fn mapping_of(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// "     12 kB"
fn kib_of(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    fn summary() -> Summary {
        Summary {
            outcome: "poweroff",
            message: "the guest switched itself off".to_owned(),
            duration: Duration::from_millis(1500),
            vmm_rss_kib: 4000,
            guest_rss_kib: 80_000,
            exits: BTreeMap::from([("IoOut", 7)]),
            entries: 9,
        }
    }

    #[test]
    fn the_file_is_one_line_of_json_and_replaces_an_older_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("run.json");
        fs::write(&path, "older").unwrap();
        check_path(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        summary().write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["outcome"], "poweroff");
        assert_eq!(json["seconds"], 1.5);
        assert_eq!(json["exits"]["IoOut"], 7);
        assert_eq!(fs::read_dir(dir.as_path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_found_out_early() {
        let dir = TempDir::new().unwrap();
        assert!(check_path(dir.as_path()).is_err());
        assert!(check_path(&dir.as_path().join("no/such/run.json")).is_err());
        assert!(check_path(Path::new("/")).is_err());
    }

    #[test]
    fn the_guests_memory_is_not_the_vmms() {
        let smaps = "\
00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/vmm
Rss:                 100 kB
Pss:                  50 kB
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
Rss:               65536 kB
7f0010000000-7f0010100000 rw-p 00000000 00:00 0
Rss:                   8 kB
";
        let guest: Range<u64> = 0x7f00_0000_0000..0x7f00_1000_0000;
        assert_eq!(
            Resident::of(smaps, std::slice::from_ref(&guest)),
            Resident {
                own_kib: 108,
                guest_kib: 65536
            }
        );
    }
}

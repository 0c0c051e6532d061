// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What this host is: who runs us, which programs there are, how fast its time stamp counter runs.

use std::arch::x86_64::_rdtsc;
use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Whether we may install packages.
pub fn is_root() -> bool {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Finds an executable file in PATH.
pub fn find_program(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Daemons' directories are not in everyone's PATH, apt-get's tools are.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut candidates = env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name.as_ref()));
    candidates.find(|candidate| is_executable(candidate))
}

/// Whether `path` is a file that someone may execute.
pub fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Measures the time stamp counter, in kHz.
pub fn tsc_khz() -> u64 {
    let (start, first) = tsc_and_clock();
    thread::sleep(Duration::from_millis(50));
    let (end, last) = tsc_and_clock();
    let ticks = u128::from(end.wrapping_sub(start));
    let nanoseconds = last.duration_since(first).as_nanos().max(1);
    u64::try_from(ticks * 1_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

/// Reads the counter and the clock at nearly the same moment: of a few tries the one that was
/// interrupted least.
fn tsc_and_clock() -> (u64, Instant) {
    let attempts = (0..8).map(|_| {
        // SAFETY: every x86-64 CPU has the instruction, and it touches no memory.
        let before = unsafe { _rdtsc() };
        let clock = Instant::now();
        // SAFETY: as above.
        let after = unsafe { _rdtsc() };
        (after.wrapping_sub(before), before, clock)
    });
    attempts.min_by_key(|(width, ..)| *width).map_or_else(
        || (0, Instant::now()),
        |(width, before, clock)| (before.wrapping_add(width / 2), clock),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found() {
        assert!(find_program("sh").unwrap().is_absolute());
        assert_eq!(find_program("no-such-program"), None);
        assert!(!is_executable(Path::new("/etc/passwd")));
        assert!(!is_executable(Path::new("/")));
    }

    #[test]
    fn the_counter_counts() {
        let khz = tsc_khz();
        assert!((100_000..100_000_000).contains(&khz), "{khz} kHz");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the machine is, from `/proc` and `/sys`.

use std::fs;

use guest_init::greeting::Greeting;

/// Looks at the machine. What cannot be read counts as nothing.
pub fn greeting() -> Greeting {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    Greeting {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpus: count_cpus(&read("/sys/devices/system/cpu/online")),
        memory_mib: memory_mib(&read("/proc/meminfo")),
        uptime: uptime(&read("/proc/uptime")),
    }
}

/// Counts the CPUs in a list such as `0-3,8`.
fn count_cpus(list: &str) -> usize {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim().split(',').filter_map(count).sum()
}

/// `MemTotal` in MiB.
fn memory_mib(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// The first of the two numbers in `/proc/uptime`.
fn uptime(text: &str) -> f64 {
    text.split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(count_cpus("0\n"), 1);
        assert_eq!(count_cpus("0-3,8\n"), 5);
        assert_eq!(count_cpus("3-1,x,\n"), 0);
    }

    #[test]
    fn memory_and_uptime() {
        assert_eq!(
            memory_mib("MemTotal:         248576 kB\nMemFree: 1 kB\n"),
            242
        );
        assert_eq!(memory_mib(""), 0);
        assert_eq!(uptime("0.81 0.50\n"), 0.81);
        assert_eq!(uptime(""), 0.0);
    }
}

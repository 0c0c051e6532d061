// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which thread gets which CPU, and before whom. What is measured takes microseconds; whoever else
//! has work on the machine takes a CPU for milliseconds, and so do two threads that spin on one CPU
//! although there is another.

use std::mem::{MaybeUninit, size_of_val};

/// Puts this process before all others, threads that it starts included, where it may. Not on a
/// single CPU, which whoever serves the process needs, too.
pub fn before_others() {
    if is_single() {
        return;
    }
    // SAFETY: takes no pointers. It fails without the privilege; then the figures are noisier.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Puts the calling thread before all that have no real-time priority, those of this process that
/// run already included, where it may. Only for one that waits more than it runs.
pub fn before_own_threads() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters are live. It fails without the privilege; then the figures are noisier.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
}

/// Keeps the calling thread on one CPU: the first that the process may use for those who kick, the
/// last for the vCPU. Where there is one only, that is the same.
pub fn keep_on(side: Side) {
    let mut set = allowed();
    let is_allowed = |cpu: &usize| {
        // SAFETY: `set` is a whole set, and `cpu` is below its size.
        unsafe { libc::CPU_ISSET(*cpu, &set) }
    };
    let mut cpus = (0..libc::CPU_SETSIZE as usize).filter(is_allowed);
    let cpu = match side {
        Side::Kicker => cpus.next(),
        Side::Vcpu => cpus.next_back(),
    };
    let cpu = cpu.unwrap_or_default();
    // SAFETY: `set` is a whole set.
    unsafe { libc::CPU_ZERO(&mut set) };
    // SAFETY: `set` is a whole set, and `cpu` is below its size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is live and of this size. A failure leaves the thread where it is.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}

/// Whether there is but one CPU for the process.
pub fn is_single() -> bool {
    let set = allowed();
    // SAFETY: `set` is a whole set.
    unsafe { libc::CPU_COUNT(&set) == 1 }
}

/// Whose thread it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of whoever kicks.
    Kicker,
    /// Of the vCPU.
    Vcpu,
}

/// The CPUs of the process: those of its first thread before that was kept on one.
fn allowed() -> libc::cpu_set_t {
    static ALLOWED: std::sync::OnceLock<libc::cpu_set_t> = std::sync::OnceLock::new();
    *ALLOWED.get_or_init(|| {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: the pointer is to memory of this size.
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
        // SAFETY: it was all zeros before, and that is a set.
        unsafe { set.assume_init() }
    })
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Kicks at random times against a guest that never exits by itself: a lost one would never come
//! back.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::guest::{Ask, CODE, Machine, soon};
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, Runner, VcpuHandle};

const SPIN: &[u8] = &[0xeb, 0xfe]; // jmp $

/// Counts what it handles.
struct Counter(Arc<AtomicU64>);

impl Handler<KvmVcpu> for Counter {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        Err(format!("a spinning guest has no exits, but: {exit:?}"))
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        self.0.fetch_add(1, Ordering::Release);
        Ok(Flow::Continue)
    }

    fn needs_registers(&self, _: Ask) -> bool {
        false
    }
}

/// A small generator (xorshift64): what is random here need only be irregular.
struct Irregular(u64);

impl Irregular {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Lets a moment pass: mostly none, at times some tens of microseconds.
    fn moment(&mut self) {
        for _ in 0..self.below(4) * self.below(3000) {
            hint::spin_loop();
        }
    }
}

fn wait_until_handled(handled: &AtomicU64, count: u64) {
    let start = Instant::now();
    while handled.load(Ordering::Acquire) < count {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "kick {count} was lost"
        );
        // On one CPU the vCPU's thread needs it.
        thread::yield_now();
    }
}

/// How many kicks one test makes. Where the CPU itself is emulated each takes milliseconds, so
/// `VCPU_RUNNER_KICKS` asks for fewer there.
fn kicks() -> u64 {
    let asked = std::env::var("VCPU_RUNNER_KICKS").ok();
    asked.map_or(100_000, |number| number.parse().unwrap())
}

#[test]
fn none_of_100_000_kicks_is_lost() {
    let kicks = kicks();
    let Some(machine) = Machine::new("none_of_100_000_kicks_is_lost", SPIN) else {
        return;
    };
    let handled = Arc::new(AtomicU64::new(0));
    let thread = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)))
        .spawn()
        .unwrap();
    let handle = thread.handle();
    let mut irregular = Irregular(0x9e37_79b9_7f4a_7c15);
    for made in 1..=kicks {
        irregular.moment();
        handle.request(Ask::Report).unwrap();
        wait_until_handled(&handled, made);
    }
    handle.stop().unwrap();
    handle.wait(soon()).unwrap();
    let statistics = handle.statistics();
    // Each request was made alone, so nothing coalesced; one that found the vCPU outside needed no
    // kick; and the end may need one more.
    assert_eq!(statistics.kicks_coalesced, 0, "{statistics:?}");
    assert!(statistics.kicks_sent <= kicks + 1, "{statistics:?}");
    // Every entry ended by EINTR, and none was kicked twice. A signal that came after its kick's
    // skip flag had ended the entry meets the next one: that one is stray.
    assert_eq!(statistics.entries, statistics.interrupted, "{statistics:?}");
    assert!(
        statistics.kicks_sent <= statistics.entries,
        "{statistics:?}"
    );
    assert!(statistics.stray <= statistics.kicks_sent, "{statistics:?}");
    assert_eq!(statistics.entries, statistics.kicks_sent + statistics.stray);
    thread.join().unwrap();
}

#[test]
fn a_burst_of_requests_is_one_kick_an_entry() {
    const ROUNDS: u64 = 2_000;
    let Some(machine) = Machine::new("a_burst_of_requests_is_one_kick_an_entry", SPIN) else {
        return;
    };
    let handled = Arc::new(AtomicU64::new(0));
    let thread = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)))
        .spawn()
        .unwrap();
    let burst = |handle: &VcpuHandle<KvmVcpu, Ask>, seed| {
        let mut irregular = Irregular(seed);
        for _ in 0..ROUNDS {
            irregular.moment();
            for ask in [Ask::Report, Ask::GoOn, Ask::Quiet] {
                handle.request(ask).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| burst(thread.handle(), 7));
        scope.spawn(|| burst(thread.handle(), 11));
    });
    thread.handle().stop().unwrap();
    thread.handle().wait(soon()).unwrap();
    let statistics = thread.handle().statistics();
    assert!(
        statistics.kicks_sent <= statistics.entries,
        "{statistics:?}"
    );
    assert!(statistics.stray <= statistics.kicks_sent, "{statistics:?}");
    // Requests are bits, so some met their like; none was handled that was not made.
    assert!(handled.load(Ordering::Acquire) <= 2 * 3 * ROUNDS);
    thread.join().unwrap();
}

#[test]
fn a_kick_that_asks_for_nothing_ends_the_entry() {
    let Some(machine) = Machine::new("a_kick_that_asks_for_nothing_ends_the_entry", SPIN) else {
        return;
    };
    let handled = Arc::new(AtomicU64::new(0));
    let thread = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)))
        .spawn()
        .unwrap();
    let handle = thread.handle();
    for _ in 0..1000 {
        let before = handle.statistics().entries;
        while handle.statistics().entries == before {
            handle.kick().unwrap();
            thread::yield_now();
        }
    }
    assert_eq!(handled.load(Ordering::Acquire), 0);
    assert!(handle.statistics().interrupted >= 1000 - 1);
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_wait_request_returns_when_the_guest_is_left() {
    let Some(machine) = Machine::new("a_wait_request_returns_when_the_guest_is_left", SPIN) else {
        return;
    };
    let handled = Arc::new(AtomicU64::new(0));
    let thread = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)))
        .spawn()
        .unwrap();
    let handle = thread.handle();
    for _ in 0..5_000 {
        let before = handle.statistics();
        handle.request_until(Ask::Leave, soon()).unwrap();
        let after = handle.statistics();
        // Whoever waited has seen the interruption; who found it outside did not wait.
        assert!(after.interrupted >= before.interrupted);
    }
    handle.stop().unwrap();
    handle.wait(soon()).unwrap();
    let statistics = handle.statistics();
    assert!(
        statistics.kicks_sent <= statistics.entries,
        "{statistics:?}"
    );
    thread.join().unwrap();
}

#[test]
fn a_kick_before_the_first_entry_does_not_reach_into_it() {
    let Some(machine) = Machine::new("a_kick_before_the_first_entry_does_not_reach_into_it", SPIN)
    else {
        return;
    };
    let handled = Arc::new(AtomicU64::new(0));
    let runner = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)));
    let handle = runner.handle();
    handle.kick().unwrap();
    handle.request(Ask::Report).unwrap();
    let asked = handle.begin_pause().unwrap();
    let thread = runner.spawn().unwrap();
    handle.wait_paused(asked, soon()).unwrap();
    // Paused before the first entry: no instruction has run.
    let rip = handle
        .call(soon(), |vcpu| vcpu.fd().get_regs().map(|regs| regs.rip))
        .unwrap();
    assert_eq!(rip.unwrap(), CODE);
    let statistics = handle.statistics();
    assert_eq!((statistics.entries, statistics.kicks_sent), (0, 0));
    assert_eq!(handled.load(Ordering::Acquire), 1);
    handle.stop().unwrap();
    thread.join().unwrap();
}

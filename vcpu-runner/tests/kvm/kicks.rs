// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Kicks at random times against a guest that never exits by itself: a lost one would never come
//! back.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::guest::{Ask, CODE, Machine, soon, wait_until};
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, KickSignal, Runner, Statistics, VcpuHandle, VcpuThread};

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

/// A spinning vCPU on its thread, and how many requests it has handled.
struct Spinning {
    thread: VcpuThread<KvmVcpu, Counter>,
    handled: Arc<AtomicU64>,
    // Behind `thread`, so that its memory goes last.
    _machine: Machine,
}

impl Spinning {
    /// `None` where there is no KVM.
    fn start(test: &str) -> Option<Self> {
        let machine = Machine::new(test, SPIN)?;
        let handled = Arc::new(AtomicU64::new(0));
        let thread = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)))
            .spawn()
            .unwrap();
        Some(Self {
            thread,
            handled,
            _machine: machine,
        })
    }

    fn handle(&self) -> &VcpuHandle<KvmVcpu, Ask> {
        self.thread.handle()
    }

    fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    /// Ends the thread, and says what was counted.
    fn stop(self) -> Statistics {
        let handle = self.thread.handle().clone();
        handle.stop().unwrap();
        self.thread.join().unwrap();
        handle.statistics()
    }
}

fn wait_until_handled(handled: &AtomicU64, count: u64) {
    wait_until("the kick, which was lost", || {
        handled.load(Ordering::Acquire) >= count
    });
}

/// How many kicks one test makes. Where the CPU itself is emulated each takes milliseconds, so
/// `VCPU_RUNNER_KICKS` asks for fewer there.
fn kicks() -> u64 {
    let asked = std::env::var("VCPU_RUNNER_KICKS").ok();
    asked.map_or(100_000, |number| number.parse().unwrap())
}

/// What holds of a guest that never exits by itself, however it was kicked.
fn assert_no_kick_too_many(statistics: &Statistics) {
    // Every entry ended by EINTR, and by one kick at most: the rest are stray, ended by a signal
    // that came only after its kick's skip flag had ended the entry before.
    assert_eq!(statistics.entries, statistics.interrupted, "{statistics:?}");
    assert_eq!(
        statistics.entries,
        statistics.kicks_sent + statistics.stray,
        "{statistics:?}"
    );
    assert!(statistics.stray <= statistics.kicks_sent, "{statistics:?}");
}

#[test]
fn none_of_100_000_kicks_is_lost() {
    let kicks = kicks();
    let Some(vcpu) = Spinning::start("none_of_100_000_kicks_is_lost") else {
        return;
    };
    let mut irregular = Irregular(0x9e37_79b9_7f4a_7c15);
    let mut made = 0;
    // A request that finds the vCPU outside needs no kick, and does not count.
    while vcpu.handle().statistics().kicks_sent < kicks {
        made += 1;
        irregular.moment();
        vcpu.handle().request(Ask::Report).unwrap();
        wait_until_handled(&vcpu.handled, made);
    }
    let statistics = vcpu.stop();
    // Each request was made alone, so nothing coalesced; the end may need one more kick.
    assert_eq!(statistics.kicks_coalesced, 0, "{statistics:?}");
    assert!(statistics.kicks_sent <= kicks + 1, "{statistics:?}");
    assert_no_kick_too_many(&statistics);
}

#[test]
fn a_burst_of_requests_is_one_kick_an_entry() {
    const ROUNDS: u64 = 2_000;
    let Some(vcpu) = Spinning::start("a_burst_of_requests_is_one_kick_an_entry") else {
        return;
    };
    let burst = |seed| {
        let mut irregular = Irregular(seed);
        for _ in 0..ROUNDS {
            irregular.moment();
            for ask in [Ask::Report, Ask::GoOn, Ask::Quiet] {
                vcpu.handle().request(ask).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| burst(7));
        scope.spawn(|| burst(11));
    });
    // Requests are bits, so some met their like; none was handled that was not made.
    assert!(vcpu.handled() <= 2 * 3 * ROUNDS);
    assert_no_kick_too_many(&vcpu.stop());
}

#[test]
fn a_kick_that_asks_for_nothing_ends_the_entry() {
    const KICKS: u64 = 1000;
    let Some(vcpu) = Spinning::start("a_kick_that_asks_for_nothing_ends_the_entry") else {
        return;
    };
    let entries = || vcpu.handle().statistics().entries;
    for _ in 0..KICKS {
        let before = entries();
        // A kick that finds the vCPU outside is void.
        wait_until("the entry to end", || {
            vcpu.handle().kick().unwrap();
            entries() != before
        });
    }
    assert_eq!(vcpu.handled(), 0);
    let statistics = vcpu.stop();
    assert!(statistics.interrupted >= KICKS - 1, "{statistics:?}");
    assert_no_kick_too_many(&statistics);
}

/// Holds the vCPU outside the guest until the test lets it go on.
struct Held(Receiver<()>);

impl Handler<KvmVcpu> for Held {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        Err(format!("a counting guest has no exits, but: {exit:?}"))
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        self.0.recv().map_err(|error| error.to_string())?;
        Ok(Flow::Continue)
    }
}

#[test]
fn a_wait_request_returns_when_the_guest_has_been_left() {
    const COUNTER: u64 = 0x2000;
    let code = [
        0xff, 0x05, 0x00, 0x20, 0x00, 0x00, // inc dword [0x2000]
        0xeb, 0xf8, // jmp to the inc
    ];
    let test = "a_wait_request_returns_when_the_guest_has_been_left";
    let Some(machine) = Machine::new(test, &code) else {
        return;
    };
    let (go_on, held) = channel();
    let thread = Runner::new(machine.vcpu(0), Held(held)).spawn().unwrap();
    for _ in 0..500 {
        let before = machine.word(COUNTER);
        wait_until("the guest to run", || machine.word(COUNTER) != before);
        thread.handle().request_until(Ask::Leave, soon()).unwrap();
        // Its handler holds it now, so whatever moves the counter is the guest that was not left.
        let after = machine.word(COUNTER);
        for _ in 0..20 {
            thread::yield_now();
            assert_eq!(machine.word(COUNTER), after);
        }
        go_on.send(()).unwrap();
    }
    thread.handle().stop().unwrap();
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
    asked.wait(soon()).unwrap();
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

#[test]
fn another_signal_kicks_as_well() {
    let Some(machine) = Machine::new("another_signal_kicks_as_well", SPIN) else {
        return;
    };
    let handled = Arc::new(AtomicU64::new(0));
    let thread = Runner::new(machine.vcpu(0), Counter(Arc::clone(&handled)))
        .kick_signal(KickSignal::new(libc::SIGUSR1).unwrap())
        .spawn()
        .unwrap();
    for made in 1..=1000 {
        thread.handle().request(Ask::Report).unwrap();
        wait_until_handled(&handled, made);
    }
    thread.handle().stop().unwrap();
    thread.join().unwrap();
}

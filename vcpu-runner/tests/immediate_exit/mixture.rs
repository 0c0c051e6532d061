// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Nothing is lost and nothing doubled: injections, kicks, pauses, requests and immediate exits at
//! random times from several threads, and each event is counted in the guest exactly once.

use std::env;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use guest_programs::{Handlers, Mode, Program};
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::kvm::immediate_exit::HostMechanisms;
use vcpu_runner::{Deadline, Error, NotEntered, Runner, VcpuThread, pause_all, resume_all};

use crate::irregular::Irregular;
use crate::machine::{Machine, kvm};
use crate::mixer::{Ask, Handle, Ledger, Mixer, Vectors};

/// Printed when it begins, for whoever disturbs it.
pub const MIXING: &str = "mixing ...";

/// For how many seconds it is asked to go on.
pub const SECONDS: &str = "VCPU_RUNNER_MIXTURE_SECONDS";

/// How long it goes on, unless told otherwise.
fn duration() -> Duration {
    let asked = env::var(SECONDS).ok();
    Duration::from_secs(asked.map_or(10, |seconds| seconds.parse().unwrap()))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

/// The vCPUs of one machine.
pub struct Mixture {
    threads: Vec<VcpuThread<KvmVcpu, Mixer>>,
    handles: Vec<Handle>,
    ledgers: Vec<Arc<Ledger>>,
    // Behind the threads, so that its memory goes last.
    machine: Machine,
}

impl Mixture {
    /// `None` where there is no KVM.
    pub fn start(test: &str, vcpus: u8) -> Option<Self> {
        let host = HostMechanisms::measure(&kvm(test)?).unwrap();
        // Long mode: the only one in which every KVM can return from a handler.
        let machine = Machine::new(test, Mode::Long, Handlers::Short, false)?;
        let mut this = Self {
            threads: Vec::new(),
            handles: Vec::new(),
            ledgers: Vec::new(),
            machine,
        };
        for index in 0..vcpus {
            this.start_vcpu(index, &host);
        }
        Some(this)
    }

    fn start_vcpu(&mut self, index: u8, host: &HostMechanisms) {
        let machine = &self.machine;
        let programs = [
            Program::Count,
            Program::Halt,
            Program::PortOut,
            Program::Spin,
        ];
        let program = programs[usize::from(index) % programs.len()];
        let vcpu = machine.vcpu(index.into(), program, host.order());
        // They share a stack of 4 KiB.
        let mut regs = vcpu.fd().get_regs().unwrap();
        regs.rsp -= 0x200 * u64::from(index);
        vcpu.fd().set_regs(&regs).unwrap();
        let ledger = Arc::new(Ledger::default());
        let mixer = Mixer {
            guest: machine.guest.clone(),
            memory: Arc::clone(&machine.memory),
            vectors: Vectors::of(index),
            ledger: Arc::clone(&ledger),
            handle: None,
            irregular: Irregular::new(0x1234_5678 + u64::from(index)),
            wants_interrupt: false,
        };
        let mut runner = Runner::new(vcpu, mixer).name(format!("vcpu{index}"));
        let handle = runner.handle();
        runner.handler_mut().handle = Some(handle.clone());
        self.threads.push(runner.spawn().unwrap());
        self.handles.push(handle);
        self.ledgers.push(ledger);
    }

    /// Does all of it for `duration`.
    pub fn mix(&self, duration: Duration) {
        let end = Instant::now() + duration;
        thread::scope(|scope| {
            for (handle, seed) in self.handles.iter().zip(1..) {
                scope.spawn(move || inject(handle, end, Irregular::new(seed)));
                scope.spawn(move || kick(handle, end, Irregular::new(seed << 8)));
                scope.spawn(move || enter_briefly(handle, end, Irregular::new(seed << 16)));
            }
            scope.spawn(|| pause(&self.handles, end, Irregular::new(99)));
        });
    }

    /// Checks that each event that was injected has been counted, once.
    pub fn check(self, test: &str) {
        self.wait_until_counted(test);
        // Were one delivered twice, it would come now; and an interrupt that has waited for its
        // window may come once more.
        thread::sleep(Duration::from_millis(50));
        let more = self
            .each_count()
            .any(|(_, injected, counted)| counted > injected);
        assert!(!more, "{test}: doubled: {}", self.counts());
        self.wait_until_counted(test);
        let mut events = 0;
        for (ledger, vectors) in self.ledgers.iter().zip((0..).map(Vectors::of)) {
            let Machine { guest, memory, .. } = &self.machine;
            events += vectors
                .counts(ledger, guest, memory)
                .map(|(_, injected, _)| u64::from(injected))
                .sum::<u64>();
            assert!(ledger.delivered.load(Ordering::Relaxed) > 0, "{ledger:?}");
        }
        let sum =
            |of: fn(&Ledger) -> u64| self.ledgers.iter().map(|ledger| of(ledger)).sum::<u64>();
        let delivered = sum(|ledger| ledger.delivered.load(Ordering::Relaxed));
        let waiting = sum(|ledger| ledger.waiting.load(Ordering::Relaxed));
        let halted = sum(|ledger| ledger.halted.load(Ordering::Relaxed));
        let vcpus = self.handles.len();
        println!(
            "{test}: {vcpus} vCPUs: {events} events counted once each; immediate exits: \
             {delivered}, {waiting} more with something left waiting, {halted} of halted guests"
        );
        for thread in self.threads {
            thread.handle().stop().unwrap();
            let outcome = thread.join().unwrap().outcome;
            assert!(
                matches!(outcome, vcpu_runner::Outcome::Stopped),
                "{outcome:?}"
            );
        }
    }

    fn wait_until_counted(&self, test: &str) {
        let start = Instant::now();
        while !self.all_counted() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{test}: lost: {}",
                self.counts()
            );
            thread::yield_now();
        }
    }

    fn each_count(&self) -> impl Iterator<Item = (u8, u32, u32)> + '_ {
        let Machine { guest, memory, .. } = &self.machine;
        let ledgers = self.ledgers.iter().zip((0..).map(Vectors::of));
        ledgers.flat_map(move |(ledger, vectors)| {
            let counts: Vec<_> = vectors.counts(ledger, guest, memory).collect();
            counts
        })
    }

    fn all_counted(&self) -> bool {
        self.each_count()
            .all(|(_, injected, counted)| injected == counted)
    }

    fn counts(&self) -> String {
        let wrong = self
            .each_count()
            .filter(|(_, injected, counted)| injected != counted);
        let phases: Vec<_> = self.handles.iter().map(Handle::phase).collect();
        wrong
            .map(|(vector, injected, counted)| format!("{vector}: {counted} of {injected}, "))
            .collect::<String>()
            + &format!("{phases:?}")
    }
}

/// Lets a moment pass.
fn moment(irregular: &mut Irregular) {
    match irregular.below(4) {
        0 => {}
        1 => thread::yield_now(),
        _ => thread::sleep(Duration::from_micros(irregular.below(300))),
    }
}

fn inject(handle: &Handle, end: Instant, mut irregular: Irregular) {
    while Instant::now() < end {
        let ask = irregular.pick(&[Ask::Interrupt, Ask::Interrupt, Ask::Nmi, Ask::Exception]);
        handle.request(ask).unwrap();
        moment(&mut irregular);
    }
}

fn kick(handle: &Handle, end: Instant, mut irregular: Irregular) {
    while Instant::now() < end {
        match irregular.below(3) {
            0 => handle.kick().unwrap(),
            1 => handle.request(Ask::Look).unwrap(),
            _ => handle.request_until(Ask::Leave, soon()).unwrap(),
        }
        moment(&mut irregular);
    }
}

fn enter_briefly(handle: &Handle, end: Instant, mut irregular: Irregular) {
    while Instant::now() < end {
        match irregular.below(2) {
            0 => handle.request_immediate_exit().unwrap(),
            _ => match handle.immediate_exit(soon()) {
                Ok(_) | Err(Error::NotEntered(NotEntered::Halted)) => {}
                Err(error) => panic!("{error}"),
            },
        }
        moment(&mut irregular);
    }
}

fn pause(handles: &[Handle], end: Instant, mut irregular: Irregular) {
    while Instant::now() < end {
        pause_all(handles, soon()).unwrap();
        moment(&mut irregular);
        resume_all(handles).unwrap();
        thread::sleep(Duration::from_millis(irregular.below(20)));
    }
}

fn mixture(test: &str, vcpus: u8) {
    if let Some(mixture) = Mixture::start(test, vcpus) {
        println!("{MIXING}");
        mixture.mix(duration());
        mixture.check(test);
    }
}

#[test]
fn one_vcpu_counts_each_event_once() {
    mixture("one_vcpu_counts_each_event_once", 1);
}

#[test]
fn two_vcpus_count_each_event_once() {
    mixture("two_vcpus_count_each_event_once", 2);
}

#[test]
fn eight_vcpus_count_each_event_once() {
    mixture("eight_vcpus_count_each_event_once", 8);
}

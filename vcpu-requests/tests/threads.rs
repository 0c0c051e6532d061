// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Real threads on one word: nothing is lost, whatever the scheduler does.
//!
//! The guest is a thread that is parked and the kick unparks it, so a kick that is lost hangs.

#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this is tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};

use vcpu_requests::value::{Policy, Value};
use vcpu_requests::{Kick, NotEntered, VcpuRequests, requests};

const MAKERS: u64 = 3;
const ROUNDS: u64 = 3_000;

requests! {
    enum Ask {
        /// Comes with a maker's bit.
        Event = 0,
        FlushTlb = 1: WAIT | NO_WAKEUP,
        Stop = 31,
    }
}

/// What the test's threads share.
struct Shared {
    requests: VcpuRequests<Ask>,
    makers: Value,
    /// For each maker, how often its bit was taken.
    taken: [AtomicU64; MAKERS as usize],
    kicks: AtomicU64,
}

impl Shared {
    fn ask(&self, request: Ask, vcpu: &Thread) {
        let made = self.requests.make(request);
        match made.kick {
            Kick::NotNeeded | Kick::Coalesced => {}
            Kick::Signal => {
                self.kicks.fetch_add(1, Ordering::Relaxed);
                vcpu.unpark();
            }
            Kick::Wake => vcpu.unpark(),
        }
        if let Some(ticket) = made.wait {
            while !self.requests.has_left(ticket) {
                thread::yield_now();
            }
        }
    }

    /// The vCPU's thread; every other time it sleeps instead of entering. How many stays ended with
    /// a kick.
    fn run(&self) -> u64 {
        let mut kicked = 0;
        for turn in 0_u64.. {
            let requests = self.requests.take();
            if requests.contains(Ask::Event) {
                let bits = self.makers.take();
                for (maker, taken) in self.taken.iter().enumerate() {
                    taken.fetch_add(bits >> maker & 1, Ordering::Release);
                }
            }
            if requests.contains(Ask::Stop) {
                return kicked;
            }
            let refused = if turn % 2 == 0 {
                self.requests.enter().map(|guest| {
                    thread::park();
                    kicked += u64::from(guest.leave().kicked);
                })
            } else {
                self.requests.sleep().map(|sleeping| {
                    while !sleeping.is_woken() {
                        thread::park();
                    }
                })
            };
            if let Err(NotEntered::Busy(mode)) = refused {
                panic!("{mode}");
            }
        }
        unreachable!("it stops before it has counted so far")
    }
}

#[test]
fn every_request_arrives() {
    let shared = Shared {
        requests: VcpuRequests::new(),
        makers: Value::new(Policy::Or),
        taken: [const { AtomicU64::new(0) }; MAKERS as usize],
        kicks: AtomicU64::new(0),
    };
    let kicked = thread::scope(|scope| {
        let vcpu = scope.spawn(|| shared.run());
        let makers: Vec<_> = (0..MAKERS)
            .map(|maker| {
                let (shared, vcpu) = (&shared, vcpu.thread().clone());
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        shared.makers.put(1 << maker);
                        shared.ask(Ask::Event, &vcpu);
                        shared.ask(Ask::FlushTlb, &vcpu);
                        // The next one only when this one was handled, so that each has to arrive.
                        while shared.taken[maker as usize].load(Ordering::Acquire) < round {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.join().unwrap();
        }
        shared.ask(Ask::Stop, vcpu.thread());
        vcpu.join().unwrap()
    });
    assert!(
        shared
            .taken
            .iter()
            .all(|taken| taken.load(Ordering::Relaxed) == ROUNDS)
    );
    assert_eq!(
        shared.kicks.load(Ordering::Relaxed),
        kicked,
        "one kick per stay"
    );
}

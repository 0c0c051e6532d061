// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One vCPU's thread and one that asks things of it.
//!
//! The guest is a thread that is parked, and the kick unparks it: `unpark` is remembered until the
//! next `park`, as KVM's skip flag and signal together are until the next KVM_RUN.
//!
//! ```sh
//! cargo run -p vcpu-requests --example two_threads
//! ```

use std::sync::Arc;
use std::thread::{self, Thread};

use vcpu_requests::value::{Policy, Value};
use vcpu_requests::{Kick, NotEntered, Request, VcpuRequests, requests};

requests! {
    /// What this program asks of its vCPU.
    enum Ask {
        /// Inject interrupts; which ones comes along.
        Inject = 0,
        /// Forget cached translations, before the asker goes on.
        FlushTlb = 1: WAIT | NO_WAKEUP,
        /// The end.
        Stop = 31,
    }
}

struct Vcpu {
    requests: VcpuRequests<Ask>,
    vectors: Value,
}

impl Vcpu {
    /// The vCPU's thread.
    fn run(&self) -> Result<(), NotEntered<Ask>> {
        loop {
            match self.requests.enter() {
                Ok(guest) => {
                    thread::park();
                    guest.leave();
                }
                Err(NotEntered::Pending(_)) => {
                    for request in self.requests.take() {
                        match request {
                            Ask::Inject => println!("vcpu : inject {:#x}", self.vectors.take()),
                            Ask::FlushTlb => println!("vcpu : flush the TLB"),
                            Ask::Stop => return Ok(()),
                        }
                    }
                }
                Err(busy) => return Err(busy),
            }
        }
    }

    /// Any other thread.
    fn ask(&self, request: Ask, thread: &Thread) {
        let made = self.requests.make(request);
        println!("maker: {} made, kick: {:?}", request.name(), made.kick);
        if made.kick == Kick::Signal {
            thread.unpark();
        }
        if let Some(ticket) = made.wait {
            while !self.requests.has_left(ticket) {
                thread::yield_now();
            }
            println!("maker: the vCPU was in the guest, and has left it");
        }
    }
}

fn main() -> Result<(), NotEntered<Ask>> {
    let vcpu = Arc::new(Vcpu {
        requests: VcpuRequests::new(),
        vectors: Value::new(Policy::Or),
    });
    let handle = thread::spawn({
        let vcpu = vcpu.clone();
        move || vcpu.run()
    });

    for vector in [3, 5] {
        vcpu.vectors.put(1 << vector);
        vcpu.ask(Ask::Inject, handle.thread());
    }
    vcpu.ask(Ask::FlushTlb, handle.thread());
    vcpu.ask(Ask::Stop, handle.thread());

    match handle.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

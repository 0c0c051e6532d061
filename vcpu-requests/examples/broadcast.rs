// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One request to several vCPUs: signal all, then wait for all.
//!
//! ```sh
//! cargo run -p vcpu-requests --example broadcast
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use vcpu_requests::broadcast::{Target, make_all_requests, wait_all};
use vcpu_requests::{Mode, NotEntered, Ticket, VcpuRequests, requests};

requests! {
    /// What this program asks of its vCPUs.
    enum Ask {
        /// The guest's memory map is about to change.
        ReloadMemoryMap = 0: WAIT | NO_WAKEUP,
        /// The end.
        Stop = 31,
    }
}

/// What the vCPU's thread and the others share.
struct Shared {
    requests: VcpuRequests<Ask>,
    /// Guards nothing but the wait on `left`.
    bell: Mutex<()>,
    left: Condvar,
}

impl Shared {
    fn bell(&self) -> MutexGuard<'_, ()> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vCPU's thread; its guest is that it is parked.
    fn run(&self) {
        loop {
            match self.requests.enter() {
                Ok(guest) => {
                    thread::park();
                    if guest.leave().kicked {
                        // With the lock, so that a waiter has either not looked yet, or waits.
                        drop(self.bell());
                        self.left.notify_all();
                    }
                }
                Err(NotEntered::Pending(_)) => {
                    if self.requests.take().contains(Ask::Stop) {
                        return;
                    }
                }
                Err(NotEntered::Busy(_)) => return,
            }
        }
    }
}

/// One of the vCPUs, for the others.
struct Vcpu {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Target for Vcpu {
    type Request = Ask;
    type Error = Infallible;

    fn requests(&self) -> &VcpuRequests<Ask> {
        &self.shared.requests
    }

    fn signal(&self) -> Result<(), Infallible> {
        self.thread.unpark();
        Ok(())
    }

    fn wake(&self) -> Result<(), Infallible> {
        self.thread.unpark();
        Ok(())
    }

    fn wait(&self, ticket: Ticket) -> Result<(), Infallible> {
        let mut bell = self.shared.bell();
        while !self.shared.requests.has_left(ticket) {
            bell = self
                .shared
                .left
                .wait(bell)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (vcpus, threads): (Vec<_>, Vec<_>) = (0..4)
        .map(|_| {
            let shared = Arc::new(Shared {
                requests: VcpuRequests::new(),
                bell: Mutex::new(()),
                left: Condvar::new(),
            });
            let handle = thread::spawn({
                let shared = shared.clone();
                move || shared.run()
            });
            let thread = handle.thread().clone();
            (Vcpu { shared, thread }, handle)
        })
        .unzip();

    for round in 1..=3 {
        // Only so that there is something to see: the vCPUs may be anywhere.
        while vcpus
            .iter()
            .any(|vcpu| vcpu.requests().mode() != Mode::InGuest)
        {
            thread::yield_now();
        }
        let mut tickets = Vec::new();
        make_all_requests(&vcpus, Ask::ReloadMemoryMap, &mut tickets)?;
        let inside = tickets.len();
        wait_all(tickets)?;
        println!("round {round}: {inside} vCPUs were in the guest; now none uses the old map");
    }

    let mut nobody_waits = Vec::new();
    make_all_requests(&vcpus, Ask::Stop, &mut nobody_waits)?;
    for thread in threads {
        thread.join().map_err(|_| "a vCPU's thread panicked")?;
    }
    Ok(())
}

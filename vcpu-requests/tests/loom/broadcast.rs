// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! vCPUs that ask one another and wait do not wait for ever: who waits is outside guest mode.

use std::convert::Infallible;
use std::sync::Arc;

use loom::thread;
use vcpu_requests::broadcast::{Target, make_all_requests, wait_all};
use vcpu_requests::{NotEntered, Ticket};

use crate::{Ask, VcpuRequests};

struct Vcpu(VcpuRequests);

impl Target for Vcpu {
    type Request = Ask;
    type Error = Infallible;

    fn requests(&self) -> &VcpuRequests {
        &self.0
    }

    /// This model's stays are short: they end without a signal.
    fn signal(&self) -> Result<(), Infallible> {
        Ok(())
    }

    fn wake(&self) -> Result<(), Infallible> {
        unreachable!("nobody sleeps")
    }

    fn wait(&self, ticket: Ticket) -> Result<(), Infallible> {
        while !self.0.has_left(ticket) {
            thread::yield_now();
        }
        Ok(())
    }
}

#[test]
fn two_vcpus_broadcast_to_one_another() {
    loom::model(|| {
        let vcpus = Arc::new([Vcpu(VcpuRequests::new()), Vcpu(VcpuRequests::new())]);
        let threads = [0, 1].map(|index| {
            let vcpus = vcpus.clone();
            thread::spawn(move || {
                match vcpus[index].0.enter() {
                    Ok(guest) => drop(guest),
                    Err(NotEntered::Pending(set)) => assert!(set.contains(Ask::FlushTlb)),
                    Err(busy) => panic!("{busy}"),
                }
                let mut tickets = Vec::new();
                make_all_requests(&*vcpus, Ask::FlushTlb, &mut tickets).unwrap();
                assert!(
                    tickets
                        .iter()
                        .all(|(vcpu, _)| !std::ptr::eq(*vcpu, &vcpus[index]))
                );
                wait_all(tickets).unwrap();
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        for vcpu in &*vcpus {
            assert!(vcpu.0.check(Ask::FlushTlb), "somebody was left out");
        }
    });
}

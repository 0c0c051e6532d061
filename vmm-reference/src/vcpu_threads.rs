// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The vCPUs' threads, all of them: started together, stopped together, none left behind.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Deadline, Runner, Statistics, VcpuHandle, stop_all};

use crate::outcome::{FirstOutcome, Outcome};
use crate::vcpu_handler::{VcpuHandler, VcpuRequest};

/// How long a vCPU may take to stop. Nothing that it does takes long once the console's output
/// waits no more; a host that swaps may.
const STOP: Duration = Duration::from_secs(10);

/// A handle on one of the VMM's vCPUs.
pub type Handle = VcpuHandle<KvmVcpu, VcpuRequest>;

/// The threads. They are stopped when this is dropped.
pub struct VcpuThreads {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
}

impl VcpuThreads {
    /// Starts a thread for each of `vcpus`. What ends one, other than being stopped, is reported to
    /// `first`.
    ///
    /// # Errors
    /// When a thread cannot be started; those that were are stopped.
    pub fn start(
        vcpus: Vec<(KvmVcpu, VcpuHandler)>,
        first: &Arc<FirstOutcome>,
    ) -> io::Result<Self> {
        let mut this = Self {
            handles: Vec::new(),
            threads: Vec::new(),
        };
        for ((vcpu, handler), index) in vcpus.into_iter().zip(0..) {
            let runner = Runner::new(vcpu, handler);
            this.handles.push(runner.handle());
            let first = Arc::clone(first);
            let thread = thread::Builder::new()
                .name(format!("vcpu{index}"))
                .spawn(move || run(index, runner, &first))?;
            this.threads.push(thread);
        }
        Ok(this)
    }

    /// Handles on the vCPUs, in order.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Stops all and waits until they have. Returns what they have counted.
    pub fn stop(mut self) -> Vec<Statistics> {
        self.end();
        self.handles.iter().map(VcpuHandle::statistics).collect()
    }

    fn end(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        let started = self.handles.get(..self.threads.len()).unwrap_or_default();
        if let Err(error) = stop_all(started, Deadline::after(STOP)) {
            // Waiting for a thread that does not come would be worse than leaving it.
            log::error!("cannot stop the vCPUs: {error}");
            self.threads.clear();
        }
        for thread in self.threads.drain(..) {
            // `run` reports what happens on it; there is nothing else to hear.
            let _ = thread.join();
        }
    }
}

impl Drop for VcpuThreads {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(index: u8, runner: Runner<KvmVcpu, VcpuHandler>, first: &FirstOutcome) {
    match runner.run().outcome {
        vcpu_runner::Outcome::Stopped => {}
        vcpu_runner::Outcome::Handler(never) => match never {},
        vcpu_runner::Outcome::Error(source) => first.report(Outcome::VcpuFailed {
            vcpu: index,
            source,
        }),
        vcpu_runner::Outcome::Panicked(message) => first.report(Outcome::VcpuPanicked {
            vcpu: index,
            message: message.to_string(),
        }),
    }
}

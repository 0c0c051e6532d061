// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The vCPUs' threads, all of them: started together, stopped together, none left behind.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vcpu_runner::{Deadline, Runner, Statistics, VcpuHandle, stop_all};

use crate::outcome::{FirstOutcome, Outcome};
use crate::vcpu_handler::{MachineVcpu, VcpuHandler, VcpuRequest};

/// How long a vCPU may take to stop. Nothing that it does takes long once the console's output
/// waits no more; a host that swaps may.
const STOP: Duration = Duration::from_secs(10);

/// A handle on one of the VMM's vCPUs.
pub type Handle<V> = VcpuHandle<V, VcpuRequest>;

/// The vCPUs before they run.
pub struct Vcpus<V: MachineVcpu> {
    runners: Vec<Runner<V, VcpuHandler>>,
    handles: Vec<Handle<V>>,
}

impl<V: MachineVcpu + Send + 'static> Vcpus<V> {
    /// All vCPUs of the machine, in order.
    pub fn new(vcpus: Vec<(V, VcpuHandler)>) -> Self {
        let runners: Vec<_> = vcpus
            .into_iter()
            .map(|(vcpu, handler)| Runner::new(vcpu, handler))
            .collect();
        let handles = runners.iter().map(Runner::handle).collect();
        Self { runners, handles }
    }

    /// Handles on the vCPUs, in order.
    pub fn handles(&self) -> &[Handle<V>] {
        &self.handles
    }

    /// Starts a thread for each. What ends one, other than being stopped, is reported to `first`.
    ///
    /// # Errors
    /// When a thread cannot be started; those that were are stopped.
    pub fn start(self, first: &Arc<FirstOutcome>) -> io::Result<VcpuThreads<V>> {
        let mut threads = VcpuThreads {
            handles: self.handles,
            threads: Vec::new(),
        };
        for (runner, index) in self.runners.into_iter().zip(0..) {
            let first = Arc::clone(first);
            let thread = thread::Builder::new()
                .name(format!("vcpu{index}"))
                .spawn(move || run(index, runner, &first))?;
            threads.threads.push(thread);
        }
        Ok(threads)
    }
}

/// The threads. They are stopped when this is dropped.
pub struct VcpuThreads<V: MachineVcpu> {
    handles: Vec<Handle<V>>,
    threads: Vec<JoinHandle<()>>,
}

impl<V: MachineVcpu> VcpuThreads<V> {
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

impl<V: MachineVcpu> Drop for VcpuThreads<V> {
    fn drop(&mut self) {
        self.end();
    }
}

fn run<V: MachineVcpu>(index: u8, runner: Runner<V, VcpuHandler>, first: &FirstOutcome) {
    let mut ended = runner.run();
    if let Some(message) = ended.vcpu.take_failure() {
        first.report(Outcome::NestedFailed { message });
    }
    match ended.outcome {
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

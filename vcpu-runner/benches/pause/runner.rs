// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This crate: `pause_all` and `resume_all`.

use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{
    Deadline, Exit, Flow, Handler, Runner, VcpuHandle, VcpuThread, pause_all, resume_all, stop_all,
};

use crate::Contender;
use crate::guest::Machine;

requests! {
    /// What could be asked beside a pause.
    pub enum Ask {
        /// It never is.
        Nothing = 0,
    }
}

/// Has nothing to do.
struct Idle;

impl Handler<KvmVcpu> for Idle {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        Err(format!("a spinning guest has no exits, but: {exit:?}"))
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }
}

/// vCPUs that runners run.
pub struct Crate {
    threads: Vec<VcpuThread<KvmVcpu, Idle>>,
    handles: Vec<VcpuHandle<KvmVcpu, Ask>>,
}

impl Crate {
    pub fn start(machine: &Machine, number: usize) -> Self {
        let start = |index| {
            let vcpu = KvmVcpu::new(&machine.kvm, machine.vcpu(index)).unwrap();
            let runner = Runner::new(vcpu, Idle);
            // It is paused when it begins.
            let handle = runner.handle();
            let paused = handle.begin_pause().unwrap();
            let thread = runner.spawn().unwrap();
            paused.wait(Deadline::NEVER).unwrap();
            thread
        };
        let threads: Vec<_> = (0..number).map(start).collect();
        let handles = threads.iter().map(|thread| thread.handle().clone());
        Self {
            handles: handles.collect(),
            threads,
        }
    }
}

impl Contender for Crate {
    fn name(&self) -> &'static str {
        "vcpu-runner"
    }

    fn resume(&self, number: usize) {
        resume_all(&self.handles[..number]).unwrap();
    }

    fn pause(&self, number: usize) {
        pause_all(&self.handles[..number], Deadline::NEVER).unwrap();
    }

    fn end(self: Box<Self>) {
        stop_all(&self.handles, Deadline::NEVER).unwrap();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

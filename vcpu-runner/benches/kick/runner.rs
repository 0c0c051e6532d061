// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This crate.

use std::sync::Arc;
use std::thread;

use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, Runner};

use crate::board::Board;
use crate::contender::{Contender, Measured, kicks};
use crate::guest::Machine;
use crate::pace::Irregular;
use crate::placement::{Side, keep_on};

requests! {
    /// What is asked.
    pub enum Ask {
        /// To note the time.
        Note = 0,
    }
}

/// Notes on the board that it was asked.
struct Noter(Arc<Board>);

impl Handler<KvmVcpu> for Noter {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        Err(format!("a spinning guest has no exits, but: {exit:?}"))
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        self.0.note();
        Ok(Flow::Continue)
    }

    fn needs_registers(&self, _: Ask) -> bool {
        false
    }
}

/// A vCPU that a [`Runner`] runs.
pub struct Crate {
    vcpu: Option<KvmVcpu>,
    board: Arc<Board>,
}

impl Crate {
    pub fn new(machine: &Machine) -> Self {
        let vcpu = KvmVcpu::new(&machine.kvm, machine.vcpu(0)).unwrap();
        Self {
            vcpu: Some(vcpu),
            board: Arc::default(),
        }
    }
}

impl Contender for Crate {
    fn name(&self) -> &'static str {
        "vcpu-runner"
    }

    fn batch(&mut self, count: usize, pace: &mut Irregular, measured: &mut Measured) {
        let noter = Noter(Arc::clone(&self.board));
        let runner = Runner::new(self.vcpu.take().unwrap(), noter);
        let (handle, board) = (runner.handle(), &self.board);
        // Not `spawn`: the thread is to be kept on its CPU.
        let thread = thread::spawn(move || {
            keep_on(Side::Vcpu);
            runner.run()
        });
        let kick = || {
            let due = board.handled() + 1;
            handle.request(Ask::Note).unwrap();
            board.wait(due);
        };
        kicks(count, pace, board, measured, kick, || {});
        handle.stop().unwrap();
        self.vcpu = Some(thread.join().unwrap().vcpu);
    }
}

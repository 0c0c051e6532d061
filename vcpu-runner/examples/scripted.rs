// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A handler on a vCPU that follows a script: nothing of the host is needed.

use std::convert::Infallible;
use std::error::Error;

use vcpu_requests::requests;
use vcpu_runner::scripted::{ScriptedVcpu, Step};
use vcpu_runner::{Deadline, Exit, ExitKind, Flow, Handler, Runner};

requests! {
    /// What is asked of the vCPU.
    enum Ask {
        /// Let the halted guest go on.
        GoOn = 0,
    }
}

/// Prints what the guest writes to its serial port.
struct Console;

impl Handler<ScriptedVcpu> for Console {
    type Request = Ask;
    type Error = Infallible;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, Infallible> {
        match exit {
            Exit::IoOut { data, .. } => print!("{}", String::from_utf8_lossy(data)),
            Exit::Hlt => return Ok(Flow::Halt),
            Exit::Shutdown => return Ok(Flow::Stop),
            _ => {}
        }
        Ok(Flow::Continue)
    }

    fn request(&mut self, ask: Ask, _: &mut ScriptedVcpu) -> Result<Flow, Infallible> {
        match ask {
            Ask::GoOn => Ok(Flow::Runnable),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vcpu = ScriptedVcpu::new([
        Step::io_out(0x3f8, b"the guest halts\n"),
        Step::hlt(),
        Step::io_out(0x3f8, b"and goes on\n"),
        Step::shutdown(),
    ]);
    let thread = Runner::new(vcpu, Console).spawn()?;
    let handle = thread.handle().clone();
    // Made before the guest halts, the request would find nothing to let go on.
    while handle.statistics().exits_of(ExitKind::Hlt) == 0 {
        std::thread::yield_now();
    }
    handle.request(Ask::GoOn)?;
    println!("the thread has ended: {}", handle.wait(Deadline::NEVER)?);
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Loops that enter the fake vCPU: with nothing around it, with parts of the protocol, and the
//! crate's own.

use std::hint::black_box;

use vcpu_requests::{NotEntered, VcpuRequests};
use vcpu_runner::{Flow, Handler, RunError, Runner, SkipFlag, Vcpu};

use crate::fake::{Ask, CountDown, ExitsAtOnce};

/// A loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Run, and hand the exit to the handler.
    Bare,
    /// Before that, the one load that tells whether anything is asked. Kicks would be lost.
    Look,
    /// Instead of the look, enter and leave guest mode: what it takes to lose no kick, with a skip
    /// flag that whoever sees it set clears.
    Word,
    /// The crate's loop.
    Runner,
}

impl Driver {
    /// All of them, by what they do.
    pub const ALL: [Self; 4] = [Self::Bare, Self::Look, Self::Word, Self::Runner];

    /// What the table and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "floor: bare loop",
            Self::Look => "bare loop, one look at the requests",
            Self::Word => "bare loop, enter and leave guest mode",
            Self::Runner => "vcpu-runner",
        }
    }

    /// Enters the vCPU so many times.
    pub fn drive(self, entries: u64) {
        let mut vcpu = ExitsAtOnce::default();
        let mut handler = CountDown { left: entries };
        match self {
            Self::Bare => while step(&mut vcpu, &mut handler) {},
            Self::Look => look(&mut vcpu, &mut handler),
            Self::Word => word(&mut vcpu, &mut handler),
            Self::Runner => {
                let ended = Runner::new(vcpu, handler).run();
                assert_eq!(ended.handler.left, 0);
            }
        }
    }
}

/// Once in and out. Returns whether to go on.
#[inline(always)]
fn step(vcpu: &mut ExitsAtOnce, handler: &mut CountDown) -> bool {
    match vcpu.run() {
        Ok(exit) => matches!(handler.exit(exit), Ok(Flow::Continue)),
        Err(RunError::Interrupted) => true,
        Err(error) => panic!("{error:?}"),
    }
}

/// What is asked, where the compiler has to believe that others ask.
fn requests() -> &'static VcpuRequests<Ask> {
    static REQUESTS: VcpuRequests<Ask> = VcpuRequests::new();
    black_box(&REQUESTS)
}

fn look(vcpu: &mut ExitsAtOnce, handler: &mut CountDown) {
    let requests = requests();
    while !requests.pending() && step(vcpu, handler) {}
}

fn word(vcpu: &mut ExitsAtOnce, handler: &mut CountDown) {
    let requests = requests();
    let flag = vcpu.skip_flag();
    loop {
        let guest = match requests.enter() {
            Ok(guest) => guest,
            Err(NotEntered::Pending(_) | NotEntered::Busy(_)) => return,
        };
        let on = match vcpu.run() {
            Ok(exit) => {
                if guest.leave().kicked {
                    flag.clear();
                }
                matches!(handler.exit(exit), Ok(Flow::Continue))
            }
            Err(RunError::Interrupted) => {
                guest.leave();
                flag.clear();
                true
            }
            Err(error) => panic!("{error:?}"),
        };
        if !on {
            return;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From bytes to a script and to how each exit is answered.

use std::time::Duration;

use vcpu_runner::scripted::Step;
use vcpu_runner::{Deadline, Error, NotEntered};

use super::events::Events;
use super::handler::Reaction;
use super::{ASKS, Ask, Handle, LateHandle};

/// Longer scripts say nothing new.
const MAX_STEPS: usize = 512;

/// Why the loop is to end when the script is through.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is stopped.
    Stop,
    /// KVM_RUN fails.
    Failure,
}

pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    /// One for each exit.
    pub(super) reactions: Vec<Reaction>,
    pub(super) end: End,
}

impl Script {
    /// Any bytes are a script.
    pub(super) fn parse(data: &[u8], events: &Events, handle: &LateHandle) -> Self {
        let mut bytes = data.iter().copied();
        let mut script = Self {
            steps: Vec::new(),
            reactions: Vec::new(),
            end: End::Stop,
        };
        let meanwhile = |act: fn(&Events, &Handle, u8), byte: u8| {
            let (events, handle) = (events.clone(), handle.clone());
            Step::meanwhile(move || {
                events.guest_runs();
                if let Some(handle) = handle.get() {
                    act(&events, handle, byte);
                }
            })
        };
        while script.steps.len() < MAX_STEPS {
            let Some(byte) = bytes.next() else { break };
            let arg = bytes.next().unwrap_or_default();
            let len = usize::from(arg % 5);
            let step = match byte % 16 {
                0 => Step::io_out(arg.into(), &[arg; 3][..len.min(3)]),
                1 => Step::io_in(arg.into(), len),
                2 => Step::mmio_read(arg.into(), len),
                3 => Step::mmio_write(arg.into(), &[arg; 4][..len]),
                4 => Step::hlt(),
                5 if arg % 2 == 1 => Step::mmio_read(arg.into(), len).before_entry(),
                5 => Step::internal_error(arg.into(), &[1, 2, 3]),
                6 => Step::other(arg.into()),
                7 => Step::mmio_write(arg.into(), &[arg; 2]).as_completion(),
                8 => Step::io_in(arg.into(), len).as_completion(),
                9 | 10 => meanwhile(make_all, arg),
                11 => meanwhile(kick, arg),
                12 => meanwhile(pause_and_resume, arg),
                13 => meanwhile(wait_for_itself, arg),
                14 if arg % 4 == 0 => Step::not_entered(NotEntered::Missed {
                    attempts: arg.into(),
                    mechanism: "scripted",
                }),
                14 => Step::again(),
                _ if arg < 0xc0 => meanwhile(make_all, arg),
                _ if arg < 0xe0 => {
                    script.steps.push(Step::fail(libc_errno(arg)));
                    script.end = End::Failure;
                    return script;
                }
                _ => break,
            };
            if byte % 16 <= 8 {
                script.reactions.push(Reaction {
                    is_completion: matches!(byte % 16, 7 | 8),
                    flow: bytes.next().unwrap_or_default(),
                    asks: bytes.next().unwrap_or_default(),
                });
            }
            script.steps.push(step);
        }
        script.steps.push(meanwhile(stop, 0));
        script
    }
}

/// An error number that KVM_RUN does not take as a reason to be called again.
fn libc_errno(arg: u8) -> i32 {
    match arg % 3 {
        0 => 14, // EFAULT
        1 => 22, // EINVAL
        _ => 5,  // EIO
    }
}

/// Makes those requests whose bit is set in `mask`.
pub(super) fn make_all(events: &Events, handle: &Handle, mask: u8) {
    for (bit, ask) in ASKS.into_iter().enumerate() {
        if mask & 1 << bit != 0 {
            make(events, handle, ask);
        }
    }
}

fn make(events: &Events, handle: &Handle, ask: Ask) {
    events.made(ask);
    match handle.request(ask) {
        Ok(()) => {}
        // In guest mode a WAIT request waits for the thread that makes it here.
        Err(Error::OwnThread) if ask == Ask::Leave => {}
        Err(error) => panic!("{ask:?}: {error}"),
    }
}

/// Kicks, or asks for an immediate exit.
fn kick(events: &Events, handle: &Handle, pick: u8) {
    if pick.is_multiple_of(2) {
        handle
            .kick()
            .expect("the thread lives and can be signalled");
    } else {
        ask_immediate_exit(events, handle);
    }
}

pub(super) fn ask_immediate_exit(events: &Events, handle: &Handle) {
    events.immediate_exit_asked();
    handle
        .request_immediate_exit()
        .expect("the thread lives and can be signalled");
}

fn pause_and_resume(events: &Events, handle: &Handle, mask: u8) {
    let _asked = handle.begin_pause().expect("the thread lives");
    make_all(events, handle, mask);
    handle.resume().expect("the thread lives");
}

fn wait_for_itself(_: &Events, handle: &Handle, _: u8) {
    let soon = Deadline::after(Duration::from_secs(1));
    assert!(matches!(handle.pause(soon), Err(Error::OwnThread)));
    assert!(matches!(handle.wait(soon), Err(Error::OwnThread)));
    assert!(matches!(handle.call(soon, |_| ()), Err(Error::OwnThread)));
}

fn stop(events: &Events, handle: &Handle, _: u8) {
    events.ask_stop();
    handle.stop().expect("the thread lives");
}

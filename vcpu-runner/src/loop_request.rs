// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The loop's own requests, beside the user's in one word.

use vcpu_requests::{Flags, Request};

/// A request as the vCPU's word holds it: the user's, bits 0 to 23, or the loop's, above. Those
/// with higher bits are handled later within one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopRequest<R> {
    /// One of the handler's.
    User(R),
    /// End the entry that is under way, nothing else.
    Kick,
    /// Run the closures that wait for this thread.
    Call,
    /// Look whether a pause is asked for.
    Pause,
    /// Look whether the end is asked for.
    Stop,
    /// Make the next entry as short as possible.
    ImmediateExit,
}

const KICK: u32 = 24;
const CALL: u32 = 25;
const PAUSE: u32 = 26;
const STOP: u32 = 27;
const IMMEDIATE_EXIT: u32 = 28;
/// Bits 24 to 31: those above IMMEDIATE_EXIT are kept for what the loop learns later.
const OWN: u32 = 0xff00_0000;

impl<R: Request> Request for LoopRequest<R> {
    const MASK: u32 = {
        assert!(
            R::MASK & OWN == 0,
            "request bits 24 to 31 are vcpu-runner's own: declare the handler's requests below 24"
        );
        R::MASK | 1 << KICK | 1 << CALL | 1 << PAUSE | 1 << STOP | 1 << IMMEDIATE_EXIT
    };
    const NO_WAKEUP_MASK: u32 = R::NO_WAKEUP_MASK & R::MASK | 1 << KICK;

    fn bit(self) -> u32 {
        match self {
            Self::User(request) => request.bit(),
            Self::Kick => KICK,
            Self::Call => CALL,
            Self::Pause => PAUSE,
            Self::Stop => STOP,
            Self::ImmediateExit => IMMEDIATE_EXIT,
        }
    }

    fn from_bit(bit: u32) -> Option<Self> {
        match bit {
            KICK => Some(Self::Kick),
            CALL => Some(Self::Call),
            PAUSE => Some(Self::Pause),
            STOP => Some(Self::Stop),
            IMMEDIATE_EXIT => Some(Self::ImmediateExit),
            _ => R::from_bit(bit).map(Self::User),
        }
    }

    fn flags(self) -> Flags {
        match self {
            Self::User(request) => request.flags(),
            // A sleeping vCPU is in no entry, so there is nothing to end.
            Self::Kick => Flags::NO_ACTION | Flags::NO_WAKEUP,
            Self::Call | Self::Pause | Self::Stop | Self::ImmediateExit => Flags::NONE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::User(request) => request.name(),
            Self::Kick => "Kick",
            Self::Call => "Call",
            Self::Pause => "Pause",
            Self::Stop => "Stop",
            Self::ImmediateExit => "ImmediateExit",
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use vcpu_requests::{VcpuRequests, requests};

    requests! {
        enum Ask {
            First = 0,
            Last = 23: WAIT | NO_WAKEUP,
        }
    }

    #[test]
    fn bits_and_requests_are_one_to_one() {
        let own = [
            LoopRequest::Kick,
            LoopRequest::Call,
            LoopRequest::Pause,
            LoopRequest::Stop,
            LoopRequest::ImmediateExit,
        ];
        let all = [LoopRequest::User(Ask::First), LoopRequest::User(Ask::Last)]
            .into_iter()
            .chain(own);
        let mut mask = 0;
        for request in all {
            assert_eq!(LoopRequest::from_bit(request.bit()), Some(request));
            assert_eq!(mask & 1 << request.bit(), 0, "{}", request.name());
            mask |= 1 << request.bit();
        }
        assert_eq!(mask, LoopRequest::<Ask>::MASK);
        for bit in (0..40).filter(|bit| *bit >= 32 || mask & 1 << bit == 0) {
            assert_eq!(LoopRequest::<Ask>::from_bit(bit), None, "{bit}");
        }
    }

    #[test]
    fn what_the_user_declared_holds_here_too() {
        let last = LoopRequest::User(Ask::Last);
        assert!(last.flags().contains(Flags::WAIT));
        assert_eq!(LoopRequest::<Ask>::NO_WAKEUP_MASK, 1 << 23 | 1 << KICK);
        let word = VcpuRequests::new();
        let _ = word.make(last);
        let _ = word.make(LoopRequest::Pause);
        let shown = format!("{:?}", word.pending_set());
        assert!(shown.contains("Last") && shown.contains("Pause"), "{shown}");
    }

    #[test]
    fn a_kick_leaves_nothing_to_handle() {
        let word = VcpuRequests::<LoopRequest<Ask>>::new();
        let _ = word.make(LoopRequest::Kick);
        assert!(!word.pending());
    }
}

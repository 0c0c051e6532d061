// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Exceptions and NMIs (SDM volume 3, sections 26.6.3 and 27.2).

use super::{Exit, L0Wants, Route};
use crate::interruption::EventType;
use crate::l0::PendingException;
use crate::vmcs::Vmcs;

/// #VE, which L1's #VE information area asks for and no exception bitmap of L0's.
const VIRTUALIZATION_EXCEPTION: u8 = 20;

pub(super) fn route(exit: &Exit, vmcs12: &Vmcs, wants: &L0Wants) -> Route {
    let Some(event) = exit.event else {
        // Without an event nothing happened that L1 could be told.
        return Route::L0;
    };
    // A physical NMI is the host's. One that is for L1 or L2 is in what waits.
    if event.kind == EventType::Nmi || event.vector == VIRTUALIZATION_EXCEPTION {
        return Route::L0;
    }
    let bit = 1_u32.checked_shl(event.vector.into()).unwrap_or(0);
    if wants.exceptions & bit != 0 {
        return Route::L0;
    }
    let exception = PendingException {
        event,
        ..PendingException::fault(event.vector, event.error_code)
    };
    match exception.exits(vmcs12) {
        true => Route::L1,
        false => Route::L0,
    }
}

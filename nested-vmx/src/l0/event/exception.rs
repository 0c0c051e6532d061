// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Exceptions of L2 that L0 raises or forwards, and what becomes of two of them (SDM volume 3,
//! section 7.15, "Interrupt 8—Double Fault Exception").

use crate::interruption::{Event, EventType};
use crate::vmcs::Vmcs;

/// How an exception stands to the instruction: this decides its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A fault, or a trap that comes before everything else: a task switch's T flag, INT1.
    Fault,
    /// A debug trap behind an instruction: single step, data breakpoint.
    DebugTrap,
}

/// An exception that waits to be delivered to L2, or to cause a VM exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingException {
    /// The exception: hardware, software, or privileged software.
    pub event: Event,
    /// The exit qualification if it causes a VM exit: for #PF the linear address, for #DB the bits
    /// for DR6 (SDM volume 3, section 29.2.1).
    pub qualification: u64,
    /// Fault or debug trap.
    pub class: Class,
}

impl PendingException {
    /// A fault with this vector.
    pub const fn fault(vector: u8, error_code: Option<u32>) -> Self {
        Self {
            event: Event::exception(vector, error_code),
            qualification: 0,
            class: Class::Fault,
        }
    }

    /// A page fault.
    pub const fn page_fault(error_code: u32, address: u64) -> Self {
        Self {
            event: Event::exception(14, Some(error_code)),
            qualification: address,
            class: Class::Fault,
        }
    }

    /// A debug trap with these bits for DR6.
    pub const fn debug_trap(dr6: u64) -> Self {
        Self {
            event: Event::exception(1, None),
            qualification: dr6,
            class: Class::DebugTrap,
        }
    }

    /// Whether it causes a VM exit to L1 (SDM volume 3, section 27.2, "Exceptions").
    pub fn exits(&self, vmcs12: &Vmcs) -> bool {
        const PAGE_FAULT: u8 = 14;
        // The bitmap has 32 bits, and exceptions the vectors 0 to 31.
        let bit = 1_u32.checked_shl(self.event.vector.into()).unwrap_or(0);
        let in_bitmap = vmcs12.exception_bitmap() & bit != 0;
        if self.event.vector != PAGE_FAULT {
            return in_bitmap;
        }
        let code = self.event.error_code.unwrap_or(0);
        let matches =
            code & vmcs12.page_fault_error_code_mask() == vmcs12.page_fault_error_code_match();
        // A filter that does not match turns the meaning of the bit around.
        in_bitmap == matches
    }
}

/// Classes of exceptions for double faults (SDM volume 3, table 7-4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

const fn severity(event: &Event) -> Severity {
    if !matches!(event.kind, EventType::HardwareException) {
        return Severity::Benign;
    }
    match event.vector {
        0 | 10..=13 | 21 => Severity::Contributory,
        14 | 20 => Severity::PageFault,
        8 => Severity::DoubleFault,
        _ => Severity::Benign,
    }
}

/// What becomes of an exception that is raised while another event is being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l0) enum Combined {
    /// The new one is delivered, and the event that it interrupted is over: a processor delivers
    /// them one after the other, and the second one's handler returns to where the first one's
    /// would have begun.
    New,
    /// A double fault.
    DoubleFault,
    /// The processor shuts down.
    TripleFault,
}

/// SDM volume 3, table 7-5.
pub(in crate::l0) const fn combine(first: &Event, second: &Event) -> Combined {
    use Severity::*;
    match (severity(first), severity(second)) {
        (DoubleFault, Contributory | PageFault) => Combined::TripleFault,
        (Contributory, Contributory) | (PageFault, Contributory | PageFault) => {
            Combined::DoubleFault
        }
        _ => Combined::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcs::{Field, KVM_REVISION};

    #[test]
    fn table_7_5() {
        let gp = Event::exception(13, Some(0));
        let pf = Event::exception(14, Some(0));
        let df = Event::exception(8, Some(0));
        let ud = Event::exception(6, None);
        let interrupt = Event::external_interrupt(14);
        for (first, second, expected) in [
            (gp, gp, Combined::DoubleFault),
            (gp, pf, Combined::New),
            (pf, gp, Combined::DoubleFault),
            (pf, pf, Combined::DoubleFault),
            (ud, gp, Combined::New),
            (gp, ud, Combined::New),
            (df, gp, Combined::TripleFault),
            (df, pf, Combined::TripleFault),
            (df, ud, Combined::New),
            (interrupt, pf, Combined::New),
            (interrupt, gp, Combined::New),
        ] {
            assert_eq!(combine(&first, &second), expected, "{first:?}, {second:?}");
        }
    }

    #[test]
    fn page_faults_are_filtered() {
        let mut vmcs12 = Vmcs::new(KVM_REVISION);
        let exits = |vmcs12: &Vmcs, code| PendingException::page_fault(code, 0).exits(vmcs12);
        // Mask and match 0: every error code matches.
        assert!(!exits(&vmcs12, 2));
        vmcs12.write(Field::ExceptionBitmap, 1 << 14);
        assert!(exits(&vmcs12, 2));
        vmcs12.write(Field::PageFaultErrorCodeMask, 1);
        vmcs12.write(Field::PageFaultErrorCodeMatch, 1);
        assert!(exits(&vmcs12, 3));
        assert!(!exits(&vmcs12, 2));
        vmcs12.write(Field::ExceptionBitmap, 0);
        assert!(!exits(&vmcs12, 3));
        assert!(exits(&vmcs12, 2));
    }
}

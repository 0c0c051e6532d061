// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A PC's interrupt controllers and its timer, wired: the VMM's own, for a machine for which KVM
//! has none.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nested_vmx::soft::Signals;
use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

use crate::devices::Pit;
use crate::devices::interrupts::{ApicMsrFault, IoApic, LocalApic, Now, Pics};
use crate::layout;

/// The I/O APIC's register page has so many bytes of registers.
const IO_APIC_SIZE: u64 = 0x1000;
const LOCAL_APIC_SIZE: u64 = 0x1000;
/// The PIT's line, on the PICs and on the I/O APIC.
const PIT_LINE: u8 = 0;
const PIT_PIN: u8 = 2;

/// The devices, shared by the vCPU and by those that raise interrupts.
pub struct Chipset {
    parts: Mutex<Parts>,
    /// Lines that had an edge since they were last looked at: between [`Chipset::pending`] and
    /// [`Chipset::acknowledge`] nothing may come.
    edges: AtomicU32,
    began: Instant,
    tsc_khz: u32,
}

struct Parts {
    local_apic: LocalApic,
    io_apic: IoApic,
    pics: Pics,
    pit: Pit,
}

impl Parts {
    /// Carries messages from one APIC to the other.
    fn settle(&mut self) {
        while let Some(vector) = self.local_apic.take_ended() {
            self.io_apic.end(vector);
        }
        while let Some(message) = self.io_apic.take_message() {
            self.local_apic.accept(&message);
        }
    }

    fn set_line(&mut self, line: u8, high: bool) {
        self.pics.set_line(line, high);
        let pin = if line == PIT_LINE { PIT_PIN } else { line };
        self.io_apic.set_line(pin, high);
    }

    fn advance(&mut self, now: Now) {
        self.local_apic.advance(now);
        if self.pit.take_edges(now.nanoseconds) != 0 {
            self.set_line(PIT_LINE, true);
            self.set_line(PIT_LINE, false);
        }
        self.settle();
    }

    fn deadline(&self, now: Now) -> Option<u64> {
        let timers = [
            self.local_apic.deadline(now),
            self.pit.deadline(now.nanoseconds),
        ];
        timers.into_iter().flatten().min()
    }

    /// The PICs' vector, where the processor takes it.
    fn pic_vector(&self) -> Option<u8> {
        match self.local_apic.takes_pic() {
            true => self.pics.pending(),
            false => None,
        }
    }
}

impl Chipset {
    /// A machine that is switched on now, whose TSC counts so fast and began with 0.
    pub fn new(tsc_khz: u32) -> Self {
        Self {
            parts: Mutex::new(Parts {
                local_apic: LocalApic::new(tsc_khz),
                io_apic: IoApic::new(),
                pics: Pics::new(),
                pit: Pit::new(),
            }),
            edges: AtomicU32::new(0),
            began: Instant::now(),
            tsc_khz,
        }
    }

    /// The time of the machine.
    pub fn now(&self) -> Now {
        let elapsed = self.began.elapsed().as_nanos();
        let tsc = elapsed * u128::from(self.tsc_khz) / 1_000_000;
        Now {
            nanoseconds: u64::try_from(elapsed).unwrap_or(u64::MAX),
            tsc: u64::try_from(tsc).unwrap_or(u64::MAX),
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An edge on a line, which counts from the next [`Self::poll`] on. From any thread.
    pub fn pulse(&self, line: u8) {
        let bit = 1_u32.checked_shl(line.into()).unwrap_or(0);
        self.edges.fetch_or(bit, Ordering::SeqCst);
    }

    /// A message-signalled interrupt with this vector, for the one processor.
    pub fn send(&self, message: &crate::devices::interrupts::InterruptMessage) -> bool {
        self.parts().local_apic.accept(message)
    }

    /// Lets time pass. Returns what arrived, and when there is next something to do, in nanoseconds.
    pub fn poll(&self, now: Now) -> (Signals, Option<u64>) {
        let edges = self.edges.swap(0, Ordering::SeqCst);
        let mut parts = self.parts();
        for line in (0..32).filter(|line| edges >> line & 1 != 0) {
            parts.set_line(line, true);
            parts.set_line(line, false);
        }
        parts.advance(now);
        let signals = parts.local_apic.take_signals();
        let next = parts.deadline(now);
        let signals = Signals {
            nmi: signals.nmi,
            init: signals.init,
            start_up: signals.start_up,
            smi: signals.smi,
        };
        (signals, next)
    }

    /// When there is next something to do, in nanoseconds.
    pub fn deadline(&self, now: Now) -> Option<u64> {
        self.parts().deadline(now)
    }

    /// The vector that the processor would get.
    pub fn pending(&self) -> Option<u8> {
        let parts = self.parts();
        parts.local_apic.pending().or_else(|| parts.pic_vector())
    }

    /// The processor takes a vector that [`Self::pending`] has told.
    pub fn acknowledge(&self, vector: u8) {
        let mut parts = self.parts();
        if parts.local_apic.pending() == Some(vector) {
            parts.local_apic.acknowledge(vector);
        } else if parts.pic_vector() == Some(vector) {
            parts.pics.acknowledge();
        }
    }

    /// CR8.
    pub fn cr8(&self) -> u64 {
        self.parts().local_apic.cr8()
    }

    /// Writes CR8.
    pub fn set_cr8(&self, value: u64) {
        self.parts().local_apic.set_cr8(value);
    }

    /// RDMSR of an MSR of the local APIC's.
    pub fn read_msr(&self, index: u32) -> Option<Result<u64, ApicMsrFault>> {
        let now = self.now();
        self.parts().local_apic.read_msr(index, now)
    }

    /// WRMSR of an MSR of the local APIC's.
    pub fn write_msr(&self, index: u32, value: u64) -> Option<Result<(), ApicMsrFault>> {
        let now = self.now();
        let mut parts = self.parts();
        let done = parts.local_apic.write_msr(index, value, now);
        parts.settle();
        done
    }

    /// The guest reads memory at `address`. `false`: nothing of this is there.
    pub fn read_memory(&self, address: u64, data: &mut [u8]) -> bool {
        let now = self.now();
        let mut parts = self.parts();
        if let Some(offset) = offset(address, layout::IO_APIC.into(), IO_APIC_SIZE) {
            parts.io_apic.read(offset, data);
            return true;
        }
        let page = parts.local_apic.page();
        let Some(offset) = page.and_then(|page| offset(address, page, LOCAL_APIC_SIZE)) else {
            return false;
        };
        parts.local_apic.read(offset, data, now);
        true
    }

    /// The guest writes memory at `address`. `false`: nothing of this is there.
    pub fn write_memory(&self, address: u64, data: &[u8]) -> bool {
        let now = self.now();
        let mut parts = self.parts();
        let page = parts.local_apic.page();
        if let Some(offset) = offset(address, layout::IO_APIC.into(), IO_APIC_SIZE) {
            parts.io_apic.write(offset, data);
        } else if let Some(offset) = page.and_then(|page| offset(address, page, LOCAL_APIC_SIZE)) {
            parts.local_apic.write(offset, data, now);
        } else {
            return false;
        }
        parts.settle();
        true
    }
}

fn offset(address: u64, page: u64, size: u64) -> Option<u64> {
    let offset = address.checked_sub(page)?;
    (offset < size).then_some(offset)
}

impl DevicePio for Chipset {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let now = self.now();
        let mut parts = self.parts();
        for (byte, offset) in data.iter_mut().zip(offset..) {
            let port = base.0.wrapping_add(offset);
            *byte = match port {
                0x40..=0x43 | 0x61 => parts.pit.read(port, now.nanoseconds),
                _ => parts.pics.read(port),
            };
        }
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let now = self.now();
        let mut parts = self.parts();
        for (byte, offset) in data.iter().zip(offset..) {
            let port = base.0.wrapping_add(offset);
            match port {
                0x40..=0x43 | 0x61 => parts.pit.write(port, *byte, now.nanoseconds),
                _ => parts.pics.write(port, *byte),
            }
        }
    }
}

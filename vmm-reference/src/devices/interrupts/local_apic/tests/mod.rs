// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

mod any_access;
mod commands;
mod destinations;
mod errors;
mod interrupts;
mod local_interrupts;
mod priorities;
mod registers;
mod timer;
mod x2apic;

use super::*;

/// A GHz, so that the TSC and the timer's clock are the same.
const TSC_KHZ: u32 = 1_000_000;

const X2APIC: u64 = 0xfee0_0d00;

/// Offsets of registers.
const TPR: u64 = 0x80;
const PPR: u64 = 0xa0;
const EOI: u64 = 0xb0;
const LDR: u64 = 0xd0;
const DFR: u64 = 0xe0;
const SVR: u64 = 0xf0;
const ESR: u64 = 0x280;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL: u64 = 0x380;
const CURRENT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

const MASKED: u32 = 1 << 16;

/// A moment at which the TSC has counted as many cycles as nanoseconds have passed.
fn at(nanoseconds: u64) -> Now {
    Now {
        nanoseconds,
        tsc: nanoseconds,
    }
}

fn read(apic: &mut LocalApic, offset: u64, now: Now) -> u32 {
    let mut data = [0; 4];
    apic.read(offset, &mut data, now);
    u32::from_le_bytes(data)
}

fn write(apic: &mut LocalApic, offset: u64, value: u32, now: Now) {
    apic.write(offset, &value.to_le_bytes(), now);
}

fn get(apic: &mut LocalApic, offset: u64) -> u32 {
    read(apic, offset, Now::default())
}

fn set(apic: &mut LocalApic, offset: u64, value: u32) {
    write(apic, offset, value, Now::default());
}

/// An APIC that software has enabled.
fn enabled() -> LocalApic {
    let mut apic = LocalApic::new(TSC_KHZ);
    set(&mut apic, SVR, 0x1ff);
    apic
}

fn x2apic() -> LocalApic {
    let mut apic = enabled();
    assert_eq!(apic.write_msr(0x1b, X2APIC, Now::default()), Some(Ok(())));
    apic
}

fn fixed(vector: u8) -> InterruptMessage {
    InterruptMessage {
        destination: 0,
        logical: false,
        mode: DeliveryMode::Fixed,
        vector,
        level_triggered: false,
    }
}

/// Takes what is pending, to its end.
fn take_all(apic: &mut LocalApic) -> Vec<u8> {
    std::iter::from_fn(|| {
        let vector = apic.pending()?;
        apic.acknowledge(vector);
        apic.end_of_interrupt();
        Some(vector)
    })
    .collect()
}

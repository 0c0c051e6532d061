// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The frame that the delivery of an event has pushed, put right.
//!
//! Where a single step is made of RFLAGS.TF, the frame has that TF in it: when the handler returns,
//! the guest would single-step, though nobody asked it to. (SDM 3, 7.12.1: the processor pushes
//! RFLAGS, then clears TF.)

use kvm_bindings::kvm_sregs;

use super::event::Event;
use super::handler_address::{FrameWidth, Handler};
use super::linear_memory::Linear;
use super::mechanism::NoHandler;
use super::situation::Situation;

/// TF in the second byte of RFLAGS.
const TF: u8 = 1;

/// Where the frame of an event will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameAt {
    /// Linear address of the instruction pointer in it; code segment and flags are above.
    ip: u64,
    width: FrameWidth,
    /// The code segment that is interrupted.
    code_segment: u16,
}

impl FrameAt {
    /// Of `event`, when it is delivered to `handler` in this situation: on the stack of the task, or
    /// on that of the TSS where the handler has an interrupt stack or a privilege of its own.
    pub(super) fn locate(
        situation: &Situation,
        memory: &Linear<'_>,
        event: Event,
        handler: &Handler,
    ) -> Result<Self, NoHandler> {
        let width = handler.width as u64;
        let error_code = u64::from(event.error_code && handler.error_codes);
        let sregs = &situation.sregs;
        let switched = handler.cpl < sregs.ss.dpl;
        let (top, words) = match handler.width {
            FrameWidth::Eight => {
                let top = match (handler.ist, switched) {
                    (0, false) => situation.linear_rsp(),
                    (0, true) => tss_quad(sregs, memory, TSS64_RSP0)?,
                    (ist, _) => tss_quad(sregs, memory, TSS64_IST1 + 8 * (u64::from(ist) - 1))?,
                };
                // Stack segment and pointer are pushed in any case.
                (top & !0xf, 5)
            }
            _ if switched => (tss_stack(sregs, memory, handler.cpl)?, 5),
            _ => (situation.linear_rsp(), 3),
        };
        let wraps_at_4_gib = handler.width != FrameWidth::Eight;
        let address = top.wrapping_sub(width * (words + error_code));
        let ip = address.wrapping_add(width * error_code);
        Ok(Self {
            ip: if wraps_at_4_gib {
                ip & u64::from(u32::MAX)
            } else {
                ip
            },
            width: handler.width,
            code_segment: sregs.cs.selector,
        })
    }

    /// Clears TF, if this still is that frame.
    pub(super) fn clear_tf(&self, memory: &Linear<'_>) -> Result<(), NoHandler> {
        let width = self.width as u64;
        let code_segment = u16::from_le_bytes(memory.read(self.ip.wrapping_add(width))?);
        let second_byte = self.ip.wrapping_add(2 * width + 1);
        let [flags] = memory.read(second_byte)?;
        if code_segment == self.code_segment && flags & TF != 0 {
            memory.write(second_byte, flags & !TF)?;
        }
        Ok(())
    }
}

/// Offsets in a 64-bit TSS (SDM 3, 9.7).
const TSS64_RSP0: u64 = 0x04;
const TSS64_IST1: u64 = 0x24;
/// Offset in a 32-bit TSS (SDM 3, 9.2.1): a stack pointer and its segment for each of rings 0 to 2.
const TSS32_ESP0: u64 = 4;

fn tss_quad(sregs: &kvm_sregs, memory: &Linear<'_>, offset: u64) -> Result<u64, NoHandler> {
    memory
        .read(sregs.tr.base.wrapping_add(offset))
        .map(u64::from_le_bytes)
}

/// The stack of ring `cpl` in a 32-bit TSS. Its segment is taken to be flat, as every system has it.
fn tss_stack(sregs: &kvm_sregs, memory: &Linear<'_>, cpl: u8) -> Result<u64, NoHandler> {
    let offset = TSS32_ESP0 + 8 * u64::from(cpl);
    let pointer = memory.read(sregs.tr.base.wrapping_add(offset))?;
    Ok(u32::from_le_bytes(pointer).into())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use kvm_bindings::kvm_regs;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;

    const TSS: u64 = 0x8000;

    fn ram() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
    }

    fn situation(rsp: u64, cpl: u8, long: bool) -> Situation {
        let mut sregs = kvm_sregs::default();
        sregs.cs.selector = 0x10 | u16::from(cpl);
        sregs.cs.l = long.into();
        sregs.efer = if long { 1 << 10 } else { 0 };
        sregs.ss.dpl = cpl;
        sregs.ss.db = 1;
        sregs.tr.base = TSS;
        let regs = kvm_regs {
            rsp,
            ..Default::default()
        };
        Situation::of(regs, sregs)
    }

    fn handler(width: FrameWidth, ist: u8) -> Handler {
        Handler {
            address: 0,
            width,
            error_codes: width != FrameWidth::Two,
            ist,
            cpl: 0,
        }
    }

    fn ip(situation: &Situation, handler: &Handler, error_code: bool) -> u64 {
        let ram = ram();
        for (offset, value) in [(4, 0x5008_u64), (0x24, 0x6000), (0x2c, 0x7000)] {
            ram.write_obj(value, GuestAddress(TSS + offset)).unwrap();
        }
        let identity = |address| Some(address);
        let event = Event {
            vector: 14,
            error_code,
        };
        let memory = Linear::new(&identity, &ram);
        FrameAt::locate(situation, &memory, event, handler)
            .unwrap()
            .ip
    }

    #[test]
    fn the_frame_is_where_the_processor_pushes_it() {
        let long = handler(FrameWidth::Eight, 0);
        // Aligned to 16 bytes, then SS, RSP, RFLAGS, CS, RIP, error code.
        assert_eq!(ip(&situation(0x4008, 0, true), &long, false), 0x4000 - 40);
        assert_eq!(ip(&situation(0x4008, 0, true), &long, true), 0x4000 - 40);
        // From ring 3: RSP0 of the TSS.
        assert_eq!(ip(&situation(0x4008, 3, true), &long, false), 0x5000 - 40);
        for (ist, top) in [(1, 0x6000), (2, 0x7000)] {
            let long = handler(FrameWidth::Eight, ist);
            assert_eq!(ip(&situation(0x4008, 0, true), &long, false), top - 40);
        }
        let protected = handler(FrameWidth::Four, 0);
        assert_eq!(
            ip(&situation(0x4008, 0, false), &protected, false),
            0x4008 - 12
        );
        assert_eq!(
            ip(&situation(0x4008, 0, false), &protected, true),
            0x4008 - 12
        );
        assert_eq!(
            ip(&situation(0x4008, 3, false), &protected, false),
            0x5008 - 20
        );
        let real = handler(FrameWidth::Two, 0);
        assert_eq!(ip(&situation(0x4008, 0, false), &real, true), 0x4008 - 6);
    }

    #[test]
    fn only_the_frame_of_that_code_segment_is_put_right() {
        let ram = ram();
        let identity = |address| Some(address);
        let memory = Linear::new(&identity, &ram);
        let frame = FrameAt {
            ip: 0x4000,
            width: FrameWidth::Eight,
            code_segment: 8,
        };
        let flags = GuestAddress(0x4010);
        for (code_segment, expected) in [(8_u64, 0x202_u64), (0x10, 0x302)] {
            ram.write_obj(code_segment, GuestAddress(0x4008)).unwrap();
            ram.write_obj(0x302_u64, flags).unwrap();
            frame.clear_tf(&memory).unwrap();
            assert_eq!(ram.read_obj::<u64>(flags).unwrap(), expected);
        }
        let outside = FrameAt {
            ip: 0x1_0000,
            ..frame
        };
        assert!(outside.clear_tf(&memory).is_err());
    }
}

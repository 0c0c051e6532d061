// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the handler of a vector is: through the IVT in real mode, the IDT in protected and in long
//! mode (SDM 3, 7.10 to 7.14 and 22.1.4).

use kvm_bindings::{kvm_segment, kvm_sregs};

use super::linear_memory::Linear;
use super::mechanism::NoHandler;

const CR0_PE: u64 = 1 << 0;
const EFER_LMA: u64 = 1 << 10;
/// The present bit of a gate or a descriptor, in its access byte.
const PRESENT: u8 = 0x80;

/// Gate types (SDM 3, table 3-2).
const INTERRUPT_GATE_16: u8 = 0x6;
const TRAP_GATE_16: u8 = 0x7;
const INTERRUPT_GATE: u8 = 0xe;
const TRAP_GATE: u8 = 0xf;

/// The linear address of the first instruction of the handler of `vector`.
pub(super) fn find(sregs: &kvm_sregs, memory: &Linear<'_>, vector: u8) -> Result<u64, NoHandler> {
    let long = sregs.efer & EFER_LMA != 0;
    if sregs.cr0 & CR0_PE == 0 {
        return real_mode(sregs, memory, vector);
    }
    if long {
        return long_mode(sregs, memory, vector);
    }
    protected_mode(sregs, memory, vector)
}

/// The address of the entry of `vector`, each `size` bytes long.
fn entry(sregs: &kvm_sregs, vector: u8, size: u64) -> Result<u64, NoHandler> {
    let offset = u64::from(vector) * size;
    if offset + size - 1 > u64::from(sregs.idt.limit) {
        return Err(NoHandler::BeyondLimit);
    }
    Ok(sregs.idt.base.wrapping_add(offset))
}

fn real_mode(sregs: &kvm_sregs, memory: &Linear<'_>, vector: u8) -> Result<u64, NoHandler> {
    let [ip_low, ip_high, cs_low, cs_high] = memory.read(entry(sregs, vector, 4)?)?;
    let ip = u16::from_le_bytes([ip_low, ip_high]);
    let cs = u16::from_le_bytes([cs_low, cs_high]);
    Ok((u64::from(cs) << 4) + u64::from(ip))
}

/// An 8-byte gate, or the first half of a 16-byte one.
struct Gate {
    offset: u32,
    selector: u16,
    kind: u8,
}

impl Gate {
    fn new(bytes: [u8; 8]) -> Result<Self, NoHandler> {
        let [o0, o1, s0, s1, _ist, access, o2, o3] = bytes;
        if access & PRESENT == 0 {
            return Err(NoHandler::NotPresent);
        }
        Ok(Self {
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
            selector: u16::from_le_bytes([s0, s1]),
            kind: access & 0x1f,
        })
    }
}

fn long_mode(sregs: &kvm_sregs, memory: &Linear<'_>, vector: u8) -> Result<u64, NoHandler> {
    let at = entry(sregs, vector, 16)?;
    let gate = Gate::new(memory.read(at)?)?;
    let high = u32::from_le_bytes(memory.read(at.wrapping_add(8))?);
    if !matches!(gate.kind, INTERRUPT_GATE | TRAP_GATE) {
        return Err(NoHandler::GateType(gate.kind));
    }
    // Code segments have base 0 in 64-bit mode.
    Ok(u64::from(high) << 32 | u64::from(gate.offset))
}

fn protected_mode(sregs: &kvm_sregs, memory: &Linear<'_>, vector: u8) -> Result<u64, NoHandler> {
    let gate = Gate::new(memory.read(entry(sregs, vector, 8)?)?)?;
    let offset = match gate.kind {
        INTERRUPT_GATE | TRAP_GATE => gate.offset,
        INTERRUPT_GATE_16 | TRAP_GATE_16 => gate.offset & 0xffff,
        other => return Err(NoHandler::GateType(other)),
    };
    let base = segment_base(sregs, memory, gate.selector)?;
    Ok(base.wrapping_add(offset).into())
}

/// The base of the segment that `selector` names in the GDT or the LDT.
fn segment_base(sregs: &kvm_sregs, memory: &Linear<'_>, selector: u16) -> Result<u32, NoHandler> {
    let local = selector & 4 != 0;
    let offset = u64::from(selector & !7);
    let (base, limit) = match local {
        true => {
            let kvm_segment { base, limit, .. } = sregs.ldt;
            (base, u64::from(limit))
        }
        false => (sregs.gdt.base, u64::from(sregs.gdt.limit)),
    };
    if offset + 7 > limit || (!local && offset == 0) {
        return Err(NoHandler::Segment(selector));
    }
    let [_, _, b0, b1, b2, access, _, b3] = memory.read(base.wrapping_add(offset))?;
    if access & PRESENT == 0 {
        return Err(NoHandler::Segment(selector));
    }
    Ok(u32::from_le_bytes([b0, b1, b2, b3]))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;

    const TABLE: u64 = 0x1000;
    const GDT: u64 = 0x3000;
    const LDT: u64 = 0x4000;

    fn ram() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
    }

    fn sregs(cr0: u64, efer: u64) -> kvm_sregs {
        let mut sregs = kvm_sregs {
            cr0,
            efer,
            ..Default::default()
        };
        (sregs.idt.base, sregs.idt.limit) = (TABLE, 0xfff);
        (sregs.gdt.base, sregs.gdt.limit) = (GDT, 0x3f);
        (sregs.ldt.base, sregs.ldt.limit) = (LDT, 0xf);
        sregs
    }

    fn find_in(ram: &GuestMemoryMmap, sregs: &kvm_sregs, vector: u8) -> Result<u64, NoHandler> {
        let identity = |address| Some(address);
        find(sregs, &Linear::new(&identity, ram), vector)
    }

    fn put<const N: usize>(ram: &GuestMemoryMmap, address: u64, bytes: [u8; N]) {
        ram.write_slice(&bytes, GuestAddress(address)).unwrap();
    }

    /// A descriptor's bytes: base and access byte.
    fn descriptor(base: u32, access: u8) -> [u8; 8] {
        let [b0, b1, b2, b3] = base.to_le_bytes();
        [0xff, 0xff, b0, b1, b2, access, 0xcf, b3]
    }

    #[test]
    fn real_mode_has_four_bytes_a_vector() {
        let ram = ram();
        put(&ram, TABLE + 4 * 0x21, [0x34, 0x12, 0x00, 0xf0]);
        assert_eq!(find_in(&ram, &sregs(0, 0), 0x21), Ok(0xf_1234));
        let mut short = sregs(0, 0);
        short.idt.limit = 4 * 0x21 + 2;
        assert_eq!(find_in(&ram, &short, 0x21), Err(NoHandler::BeyondLimit));
    }

    #[test]
    fn protected_mode_adds_the_segments_base() {
        let ram = ram();
        let sregs = sregs(CR0_PE, 0);
        put(&ram, GDT + 8, descriptor(0x10_0000, 0x9b));
        // 32-bit interrupt gate, 16-bit trap gate, task gate, one that is not present.
        put(&ram, TABLE + 8, [0x78, 0x56, 8, 0, 0, 0x8e, 0x34, 0x12]);
        put(&ram, TABLE + 16, [0x78, 0x56, 8, 0, 0, 0x87, 0x34, 0x12]);
        put(&ram, TABLE + 24, [0, 0, 8, 0, 0, 0x85, 0, 0]);
        put(&ram, TABLE + 32, [0, 0, 8, 0, 0, 0x0e, 0, 0]);
        assert_eq!(find_in(&ram, &sregs, 1), Ok(0x1244_5678));
        assert_eq!(find_in(&ram, &sregs, 2), Ok(0x10_5678));
        assert_eq!(find_in(&ram, &sregs, 3), Err(NoHandler::GateType(5)));
        assert_eq!(find_in(&ram, &sregs, 4), Err(NoHandler::NotPresent));
        // Nothing but zeroes.
        assert_eq!(find_in(&ram, &sregs, 5), Err(NoHandler::NotPresent));
    }

    #[test]
    fn a_segment_must_be_in_its_table() {
        let ram = ram();
        let sregs = sregs(CR0_PE, 0);
        put(&ram, LDT + 8, descriptor(0x2000, 0xfb));
        for (vector, selector, expected) in [
            (1, 0x0_u8, Err(NoHandler::Segment(0))),
            (2, 0x40, Err(NoHandler::Segment(0x40))),
            // Not present.
            (3, 0x10, Err(NoHandler::Segment(0x10))),
            // In the LDT, ring 3.
            (4, 0xf, Ok(0x2000)),
            (5, 0x17, Err(NoHandler::Segment(0x17))),
        ] {
            let at = TABLE + 8 * u64::from(vector);
            put(&ram, at, [0, 0, selector, 0, 0, 0x8e, 0, 0]);
            assert_eq!(find_in(&ram, &sregs, vector), expected);
        }
    }

    #[test]
    fn long_mode_has_sixteen_bytes_a_vector() {
        let ram = ram();
        let sregs = sregs(CR0_PE, EFER_LMA);
        put(&ram, TABLE + 32, [0x78, 0x56, 8, 0, 3, 0x8e, 0x34, 0x12]);
        put(&ram, TABLE + 40, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(find_in(&ram, &sregs, 2), Ok(0xffff_ffff_1234_5678));
        // 16-bit gates are none here.
        put(&ram, TABLE + 48, [0, 0, 8, 0, 0, 0x86, 0, 0]);
        assert_eq!(find_in(&ram, &sregs, 3), Err(NoHandler::GateType(6)));
    }

    #[test]
    fn a_table_outside_of_memory_has_no_handlers() {
        let ram = ram();
        for (cr0, efer) in [(0, 0), (CR0_PE, 0), (CR0_PE, EFER_LMA)] {
            let mut sregs = sregs(cr0, efer);
            sregs.idt.base = 0x10000;
            sregs.idt.limit = u16::MAX;
            for vector in [0, 1, 255] {
                assert!(find_in(&ram, &sregs, vector).is_err());
            }
        }
    }
}

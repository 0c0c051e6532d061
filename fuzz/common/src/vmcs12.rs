// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any bytes as a vmcs12: read, written, checked against any capabilities, and launched.

use nested_vmx::capability::{Capabilities, Processor, msr};
use nested_vmx::check::{EntryRequest, L1State, Rule};
use nested_vmx::l0::{Instruction, Outcome};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::{Machine, ModelMemory, vmcs12_of};
use nested_vmx::vmcs::{Field, REGION_SIZE, Vmcs};

/// Rounds of L0's loop after a VM entry.
const ROUNDS: usize = 8;

/// Takes numbers from bytes; 0 when there are none left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let mut value = [0; N];
        let length = N.min(self.0.len());
        value[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        value
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.next())
    }
}

/// The first byte says how the rest is used: as capabilities and patches of a VMCS that is good, or
/// as the region itself.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let [how] = bytes.next();
    let mut capabilities = Capabilities::software(Processor::new(40));
    if how & 1 != 0 {
        for &index in msr::ALL {
            if how & 2 != 0 || bytes.next::<1>()[0] & 1 != 0 {
                capabilities.set_msr(index, bytes.number());
            }
        }
    }
    let l1 = match how & 4 {
        0 => L1State::new(0x8000_0031, 0x2020, 0x500),
        _ => L1State::new(bytes.number(), bytes.number(), bytes.number()),
    };
    let vmcs12 = match how & 8 {
        0 => patched(&capabilities, &mut bytes),
        _ => Vmcs::from_bytes(bytes.next::<REGION_SIZE>()),
    };
    round_trip(&vmcs12);
    check(&capabilities, &vmcs12, l1);
    launch(&capabilities, &vmcs12);
}

/// A good VMCS with some fields otherwise.
fn patched(capabilities: &Capabilities, bytes: &mut Bytes<'_>) -> Vmcs {
    let mut vmcs12 = vmcs12_of(capabilities);
    while !bytes.0.is_empty() {
        let [at] = bytes.next();
        let field = Field::ALL[usize::from(at) % Field::ALL.len()];
        vmcs12.write(field, bytes.number());
    }
    vmcs12
}

fn round_trip(vmcs12: &Vmcs) {
    let mut copy = vmcs12.clone();
    for &field in Field::ALL {
        let value = copy.read(field);
        copy.write(field, !value);
        assert_eq!(copy.read(field), !value & field.width().mask(), "{field}");
        copy.write(field, value);
    }
    assert!(copy == *vmcs12, "fields that are written back change bytes");
    let _ = (vmcs12.revision(), vmcs12.abort(), vmcs12.launch_state());
}

fn check(capabilities: &Capabilities, vmcs12: &Vmcs, l1: L1State) {
    let memory = ModelMemory::new(0x1_0000);
    let request = EntryRequest::new(capabilities, vmcs12, l1).with_memory(&memory);
    let failures: Vec<_> = request.check_all().collect();
    assert_eq!(request.check().err(), failures.first().copied());
    assert!(failures.is_sorted_by_key(|failure| failure.rule));
    for failure in &failures {
        assert_eq!(Rule::from_id(failure.rule.id()), Some(failure.rule));
        assert!(!failure.to_string().is_empty());
        let _ = failure.outcome();
        let violation = failure.violation;
        let _ = violation.allowed.nearest(violation.value);
    }
}

/// L1 launches it, whatever it is.
fn launch(capabilities: &Capabilities, vmcs12: &Vmcs) {
    let mut vmcs12 = vmcs12.clone();
    vmcs12.set_header(capabilities.basic.revision(), false);
    let Ok(mut machine) = Machine::with_vmcs(capabilities, &vmcs12) else {
        return;
    };
    // Not all zeros, and the same each time.
    let pattern: Vec<u8> = (0..0x1000_u32).map(|at| ((at * 7) >> 3) as u8).collect();
    let _ = machine.memory.write(0x2_0000, &pattern);
    machine.interrupts.raise(0x40);
    let entered = machine.execute(Instruction::Vmlaunch) == Outcome::Entered;
    assert_eq!(entered, machine.vmx.operation().is_run_pending());
    for _ in 0..ROUNDS {
        machine.step();
        if !machine.vmx.operation().is_non_root() {
            break;
        }
    }
}

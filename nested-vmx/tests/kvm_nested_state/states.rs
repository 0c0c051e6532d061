// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Nested states: valid ones, ones that break a rule, ones with another header, any bytes.

use arbitrary::Unstructured;
use nested_vmx::capability::Capabilities;
use nested_vmx::check::Rule;
use nested_vmx::generate::Scenario;
use nested_vmx::kvm::{HeaderFlags, NestedState, STATE_SIZE, SmmFlags, StateFlags};
use nested_vmx::memory::L1Memory;
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};

use crate::memory::Memory;
use crate::random::Random;

/// Where the VMXON region and the current VMCS are, in L1's memory.
const VMXON: u64 = 0x1000;
const CURRENT: u64 = 0x2000;

/// Where the VMCS is that vmcs12 links to.
const LINKED: u64 = 0x5000;

/// How a state was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Valid,
    Breaks(Rule),
    Header,
    Fields,
    Bytes,
}

/// A state for a vCPU.
pub struct Given {
    pub kind: Kind,
    pub state: NestedState,
    pub in_smm: bool,
}

/// The state with this number. `None` where the capabilities do not let the rule be broken.
pub fn make(
    at: u64,
    capabilities: &Capabilities,
    random: &mut Random,
    memory: &Memory,
) -> Option<Given> {
    let rule = Rule::ALL[random.below(Rule::ALL.len())];
    let kind = match at % 8 {
        0 => Kind::Valid,
        1..=4 => Kind::Breaks(rule),
        5 => Kind::Header,
        6 => Kind::Fields,
        _ => Kind::Bytes,
    };
    let mut choices = [0; 1200];
    let length = random.below(choices.len());
    random.fill(&mut choices[..length]);
    let mut u = Unstructured::new(&choices[..length]);
    let scenario = match kind {
        Kind::Breaks(rule) => Scenario::before_breaking(rule, capabilities, &mut u)
            .and_then(|valid| valid.break_rule(rule, &mut u)),
        _ => Scenario::arbitrary(capabilities, &mut u),
    }?;
    let mut state = of(&scenario, memory).in_guest_mode(random.below(2) == 0);
    let mut in_smm = false;
    match kind {
        Kind::Valid | Kind::Breaks(_) => {}
        Kind::Header => in_smm = mutate(&mut state, random),
        Kind::Fields => overwrite(&mut state, random),
        Kind::Bytes => state = bytes(random),
    }
    Some(Given {
        kind,
        state,
        in_smm,
    })
}

/// A state with the scenario's vmcs12, and what it links to in L1's memory.
fn of(scenario: &Scenario, memory: &Memory) -> NestedState {
    let mut vmcs12 = scenario.vmcs12.clone();
    let link = vmcs12.vmcs_link_pointer();
    let mut state = NestedState::root(VMXON);
    let mut shadow = None;
    if link != NestedState::NO_ADDRESS && link & 0xfff == 0 {
        let mut header = [0; 4];
        if scenario.memory.read(link, &mut header).is_ok() {
            memory.write(LINKED, &header).expect("memory");
            vmcs12.write(Field::VmcsLinkPointer, LINKED);
        }
        shadow = Some(Vmcs::new(KVM_REVISION));
    }
    state = state.with_current(CURRENT, vmcs12);
    state.set_shadow(shadow);
    state
}

/// Changes parts of the header. Returns whether the vCPU is to be in SMM.
fn mutate(state: &mut NestedState, random: &mut Random) -> bool {
    let in_smm = random.below(8) == 0;
    if in_smm {
        state.set_flags(StateFlags::empty());
        state.set_smm_flags(SmmFlags::from_bits_retain(random.next() as u16 & 3));
    }
    if random.below(4) == 0 {
        let deadline = random.next();
        state.set_preemption_timer_deadline(Some(deadline));
    }
    for _ in 0..random.below(3) {
        let edge = random.edge();
        match random.below(9) {
            0 => state.set_flags(StateFlags::from_bits_retain(edge as u16)),
            1 => state.set_format(edge as u16 & 1),
            2 => state.set_size([0, 127, 128, 129, 1125, 1126, 4224, 5221, 5222][random.below(9)]),
            3 => state.set_vmxon(Some(edge)),
            4 => state.set_current(Some(edge)),
            5 => state.set_smm_flags(SmmFlags::from_bits_retain(edge as u16)),
            6 => state.set_header_flags(HeaderFlags::from_bits_retain(edge as u32)),
            7 => state.set_flags(state.flags() ^ StateFlags::GUEST_MODE),
            _ => state.set_vmxon(None),
        }
    }
    in_smm
}

/// Overwrites some fields of vmcs12.
fn overwrite(state: &mut NestedState, random: &mut Random) {
    let Some(vmcs12) = state.vmcs12_mut() else {
        return;
    };
    for _ in 0..=random.below(3) {
        let field = Field::ALL[random.below(Field::ALL.len())];
        let value = match random.below(2) {
            0 => random.edge(),
            _ => vmcs12.read(field) ^ 1 << (random.next() & 63),
        };
        vmcs12.write(field, value);
    }
}

/// Any bytes behind a header that may be one.
fn bytes(random: &mut Random) -> NestedState {
    let mut bytes = [0; STATE_SIZE];
    random.fill(&mut bytes);
    let mut header = NestedState::root(VMXON).to_bytes();
    header[4..8].copy_from_slice(&(STATE_SIZE as u32).to_le_bytes());
    match random.below(4) {
        0 => bytes[4..8].copy_from_slice(&header[4..8]),
        _ => {
            bytes[..128].copy_from_slice(&header);
            bytes[0] = random.next() as u8 & 11;
            bytes[16..24].copy_from_slice(&CURRENT.to_le_bytes());
            bytes[128..132].copy_from_slice(&KVM_REVISION.to_le_bytes());
        }
    }
    NestedState::from_bytes(&bytes).expect("its size is right")
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Everything that is to be said, before it is written as text or as JSON.

use nested_vmx::check::{EntryInstruction, EntryRequest, Failure};
use nested_vmx::kvm::{Judgement, NestedState};
use nested_vmx::vmcs::{Field, Kind, LaunchState, Vmcs};

use super::capabilities_file::Given;
use super::cli::Options;
use super::decode;
use super::error::{Error, Problem};
use super::input::{self, Input};
use super::nested_state::judged;

/// A field with its value.
#[derive(Clone, Debug)]
pub struct Line {
    pub field: Field,
    pub value: u64,
    pub meaning: Option<String>,
}

/// The groups in which fields are shown: the SDM's areas of a VMCS.
pub const GROUPS: [(&str, Kind); 4] = [
    ("controls", Kind::Control),
    ("guest state", Kind::Guest),
    ("host state", Kind::Host),
    ("exit information", Kind::ExitInformation),
];

/// A vmcs12 explained.
#[derive(Clone, Debug)]
pub struct Explained {
    pub revision: u32,
    pub is_shadow: bool,
    pub launch_state: LaunchState,
    pub abort: u32,
    /// By group, in the order of [`GROUPS`].
    pub groups: Vec<(&'static str, Vec<Line>)>,
    pub failures: Vec<Failure>,
    pub instruction: EntryInstruction,
}

/// What there is to say about the input.
#[derive(Clone, Debug)]
pub struct Report {
    pub nested_state: Option<NestedState>,
    /// What KVM would say to it.
    pub judgement: Judgement,
    /// `None`: a nested state without a current VMCS.
    pub vmcs12: Option<Explained>,
}

impl Report {
    /// Reads what the options name, and says what there is to say.
    pub fn of(options: &Options) -> Result<Self, Error> {
        let content = |path: &std::path::Path, problem| Error::Content {
            path: path.to_owned(),
            problem,
        };
        let bytes = input::read(&options.input)?;
        let input = Input::parse(&bytes, options.kind)
            .map_err(|problem| content(&options.input, problem))?;
        let mut given = match &options.capabilities {
            None => Given::software(),
            Some(path) => {
                let bytes = input::read(path)?;
                std::str::from_utf8(&bytes)
                    .map_err(|_| Problem::NotText)
                    .and_then(Given::parse)
                    .map_err(|problem| content(path, problem))?
            }
        };
        let l1 = &mut given.l1;
        l1.cr0 = options.cr0.unwrap_or(l1.cr0);
        l1.cr4 = options.cr4.unwrap_or(l1.cr4);
        l1.efer = options.efer.unwrap_or(l1.efer);
        Ok(Self::explain(input, &given))
    }

    /// Says what there is to say about an input.
    pub fn explain(input: Input, given: &Given) -> Self {
        match input {
            Input::Vmcs12(vmcs12) => Self {
                nested_state: None,
                judgement: Judgement::default(),
                vmcs12: Some(Explained::of(&vmcs12, given, None)),
            },
            Input::NestedState(state) => Self {
                judgement: judged(&state, &given.capabilities),
                vmcs12: state
                    .vmcs12()
                    .filter(|_| state.current().is_some())
                    .map(|vmcs12| Explained::of(vmcs12, given, Some(&state))),
                nested_state: Some(*state),
            },
        }
    }

    /// Whether KVM takes the nested state, and a VM entry succeeds, where there is one to be made.
    pub fn is_accepted(&self) -> bool {
        let is_taken = self.judgement.is_accepted();
        let is_entered = self
            .vmcs12
            .as_ref()
            .is_none_or(|explained| explained.failures.is_empty());
        is_taken && is_entered
    }
}

impl Explained {
    fn of(vmcs12: &Vmcs, given: &Given, state: Option<&NestedState>) -> Self {
        let line = |&field: &Field| {
            let value = vmcs12.read(field);
            // What is not in KVM's layout is shown where there is something.
            let is_shown = field.is_in_kvm_layout() || value != 0;
            is_shown.then(|| Line {
                field,
                value,
                meaning: decode::meaning(field, value),
            })
        };
        let groups = GROUPS.map(|(name, kind)| {
            let fields = Field::ALL.iter().filter(|field| field.kind() == kind);
            (name, fields.filter_map(line).collect())
        });
        let request = EntryRequest::new(&given.capabilities, vmcs12, given.l1);
        let request = EntryRequest {
            // Where the VMCS is, the nested state says.
            current: match state {
                Some(state) => state.current(),
                None => request.current,
            },
            ..request
        };
        Self {
            revision: vmcs12.revision(),
            is_shadow: vmcs12.is_shadow(),
            launch_state: vmcs12.launch_state(),
            abort: vmcs12.abort(),
            groups: groups.into(),
            failures: request.check_all().collect(),
            instruction: request.instruction,
        }
    }
}

/// What to change so that the rule is kept.
pub fn remedy(failure: &Failure) -> String {
    let violation = &failure.violation;
    let near = violation
        .allowed
        .nearest(violation.value)
        .filter(|&near| near != violation.value)
        .map_or_else(String::new, |near| format!(", for example {near:#x}"));
    format!(
        "{} is {:#x}; allowed: {}{near}",
        violation.subject, violation.value, violation.allowed
    )
}

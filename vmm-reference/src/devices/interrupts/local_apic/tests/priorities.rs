// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The local APIC's priorities, compared with sets.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Accept(u8, bool),
    Acknowledge,
    End,
    TaskPriority(u8),
    Cr8(u8),
}

#[derive(Default)]
struct Model {
    requested: BTreeSet<u8>,
    in_service: BTreeSet<u8>,
    level: BTreeSet<u8>,
    ended: BTreeSet<u8>,
    task: u8,
}

impl Model {
    fn pending(&self) -> Option<u8> {
        let served = self.in_service.last().map_or(0, |vector| vector / 16);
        let vector = *self.requested.last()?;
        (vector / 16 > served && vector / 16 > self.task / 16).then_some(vector)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<(u8, bool)>().prop_map(|(vector, level)| Step::Accept(vector, level)),
        3 => Just(Step::Acknowledge),
        2 => Just(Step::End),
        1 => any::<u8>().prop_map(Step::TaskPriority),
        1 => (0..16u8).prop_map(Step::Cr8),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn they_are_those_of_sets(steps in steps()) {
        let (mut apic, mut model) = (enabled(), Model::default());
        for step in steps {
            match step {
                Step::Accept(vector, level_triggered) => {
                    let message = InterruptMessage { level_triggered, ..fixed(vector) };
                    prop_assert!(apic.accept(&message));
                    if vector >= 16 {
                        model.requested.insert(vector);
                        if level_triggered {
                            model.level.insert(vector);
                        } else {
                            model.level.remove(&vector);
                        }
                    }
                }
                Step::Acknowledge => {
                    if let Some(vector) = apic.pending() {
                        apic.acknowledge(vector);
                        model.requested.remove(&vector);
                        model.in_service.insert(vector);
                    }
                }
                Step::End => {
                    set(&mut apic, EOI, 0);
                    if let Some(vector) = model.in_service.pop_last()
                        && model.level.contains(&vector)
                    {
                        model.ended.insert(vector);
                    }
                }
                Step::TaskPriority(priority) => {
                    set(&mut apic, TPR, priority.into());
                    model.task = priority;
                }
                Step::Cr8(class) => {
                    apic.set_cr8(class.into());
                    model.task = class * 16;
                }
            }
            prop_assert_eq!(apic.pending(), model.pending());
            prop_assert_eq!(apic.cr8(), u64::from(model.task / 16));
        }
        while let Some(vector) = apic.take_ended() {
            prop_assert_eq!(model.ended.pop_last(), Some(vector));
        }
        prop_assert!(model.ended.is_empty());
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How each rule is broken, and nothing else with it.

mod basic;
mod controls;
mod guest;
mod host;
mod injection;
mod msr_load;
mod non_register;
mod segments;
mod spoil;

use super::plan::Plan;
use super::spoiler::Spoiler;
use crate::check::Rule;

/// How to break a rule.
pub(super) struct Recipe {
    pub(super) rule: Rule,
    /// Asks for a valid state in which it can be broken.
    pub(super) plan: fn(&mut Plan),
    /// Breaks it. `None` if this state or these capabilities do not let it be broken.
    pub(super) spoil: fn(&mut Spoiler<'_, '_, '_>) -> Option<()>,
}

/// All recipes.
pub(super) const RECIPES: &[&[Recipe]] = &[
    basic::RECIPES,
    controls::RECIPES,
    injection::RECIPES,
    host::RECIPES,
    guest::RECIPES,
    segments::RECIPES,
    non_register::RECIPES,
    msr_load::RECIPES,
];

/// How to break this rule.
pub(super) fn of(rule: Rule) -> Option<&'static Recipe> {
    RECIPES
        .iter()
        .flat_map(|group| group.iter())
        .find(|recipe| recipe.rule == rule)
}

/// A recipe.
macro_rules! recipe {
    ($rule:ident, $plan:expr, $spoil:expr) => {
        Recipe {
            rule: Rule::$rule,
            plan: $plan,
            spoil: $spoil,
        }
    };
}
use recipe;

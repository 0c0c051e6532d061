// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! All rules that a VM entry breaks.

use core::fmt;

use super::failure::Failure;
use super::request::EntryRequest;
use super::rule::Rule;

/// Words of the set: enough for all rules.
const WORDS: usize = Rule::ALL.len().div_ceil(64);

/// A set of rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleSet {
    words: [u64; WORDS],
}

impl RuleSet {
    /// No rule.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    /// Adds a rule.
    pub const fn insert(&mut self, rule: Rule) {
        let number = rule as usize;
        self.words[number / 64] |= 1 << (number % 64);
    }

    /// Whether the rule is in it.
    pub const fn contains(&self, rule: Rule) -> bool {
        let number = rule as usize;
        self.words[number / 64] >> (number % 64) & 1 != 0
    }

    /// Whether no rule is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// How many rules are in it.
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The rules in it, in the order in which they are checked.
    pub fn iter(&self) -> impl Iterator<Item = Rule> + use<> {
        let set = *self;
        Rule::ALL
            .iter()
            .copied()
            .filter(move |&rule| set.contains(rule))
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|rule| rule.id()))
            .finish()
    }
}

/// The rules that an entry breaks, in the order in which they are checked. What breaks each of them
/// is found out as they are iterated over.
#[derive(Clone, Debug)]
pub struct Failures<'a> {
    request: EntryRequest<'a>,
    rules: RuleSet,
    /// Where the iteration is in `Rule::ALL`.
    at: usize,
}

impl<'a> Failures<'a> {
    pub(super) const fn new(request: EntryRequest<'a>, rules: RuleSet) -> Self {
        Self {
            request,
            rules,
            at: 0,
        }
    }

    /// The rules.
    pub const fn rules(&self) -> RuleSet {
        self.rules
    }

    /// Whether no rule is broken.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Iterator for Failures<'_> {
    type Item = Failure;

    fn next(&mut self) -> Option<Failure> {
        while let Some(&rule) = Rule::ALL.get(self.at) {
            self.at += 1;
            // Memory that other vCPUs write may be right by now.
            if self.rules.contains(rule)
                && let Some(failure) = self.request.check_rule(rule)
            {
                return Some(failure);
            }
        }
        None
    }
}

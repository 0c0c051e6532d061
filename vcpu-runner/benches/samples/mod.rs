// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Many measurements of the same thing, in batches.

use std::time::Duration;

use crate::report::Figure;

/// The times of one contender, batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    batches: Vec<Vec<f64>>,
}

impl Samples {
    /// What is added from now on is another batch.
    pub fn begin_batch(&mut self) {
        self.batches.push(Vec::new());
    }

    /// Adds one time to the present batch.
    pub fn add(&mut self, time: Duration) {
        if self.batches.is_empty() {
            self.begin_batch();
        }
        if let Some(batch) = self.batches.last_mut() {
            batch.push(time.as_nanos() as f64);
        }
    }

    /// The time that half of all samples are below.
    pub fn median(&self) -> Figure {
        Figure::Nanoseconds(self.quantile(0.5))
    }

    /// The time that 99 of 100 samples are below.
    pub fn percentile_99(&self) -> Figure {
        Figure::Nanoseconds(self.quantile(0.99))
    }

    /// How many times as long as `other` took, whose batches were measured next to these: the median
    /// of the ratios of the batches' medians. What disturbs the machine for longer than a batch
    /// disturbs both.
    pub fn ratio_to(&self, other: &Self) -> Figure {
        let pairs = self.batches.iter().zip(&other.batches);
        let ratios = pairs.map(|(own, other)| quantile(own, 0.5) / quantile(other, 0.5));
        Figure::Ratio(quantile(&ratios.collect::<Vec<_>>(), 0.5))
    }

    fn quantile(&self, share: f64) -> f64 {
        quantile(&self.batches.concat(), share)
    }
}

/// The value that `share` of `values` are below.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * share) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

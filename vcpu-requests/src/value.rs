// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A number that rides along with a request.

use crate::sync::{AtomicU64, Ordering};

/// What becomes of a value that was put and not taken when another one is put.
///
/// ```
/// use vcpu_requests::value::{Policy, Value};
///
/// for (policy, taken) in [(Policy::Replace, 3), (Policy::Or, 7), (Policy::Max, 6)] {
///     let value = Value::new(policy);
///     value.put(6);
///     value.put(3);
///     assert_eq!(value.take(), taken);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The last one counts. Taking it leaves it there.
    Replace,
    /// Their bits are collected. Taking them leaves 0.
    Or,
    /// The greatest counts. Taking it leaves 0.
    Max,
}

/// A number that rides along with a request: put it before the request is made, take it after the
/// request was found.
///
/// ```
/// use vcpu_requests::value::{Policy, Value};
/// use vcpu_requests::{VcpuRequests, requests};
///
/// requests! {
///     enum Ask { Inject = 0 }
/// }
///
/// let vcpu = VcpuRequests::new();
/// let vectors = Value::new(Policy::Or);
///
/// // Two makers.
/// for vector in [3, 9] {
///     vectors.put(1 << vector);
///     let _ = vcpu.make(Ask::Inject);
/// }
///
/// // The vCPU's thread.
/// assert!(vcpu.check(Ask::Inject));
/// assert_eq!(vectors.take(), 1 << 3 | 1 << 9);
/// ```
///
/// # What is guaranteed
/// Who finds the request by [`check`](crate::VcpuRequests::check) or
/// [`take`](crate::VcpuRequests::take), and then takes the value, gets what its makers had put before
/// they made the request, combined by the policy; no value is lost. What they wrote elsewhere before
/// they put it is visible too.
///
/// A value may be taken already with an earlier request: between `put` and `make` the vCPU may
/// handle that one. The later request then finds nothing new: 0, or for [`Policy::Replace`] the same
/// value once more.
#[derive(Debug)]
pub struct Value {
    value: AtomicU64,
    policy: Policy,
}

impl Value {
    /// 0, with this policy.
    #[cfg(not(loom))]
    pub const fn new(policy: Policy) -> Self {
        Self {
            value: AtomicU64::new(0),
            policy,
        }
    }

    /// 0, with this policy.
    #[cfg(loom)]
    pub fn new(policy: Policy) -> Self {
        Self {
            value: AtomicU64::new(0),
            policy,
        }
    }

    /// Puts `value`. Make the request afterwards.
    pub fn put(&self, value: u64) {
        // Release, though `make` releases too: the value may be taken before `make`.
        match self.policy {
            Policy::Replace => self.value.store(value, Ordering::Release),
            Policy::Or => {
                self.value.fetch_or(value, Ordering::Release);
            }
            Policy::Max => {
                self.value.fetch_max(value, Ordering::Release);
            }
        }
    }

    /// Takes what was put. Find the request before.
    pub fn take(&self) -> u64 {
        match self.policy {
            Policy::Replace => self.value.load(Ordering::Acquire),
            Policy::Or | Policy::Max => self.value.swap(0, Ordering::Acquire),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Policy, Value};

    fn after_two(policy: Policy) -> [u64; 2] {
        let value = Value::new(policy);
        value.put(6);
        value.put(3);
        [value.take(), value.take()]
    }

    #[test]
    fn each_policy_combines_and_takes_as_it_says() {
        assert_eq!(after_two(Policy::Replace), [3, 3]);
        assert_eq!(after_two(Policy::Or), [7, 0]);
        assert_eq!(after_two(Policy::Max), [6, 0]);
    }

    #[test]
    fn nothing_put_is_zero() {
        for policy in [Policy::Replace, Policy::Or, Policy::Max] {
            assert_eq!(Value::new(policy).take(), 0);
        }
    }
}

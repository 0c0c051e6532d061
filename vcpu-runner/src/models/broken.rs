// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Models that break a rule, so that loom must find an order in which that shows.
//!
//! Each runs in a process of its own: where loom finds a deadlock it panics with its objects still
//! in use, and their destructors then abort the process.

use std::env;
use std::process::Command;

/// Set in the process that runs the broken model.
const INSIDE: &str = "VCPU_RUNNER_BROKEN_MODEL";

/// Runs `model` in a process of its own and wants loom to fail it with `expected`. `test` is the
/// full path of the test that calls this, crate included.
pub(super) fn must_fail(test: &str, expected: &str, model: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return model();
    }
    let test = test.split_once("::").map_or(test, |(_crate, test)| test);
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success(),
        "loom went through every order and saw nothing wrong"
    );
    assert!(
        stderr.contains(expected),
        "loom complains about something else than {expected:?}:\n{stderr}"
    );
}

/// A test that passes because loom fails what it runs, with this message.
macro_rules! loom_must_catch {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $model:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let test = concat!(module_path!(), "::", stringify!($name));
            $crate::models::broken::must_fail(test, $expected, || $model);
        }
    };
}

pub(super) use loom_must_catch;

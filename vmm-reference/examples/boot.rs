// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Boots a kernel from another program: `cargo run --example boot -- KERNEL [INITRD]`.

use std::process::ExitCode;

use vmm_reference::config::VmmConfig;
use vmm_reference::{exit_status, terminal, vmm};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(kernel) = arguments.next() else {
        eprintln!("usage: boot KERNEL [INITRD]");
        return ExitCode::from(exit_status::USAGE);
    };
    let mut config = VmmConfig::new(kernel);
    config.initrd = arguments.next().map(Into::into);
    config.vcpus.num = 2;

    terminal::restore_on_panic();
    match vmm::run(&config) {
        Ok(outcome) => {
            eprintln!("{outcome}");
            ExitCode::from(exit_status::of_outcome(&outcome))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(exit_status::of_error(&error))
        }
    }
}

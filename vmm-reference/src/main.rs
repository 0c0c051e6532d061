// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The program: understands its arguments, does what they say, ends with a status that tells how
//! it went (see `vmm_reference::exit_status`).

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use vmm_reference::cli::{self, Command};
use vmm_reference::config::VmmConfig;
use vmm_reference::host::HostReport;
use vmm_reference::kvm_device::KVM_PATH;
use vmm_reference::{exit_status, logging, terminal, vmm};

fn main() -> ExitCode {
    let status = match cli::parse(std::env::args_os()) {
        Err(error) => {
            complain(&error);
            exit_status::USAGE
        }
        Ok(Command::Help(text) | Command::Version(text)) => print(&text),
        Ok(Command::Host { json }) => host(json),
        Ok(Command::Run(config)) => run(&config),
        Ok(_) => {
            complain(&"this command is not there yet");
            exit_status::USAGE
        }
    };
    ExitCode::from(status)
}

fn run(config: &VmmConfig) -> u8 {
    logging::start(config.log);
    terminal::restore_on_panic();
    match vmm::run(config) {
        Ok(outcome) => {
            let status = exit_status::of_outcome(&outcome);
            if outcome.is_the_guests_own() {
                log::info!("{outcome}");
            } else {
                complain(&outcome);
            }
            status
        }
        Err(error) => {
            complain(&error);
            exit_status::of_error(&error)
        }
    }
}

fn host(json: bool) -> u8 {
    match HostReport::gather(Path::new(KVM_PATH)) {
        Ok(report) if json => print(&format!("{}\n", report.to_json())),
        Ok(report) => print(&format!("{report}\n")),
        Err(error) => {
            if json {
                print(&format!("{}\n", HostReport::json_without_kvm(&error)));
            }
            complain(&error);
            exit_status::KVM
        }
    }
}

fn print(text: &str) -> u8 {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => exit_status::OK,
        Err(error) => {
            complain(&format_args!("cannot write to standard output: {error}"));
            exit_status::IO
        }
    }
}

fn complain(what: &dyn std::fmt::Display) {
    // Nobody is left to hear that standard error cannot be written.
    let _ = writeln!(io::stderr(), "vmm-reference: {what}");
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whatever is wrong with the input: one clear line, a status of its own, and nothing left behind.

mod machine;

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use machine::{Guest, Machine, Ran, binary, has_kvm};
use vmm_reference::config::VmmConfig;
use vmm_reference::{exit_status, vmm};

/// A guest that would power off at once.
fn machine() -> Machine {
    Machine::new(&Guest::new().power_off().spin())
}

#[test]
fn a_wrong_command_line_is_told_in_one_line() {
    for (arguments, part) in [
        (&[][..], "--kernel"),
        (&["--kernel", "path=k", "--cpus", "3"], "--cpus"),
        (&["--kernel", "path=k", "--kernel", "path=k"], "--kernel"),
        (&["--kernel", "path=k", "--vcpu", "num=0"], "num"),
        (&["--kernel", "path=k", "--vcpu", "num=255"], "num"),
        (
            &["--kernel", "path=k", "--memory", "size_mib=0"],
            "size_mib",
        ),
        (
            &["--kernel", "path=k", "--memory", "size_mib=x"],
            "size_mib",
        ),
        (&["host", "--yaml"], "--yaml"),
    ] {
        let ran = Ran::run(Command::new(binary()).args(arguments));
        assert_eq!(ran.status, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.complaint().contains(part), "{arguments:?}: {ran:?}");
        assert_eq!(ran.output, "", "{arguments:?}");
    }
}

#[test]
fn a_kernel_that_cannot_be_booted_is_named() {
    if !has_kvm("a_kernel_that_cannot_be_booted_is_named") {
        return;
    }
    let machine = machine();
    let whole = fs::read(machine.path("kernel")).unwrap();
    let mut other_machine = whole.clone();
    other_machine[18] = 183; // AArch64
    for (name, contents) in [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("text", Some(b"#!/bin/sh\n".repeat(100))),
        ("wrong architecture", Some(other_machine)),
        ("cut off", Some(whole[..whole.len() - 1].to_vec())),
    ] {
        let kernel = machine.path("kernel");
        fs::remove_file(&kernel).unwrap_or_default();
        if let Some(contents) = contents {
            fs::write(&kernel, contents).unwrap();
        }
        let flag = machine.summary_flag();
        let console = format!("file={}", machine.path("console").display());
        let ran = machine.run(&["--summary", &flag, "--serial", &console]);
        assert_eq!(ran.status, Some(3), "{name}: {ran:?}");
        assert!(ran.complaint().contains("kernel"), "{name}: {ran:?}");
        assert!(!machine.path("summary.json").exists(), "{name}");
        assert!(!machine.path("console").exists(), "{name}");
    }
}

#[test]
fn a_machine_that_cannot_be_had_is_told() {
    if !has_kvm("a_machine_that_cannot_be_had_is_told") {
        return;
    }
    let machine = machine();
    let missing = format!("path={}", machine.path("no-initrd").display());
    fs::write(machine.path("initrd"), vec![0; 20 << 20]).unwrap();
    let large = format!("path={}", machine.path("initrd").display());
    for (arguments, part) in [
        (["--initrd", missing.as_str()], "no-initrd"),
        (["--initrd", large.as_str()], "initrd"),
        (["--memory", "size_mib=4294967295"], "--memory"),
    ] {
        let mut command = Command::new(binary());
        command
            .arg("--kernel")
            .arg(format!("path={}", machine.path("kernel").display()))
            .args(arguments);
        if arguments[0] == "--initrd" {
            command.args(["--memory", "size_mib=16"]);
        }
        let ran = Ran::run(&mut command);
        assert_eq!(ran.status, Some(3), "{arguments:?}: {ran:?}");
        assert!(ran.complaint().contains(part), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn files_that_cannot_be_written_are_found_out_before_the_run() {
    if !has_kvm("files_that_cannot_be_written_are_found_out_before_the_run") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("the guest ran").power_off().spin());
    let nowhere = format!("file={}", machine.path("no/such/directory/f").display());
    for flag in ["--serial", "--summary"] {
        let ran = machine.run(&[flag, &nowhere]);
        assert_eq!(ran.status, Some(3), "{flag}: {ran:?}");
        assert!(
            ran.complaint().contains("no/such/directory"),
            "{flag}: {ran:?}"
        );
        assert_eq!(ran.output, "", "{flag}");
    }
}

#[test]
fn a_pipe_without_a_reader_is_told_and_not_waited_for() {
    if !has_kvm("a_pipe_without_a_reader_is_told_and_not_waited_for") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("hi").power_off().spin());
    let pipe = machine.path("pipe");
    let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let flag = format!("file={}", pipe.display());
    let ran = machine.run(&["--serial", &flag]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(ran.complaint().contains("reader"), "{ran:?}");
    // A summary is written at the end, and its reader may come until then.
    let ran = machine.run(&["--summary", &flag]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(8), "hi"),
        "{ran:?}"
    );
    assert!(ran.complaint().contains("reader"), "{ran:?}");
}

#[test]
fn an_output_does_not_destroy_an_input() {
    let machine = machine();
    let kernel = machine.path("kernel");
    let before = fs::read(&kernel).unwrap();
    let flag = format!("file={}", kernel.display());
    for output in ["--serial", "--summary"] {
        let ran = machine.run(&[output, &flag]);
        assert_eq!(ran.status, Some(3), "{ran:?}");
        assert!(ran.complaint().contains("--kernel"), "{ran:?}");
        assert_eq!(fs::read(&kernel).unwrap(), before);
    }
}

#[test]
fn a_full_device_ends_the_run_with_the_status_for_output() {
    if !has_kvm("a_full_device_ends_the_run_with_the_status_for_output") {
        return;
    }
    let machine = Machine::new(&Guest::new().flood());
    let ran = machine.run(&["--serial", "file=/dev/full"]);
    assert_eq!(ran.status, Some(8), "{ran:?}");
    assert!(ran.complaint().contains("No space left"), "{ran:?}");
}

#[test]
fn closed_standard_streams_do_not_matter_to_a_guest_that_needs_none() {
    if !has_kvm("closed_standard_streams_do_not_matter_to_a_guest_that_needs_none") {
        return;
    }
    let machine = machine();
    for redirection in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let kernel = machine.path("kernel");
        let script = format!(
            "exec '{}' --kernel path='{}' --memory size_mib=16 {redirection}",
            binary(),
            kernel.display()
        );
        let status = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert_eq!(status.code(), Some(0), "{redirection}");
    }
}

#[test]
fn a_host_without_usable_kvm_is_told_what_to_do() {
    let config = VmmConfig::new("kernel");
    for (path, part) in [
        ("/dev/no-such-kvm", "modprobe"),
        ("/dev/null", "is not KVM"),
    ] {
        let error = vmm::run_on(&config, Path::new(path)).unwrap_err();
        assert_eq!(exit_status::of_error(&error), exit_status::KVM);
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// The binary itself always uses /dev/kvm, so that it is taken away in a mount namespace.
#[test]
fn the_binary_says_so_when_dev_kvm_is_missing() {
    let script = format!(
        "mount -t tmpfs none /dev && exec '{}' host --json",
        binary()
    );
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let ran = match child {
        Ok(child) => Ran::of(child),
        Err(error) => {
            eprintln!("SKIPPED: the_binary_says_so_when_dev_kvm_is_missing: unshare: {error}");
            return;
        }
    };
    if !ran.errors.starts_with("vmm-reference: ") {
        eprintln!(
            "SKIPPED: the_binary_says_so_when_dev_kvm_is_missing: no mount namespace: {}",
            ran.errors.trim_end()
        );
        return;
    }
    assert_eq!(ran.status, Some(4), "{ran:?}");
    assert!(
        ran.complaint().starts_with("/dev/kvm does not exist: "),
        "{ran:?}"
    );
    let json: serde_json::Value = serde_json::from_str(&ran.output).unwrap();
    assert_eq!(json["linux_can_boot"], false);
}

#[test]
fn the_binary_says_so_when_dev_kvm_is_forbidden() {
    const NOBODY: u32 = 65534;
    let test = "the_binary_says_so_when_dev_kvm_is_forbidden";
    let mode = fs::metadata("/dev/kvm").map(|kvm| kvm.permissions().mode());
    if !mode.is_ok_and(|mode| mode & 0o006 == 0) {
        eprintln!("SKIPPED: {test}: /dev/kvm is missing or open to everybody");
        return;
    }
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: {test}: only root can become another user");
        return;
    }
    // A copy, as the build directory may be closed to others.
    let machine = machine();
    let copy = machine.path("vmm-reference");
    fs::copy(binary(), &copy).unwrap();
    let directory = copy.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&copy);
    command.arg("host").uid(NOBODY).gid(NOBODY);
    // A build that measures coverage would complain that this user cannot write its profile.
    command.env("LLVM_PROFILE_FILE", "/dev/null");
    let ran = Ran::run(&mut command);
    assert_eq!(ran.status, Some(4), "{ran:?}");
    assert!(
        ran.complaint()
            .starts_with("no permission to open /dev/kvm: "),
        "{ran:?}"
    );
}

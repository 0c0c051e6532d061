// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that run to each of their ends: status, output, message, summary.

mod machine;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use machine::{Guest, Machine, Ran, has_kvm, read_until, send, type_in};

#[test]
fn a_guest_prints_and_powers_off() {
    if !has_kvm("a_guest_prints_and_powers_off") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("hello\n").power_off().spin());
    let ran = machine.run(&["--summary", &machine.summary_flag()]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(0), "hello\n"),
        "{ran:?}"
    );
    assert_eq!(ran.errors, "");
    let summary = machine.summary();
    assert_eq!(summary["outcome"], "poweroff");
    assert_eq!(summary["exits"]["IoOut"], 7);
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);
    assert!(summary["vmm_rss_kib"].as_u64().unwrap() > 0);
    assert!(summary["guest_rss_kib"].as_u64().unwrap() > 0);
}

#[test]
fn a_string_instruction_prints_all_of_its_elements() {
    if !has_kvm("a_string_instruction_prints_all_of_its_elements") {
        return;
    }
    let text = "many bytes at once";
    let machine = Machine::new(&Guest::new().print_string(text).power_off().spin());
    let ran = machine.run(&[]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(0), text),
        "{ran:?}"
    );
}

#[test]
fn each_way_to_reset_ends_with_status_0() {
    if !has_kvm("each_way_to_reset_ends_with_status_0") {
        return;
    }
    for guest in [Guest::new().reset(), Guest::new().acpi_reset()] {
        let machine = Machine::new(&guest.spin());
        let ran = machine.run(&["--summary", &machine.summary_flag(), "--log", "info"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert_eq!(ran.complaint(), "info: the guest reset the machine");
        assert_eq!(machine.summary()["outcome"], "reset");
    }
}

#[test]
fn a_triple_fault_has_its_own_status() {
    if !has_kvm("a_triple_fault_has_its_own_status") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("before").triple_fault());
    let ran = machine.run(&["--summary", &machine.summary_flag()]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(5), "before"),
        "{ran:?}"
    );
    assert!(
        ran.complaint().starts_with("vCPU 0 had a triple fault"),
        "{ran:?}"
    );
    assert_eq!(machine.summary()["outcome"], "triple_fault");
}

#[test]
fn an_instruction_that_kvm_cannot_emulate_is_named() {
    if !has_kvm("an_instruction_that_kvm_cannot_emulate_is_named") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("ab").unknown_instruction());
    let ran = machine.run(&["--summary", &machine.summary_flag()]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(6), "ab"),
        "{ran:?}"
    );
    let complaint = ran.complaint();
    // 10 bytes of code stand before it.
    for part in [
        "`popcnt eax,",
        "f3 0f b8 05 00 00 00 d0",
        "at RIP 0x10000a",
        "vmm-reference host",
    ] {
        assert!(complaint.contains(part), "{complaint}");
    }
    assert_eq!(machine.summary()["outcome"], "internal_error");
}

#[test]
fn input_reaches_the_guest_and_its_end_does_not_end_the_vmm() {
    if !has_kvm("input_reaches_the_guest_and_its_end_does_not_end_the_vmm") {
        return;
    }
    let machine = Machine::new(&Guest::new().echo_until_q().power_off().spin());
    let long = "0123456789".repeat(50) + "q";
    let mut child = machine.command(&[]).stdin(Stdio::piped()).spawn().unwrap();
    type_in(&mut child, long.as_bytes());
    drop(child.stdin.take());
    let ran = Ran::of(child);
    assert_eq!((ran.status, ran.output), (Some(0), long));

    // A file as standard input.
    fs::write(machine.path("input"), "from a file, q").unwrap();
    let input = fs::File::open(machine.path("input")).unwrap();
    let ran = Ran::of(machine.command(&[]).stdin(input).spawn().unwrap());
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(0), "from a file, q")
    );
}

#[test]
fn the_console_can_go_to_a_file() {
    if !has_kvm("the_console_can_go_to_a_file") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("to a file").power_off().spin());
    fs::write(machine.path("console"), "older and longer than what comes").unwrap();
    let file = format!("file={}", machine.path("console").display());
    let ran = machine.run(&["--serial", &file]);
    assert_eq!((ran.status, ran.output.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(
        fs::read_to_string(machine.path("console")).unwrap(),
        "to a file"
    );
}

#[test]
fn signals_end_a_guest_in_order() {
    if !has_kvm("signals_end_a_guest_in_order") {
        return;
    }
    let up = || Guest::new().print("up");
    for (guest, signal) in [
        (up().spin(), libc::SIGTERM),
        (up().halt(), libc::SIGINT),
        (up().spin(), libc::SIGHUP),
        (up().halt(), libc::SIGQUIT),
    ] {
        let machine = Machine::new(&guest);
        let flag = machine.summary_flag();
        let mut child = machine
            .command(&["--vcpu", "num=3", "--summary", &flag])
            .spawn()
            .unwrap();
        read_until(child.stdout.as_mut().unwrap(), "up");
        send(&child, signal);
        let ran = Ran::of(child);
        assert_eq!(ran.status, Some(128 + signal), "{ran:?}");
        assert!(ran.complaint().starts_with("ended by SIG"), "{ran:?}");
        assert_eq!(machine.summary()["outcome"], "signal");
    }
}

/// `timeout` sends it twice: to the process and to its group.
#[test]
fn a_signal_that_comes_again_loses_no_summary() {
    if !has_kvm("a_signal_that_comes_again_loses_no_summary") {
        return;
    }
    for _ in 0..10 {
        let machine = Machine::new(&Guest::new().print("up").spin());
        let flag = machine.summary_flag();
        let mut child = machine
            .command(&["--vcpu", "num=4", "--summary", &flag])
            .spawn()
            .unwrap();
        read_until(child.stdout.as_mut().unwrap(), "up");
        send(&child, libc::SIGTERM);
        std::thread::sleep(std::time::Duration::from_millis(1));
        send(&child, libc::SIGTERM);
        Ran::of(child);
        assert_eq!(machine.summary()["outcome"], "signal");
    }
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    if !has_kvm("a_signal_that_is_ignored_stays_ignored") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("up").echo_until_q().power_off().spin());
    let mut command = machine.command(&[]);
    let ignore = || {
        // SAFETY: signal is async-signal-safe, and SIG_IGN is no function.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        Ok(())
    };
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(ignore) };
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "up");
    send(&child, libc::SIGHUP);
    type_in(&mut child, b"q");
    let ran = Ran::of(child);
    assert_eq!((ran.status, ran.output.as_str()), (Some(0), "q"), "{ran:?}");
}

#[test]
fn sigusr1_shows_the_registers_of_all_vcpus() {
    if !has_kvm("sigusr1_shows_the_registers_of_all_vcpus") {
        return;
    }
    let machine = Machine::new(&Guest::new().print("up").spin());
    let mut child = machine.command(&["--vcpu", "num=2"]).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "up");
    send(&child, libc::SIGUSR1);
    let errors = child.stderr.as_mut().unwrap();
    let shown = read_until(errors, "vCPU 0") + &read_until(errors, "efer");
    assert!(shown.contains("`jmp"), "{shown}");
    send(&child, libc::SIGTERM);
    assert_eq!(Ran::of(child).status, Some(143));
}

#[test]
fn a_closed_output_has_its_own_status() {
    if !has_kvm("a_closed_output_has_its_own_status") {
        return;
    }
    let machine = Machine::new(&Guest::new().flood());
    let mut child = machine.command(&[]).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "xxx");
    drop(child.stdout.take());
    let ran = Ran::of(child);
    assert_eq!(ran.status, Some(8), "{ran:?}");
    assert!(ran.complaint().contains("Broken pipe"), "{ran:?}");
}

#[test]
fn an_output_that_nobody_reads_does_not_hold_the_end_up() {
    if !has_kvm("an_output_that_nobody_reads_does_not_hold_the_end_up") {
        return;
    }
    let machine = Machine::new(&Guest::new().flood());
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = machine.command(&[]).stdout(writer).spawn().unwrap();
    // Wait until the pipe is full and the guest with it.
    let mut before = -1;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut waiting = 0;
        use std::os::fd::AsRawFd;
        // SAFETY: FIONREAD writes one int.
        let ret = unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD, &raw mut waiting) };
        assert_eq!(ret, 0);
        if waiting == before && waiting != 0 {
            break;
        }
        before = waiting;
    }
    send(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    drop(reader);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Multiboot kernels that read what they are told, print it, and end with a status of their own.

mod machine;

use std::fs;

use machine::{Guest, Machine, has_kvm};

/// Checks EAX, then prints the command line, asking the serial port before each byte.
fn print_command_line() -> Guest {
    Guest::new().code(&[
        0x3d, 0x02, 0xb0, 0xad, 0x2b, // cmp eax, the magic number
        0x74, 0x02, // je over what follows
        0x0f, 0x0b, // ud2
        0x8b, 0x73, 0x10, // mov esi, [ebx + 16]: the command line
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x14, // jz over what follows
        0x88, 0xc4, // mov ah, al
        0x66, 0xba, 0xfd, 0x03, // mov dx, line status
        0xec, // busy: in al, dx
        0xa8, 0x20, // test al, transmitter empty
        0x74, 0xfb, // jz busy
        0x66, 0xba, 0xf8, 0x03, // mov dx, data
        0x88, 0xe0, // mov al, ah
        0xee, // out dx, al
        0xeb, 0xe7, // jmp next
    ])
}

/// Prints the first module and what follows from the size of memory.
fn print_module(guest: Guest) -> Guest {
    guest.code(&[
        0xf7, 0x03, 0x08, 0x00, 0x00, 0x00, // test dword [ebx], modules
        0x75, 0x02, // jnz over what follows
        0x0f, 0x0b, // ud2
        0x8b, 0x7b, 0x18, // mov edi, [ebx + 24]: the list
        0x8b, 0x37, // mov esi, [edi]: its first byte
        0x8b, 0x4f, 0x04, // mov ecx, [edi + 4]: its end
        0x29, 0xf1, // sub ecx, esi
        0x66, 0xba, 0xf8, 0x03, // mov dx, data
        0xf3, 0x6e, // rep outsb
    ])
}

#[test]
fn a_multiboot_kernel_prints_and_ends_with_its_own_status() {
    if !has_kvm("a_multiboot_kernel_prints_and_ends_with_its_own_status") {
        return;
    }
    let guest = print_module(print_command_line()).debug_exit(0x15).spin();
    for kernel in [guest.multiboot_elf(), guest.multiboot_flat()] {
        let machine = Machine::with_kernel(&kernel);
        fs::write(machine.path("module"), "<a module>").unwrap();
        let initrd = format!("path={}", machine.path("module").display());
        let flag = machine.summary_flag();
        let flags = ["--initrd", &initrd, "--summary", &flag];
        let ran = machine.run(&[&flags[..], &["--debug-exit", "port="]].concat());
        assert_eq!(
            (ran.status, ran.output.as_str(), ran.errors.as_str()),
            (Some(0x2b), "kernel<a module>", ""),
            "{ran:?}"
        );
        let summary = machine.summary();
        assert_eq!(summary["outcome"], "debug_exit");
        assert_eq!(summary["debug_exit"], 0x15);
    }
}

#[test]
fn a_command_line_that_is_given_arrives_as_it_is() {
    if !has_kvm("a_command_line_that_is_given_arrives_as_it_is") {
        return;
    }
    let guest = print_command_line().debug_exit(0).spin();
    let machine = Machine::with_kernel(&guest.multiboot_elf());
    let kernel = format!("path={},cmdline=a test=1", machine.path("kernel").display());
    let mut command = std::process::Command::new(machine::binary());
    command.args(["--kernel", &kernel, "--debug-exit", "port=0xf4"]);
    let ran = machine::Ran::run(&mut command);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(1), "a test=1"),
        "{ran:?}"
    );
}

#[test]
fn the_debug_exit_port_is_off_unless_asked_for() {
    if !has_kvm("the_debug_exit_port_is_off_unless_asked_for") {
        return;
    }
    let guest = Guest::new().debug_exit(1).print("on").power_off().spin();
    let machine = Machine::with_kernel(&guest.multiboot_flat());
    let ran = machine.run(&["--summary", &machine.summary_flag()]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(0), "on"),
        "{ran:?}"
    );
    assert_eq!(machine.summary()["outcome"], "poweroff");
    // At another port, with a status that is this VMM's own too.
    let guest = Guest::new().debug_exit(1).print("on");
    let guest = guest.code(&[0x66, 0xba, 0x01, 0x05, 0xb0, 0x02, 0xee]);
    let machine = Machine::with_kernel(&guest.spin().multiboot_flat());
    let ran = machine.run(&["--debug-exit", "port=0x501", "--log", "info"]);
    assert_eq!(
        (ran.status, ran.output.as_str()),
        (Some(5), "on"),
        "{ran:?}"
    );
    assert_eq!(
        ran.complaint(),
        "info: the guest wrote 0x2 to the debug exit port"
    );
}

#[test]
fn a_kernel_that_is_refused_is_named_with_the_remedy() {
    if !has_kvm("a_kernel_that_is_refused_is_named_with_the_remedy") {
        return;
    }
    let good = Guest::new().spin().multiboot_flat();
    let mut wrong_sum = good.clone();
    wrong_sum[8] ^= 1;
    let mut flags = good.clone();
    flags[4] = 0x10;
    flags[8] = flags[8].wrapping_sub(0x10);
    for (kernel, part) in [(wrong_sum, "checksum is wrong"), (flags, "flags 0x10;")] {
        let machine = Machine::with_kernel(&kernel);
        let ran = machine.run(&[]);
        assert_eq!(ran.status, Some(3), "{ran:?}");
        let name = format!("the kernel {:?} ", machine.path("kernel"));
        assert!(ran.complaint().starts_with(&name), "{ran:?}");
        assert!(ran.complaint().contains(part), "{ran:?}");
    }
    let machine = Machine::with_kernel(&good);
    let ran = machine.run(&["--debug-exit", "port=0x3f8"]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(ran.complaint().contains("serial port"), "{ran:?}");
}

/// The guest of the nested tests has both a PVH note and a multiboot header, and does the same
/// whichever is left.
#[test]
fn the_nested_vmx_guest_runs_by_either_protocol() {
    if !has_kvm("the_nested_vmx_guest_runs_by_either_protocol") {
        return;
    }
    let pvh = guest_l1::elf(&guest_l1::image(guest_l1::Mode::Scenarios));
    let mut multiboot = pvh.clone();
    let note = b"\x12\0\0\0Xen\0";
    let at = pvh.windows(note.len()).position(|bytes| bytes == note);
    multiboot[at.unwrap()] = 0;
    let [pvh, multiboot] = [pvh, multiboot].map(|kernel| {
        let ran = Machine::with_kernel(&kernel).run(&[]);
        (ran.status, ran.output)
    });
    assert!(!pvh.1.is_empty());
    assert_eq!(multiboot, pvh);
}

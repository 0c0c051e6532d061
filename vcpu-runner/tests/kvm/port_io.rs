// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use crate::guest::{Machine, Recorder, Seen, next, soon};
use vcpu_runner::{ExitKind, Outcome, Runner};

#[test]
fn ports_are_written_and_read() {
    let code = [
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, 0x41, // mov al, 'A'
        0xee, // out dx, al
        0x66, 0xed, // in ax, dx
        0x66, 0xef, // out dx, ax
        0xed, // in eax, dx
        0xa3, 0x00, 0x20, 0x00, 0x00, // mov [0x2000], eax
        0xf4, // hlt
    ];
    let Some(machine) = Machine::new("ports_are_written_and_read", &code) else {
        return;
    };
    let (recorder, seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    assert_eq!(next(&seen), Seen::Out(0x3f8, vec![0x41]));
    assert_eq!(next(&seen), Seen::In(0x3f8, 2));
    assert_eq!(next(&seen), Seen::Out(0x3f8, vec![0xa0, 0xa1]));
    assert_eq!(next(&seen), Seen::In(0x3f8, 4));
    assert_eq!(next(&seen), Seen::Hlt);
    assert_eq!(machine.word(0x2000), 0xa3a2_a1a0);

    thread.handle().stop().unwrap();
    let statistics = {
        thread.handle().wait(soon()).unwrap();
        thread.handle().statistics()
    };
    assert_eq!(statistics.exits_of(ExitKind::IoOut), 2);
    assert_eq!(statistics.exits_of(ExitKind::IoIn), 2);
    assert_eq!(statistics.exits_of(ExitKind::Hlt), 1);
    assert_eq!(statistics.entries, 5);
    assert!(matches!(thread.join().unwrap().outcome, Outcome::Stopped));
}

#[test]
fn string_output_brings_all_elements_in_order() {
    let code = [
        0xfc, // cld
        0xbe, 0x00, 0x20, 0x00, 0x00, // mov esi, 0x2000
        0xb9, 0x05, 0x00, 0x00, 0x00, // mov ecx, 5
        0xc7, 0x06, 0x68, 0x65, 0x6c, 0x6c, // mov dword [esi], "hell"
        0xc6, 0x46, 0x04, 0x6f, // mov byte [esi+4], 'o'
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xf3, 0x6e, // rep outsb
        0xf4, // hlt
    ];
    let Some(machine) = Machine::new("string_output_brings_all_elements_in_order", &code) else {
        return;
    };
    let (recorder, seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    let mut text = Vec::new();
    loop {
        match next(&seen) {
            Seen::Out(0x3f8, bytes) => text.extend(bytes),
            Seen::Hlt => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text, b"hello");
    thread.handle().stop().unwrap();
    thread.join().unwrap();
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use crate::guest::{Ask, Machine, Recorder, soon};
use vcpu_runner::{Error, kvm::KvmVcpu};
use vcpu_runner::{Phase, Runner, VcpuThread, pause_all, request_all, resume_all, stop_all};

const SPIN: &[u8] = &[0xeb, 0xfe]; // jmp $
const VCPUS: u64 = 4;

fn spinning(machine: &Machine) -> Vec<VcpuThread<KvmVcpu, Recorder>> {
    (0..VCPUS)
        .map(|index| {
            let (recorder, _seen) = Recorder::new();
            Runner::new(machine.vcpu(index), recorder)
                .name(format!("vcpu{index}"))
                .spawn()
                .unwrap()
        })
        .collect()
}

#[test]
fn four_vcpus_pause_and_resume_together() {
    let Some(machine) = Machine::new("four_vcpus_pause_and_resume_together", SPIN) else {
        return;
    };
    let threads = spinning(&machine);
    let handles: Vec<_> = threads.iter().map(|t| t.handle().clone()).collect();
    for _ in 0..500 {
        pause_all(&handles, soon()).unwrap();
        for handle in &handles {
            assert!(matches!(handle.phase(), Phase::Paused));
        }
        let entries: Vec<_> = handles.iter().map(|h| h.statistics().entries).collect();
        request_all(&handles, Ask::Leave, soon()).unwrap();
        for (handle, before) in handles.iter().zip(entries) {
            assert_eq!(handle.statistics().entries, before, "entered while paused");
        }
        resume_all(&handles).unwrap();
        request_all(&handles, Ask::Leave, soon()).unwrap();
    }
    stop_all(&handles, soon()).unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn one_that_has_ended_does_not_keep_the_others_from_pausing() {
    let test = "one_that_has_ended_does_not_keep_the_others_from_pausing";
    let Some(machine) = Machine::new(test, SPIN) else {
        return;
    };
    let threads = spinning(&machine);
    let handles: Vec<_> = threads.iter().map(|t| t.handle().clone()).collect();
    handles[1].stop().unwrap();
    handles[1].wait(soon()).unwrap();
    match pause_all(&handles, soon()) {
        Err(Error::OneOfMany { index: 1, source }) => assert!(matches!(*source, Error::Ended(_))),
        other => panic!("{other:?}"),
    }
    for index in [0, 2, 3] {
        assert!(matches!(handles[index].phase(), Phase::Paused));
    }
    stop_all(&handles, soon()).unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

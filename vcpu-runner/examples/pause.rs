// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest of two instructions counts in ebx; it is asked for its count, paused, looked at and resumed.

use std::error::Error;
use std::thread;
use std::time::Duration;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuFd};
use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Deadline, Exit, Flow, Handler, Runner};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

requests! {
    /// What is asked of the vCPU.
    enum Ask {
        /// Say how far it has counted.
        Report = 0,
    }
}

struct Counting;

impl Handler<KvmVcpu> for Counting {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        Err(format!("a guest that only counts does not exit: {exit:?}"))
    }

    fn request(&mut self, ask: Ask, vcpu: &mut KvmVcpu) -> Result<Flow, String> {
        match ask {
            Ask::Report => {
                let regs = vcpu.fd().get_regs().map_err(|error| error.to_string())?;
                println!("asked while running: ebx is {}", regs.rbx as u32);
                Ok(Flow::Continue)
            }
        }
    }
}

/// Real mode, at address 0.
fn set_up(fd: &VcpuFd) -> Result<(), Box<dyn Error>> {
    let mut sregs = fd.get_sregs()?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    fd.set_sregs(&sregs)?;
    let mut regs = fd.get_regs()?;
    (regs.rip, regs.rflags) = (0, 2);
    fd.set_regs(&regs)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let code = [
        0x66, 0x43, // inc ebx
        0xeb, 0xfc, // jmp to the inc
    ];
    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)])?;
    memory.write_slice(&code, GuestAddress(0))?;
    let region = kvm_userspace_memory_region {
        memory_size: 0x1000,
        userspace_addr: memory.get_host_address(GuestAddress(0))? as u64,
        ..Default::default()
    };
    // SAFETY: `memory` lives until the vCPU's thread was joined, or an error ends the process.
    unsafe { vm.set_user_memory_region(region) }?;
    let fd = vm.create_vcpu(0)?;
    set_up(&fd)?;

    let thread = Runner::new(KvmVcpu::new(&kvm, fd)?, Counting).spawn()?;
    let handle = thread.handle().clone();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(10));
        handle.request(Ask::Report)?;
        handle.pause(Deadline::NEVER)?;
        let regs = handle.call(Deadline::NEVER, |vcpu| vcpu.fd().get_regs())??;
        println!("paused: ebx is {}", regs.rbx as u32);
        handle.resume()?;
    }
    handle.stop()?;
    let ended = thread.join()?;
    println!("{:?}; {:?}", ended.outcome, handle.statistics());
    Ok(())
}

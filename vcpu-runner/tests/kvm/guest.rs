// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest without an operating system: flat 32-bit protected mode, ring 0, no paging, no interrupt
//! controller, a few bytes of code.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::{kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Deadline, Exit, Flow, Handler};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Where the code is, and its first instruction.
pub const CODE: u64 = 0x1000;
/// Bytes of memory, from address 0. Everything above is MMIO.
pub const MEMORY: u64 = 0x10000;

requests! {
    /// What the tests ask.
    #[derive(PartialOrd, Ord)]
    pub enum Ask {
        /// Report the registers.
        Report = 0,
        /// Let a halted guest go on.
        GoOn = 1,
        /// Like `Report`, but a halted guest is not to be woken for it.
        Quiet = 2: NO_WAKEUP,
        /// Wait until the guest is left.
        Leave = 3: WAIT,
    }
}

/// How long a test waits for what must come at once.
pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Waits until `condition` holds, which it must.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited for {what} in vain"
        );
        // On one CPU the vCPU's thread needs it.
        thread::yield_now();
    }
}

/// KVM, or `None` after one line that says why there is none.
pub fn kvm(test: &str) -> Option<Kvm> {
    match Kvm::new() {
        Ok(kvm) => Some(kvm),
        Err(error) => {
            eprintln!("SKIPPED: vcpu-runner {test}: /dev/kvm cannot be opened: {error}");
            None
        }
    }
}

/// A virtual machine. It lives as long as its vCPUs may run.
pub struct Machine {
    kvm: Kvm,
    vm: VmFd,
    // Behind `vm`, so that it goes last.
    memory: GuestMemoryMmap,
}

impl Machine {
    /// A machine with `code` at [`CODE`], or `None` where there is no KVM.
    pub fn new(test: &str, code: &[u8]) -> Option<Self> {
        let kvm = kvm(test)?;
        let vm = kvm.create_vm().unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap();
        memory.write_slice(code, GuestAddress(CODE)).unwrap();
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: MEMORY,
            userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        };
        // SAFETY: the memory is the machine's, which goes last. A test that does not join its vCPUs'
        // threads lets KVM find the memory gone, which KVM copes with, or the process ends.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        Some(Self { kvm, vm, memory })
    }

    /// Its vCPU `index`, at the first instruction.
    pub fn vcpu(&self, index: u64) -> KvmVcpu {
        let fd = self.vm.create_vcpu(index).unwrap();
        flat_protected_mode(&fd);
        let mut regs = fd.get_regs().unwrap();
        regs.rip = CODE;
        // IF, though no interrupt comes: bochs 2.7 does not let a host's interrupt end an entry with
        // interrupts off.
        regs.rflags = 0x202;
        regs.rsp = 0x8000;
        fd.set_regs(&regs).unwrap();
        KvmVcpu::new(&self.kvm, fd).unwrap()
    }

    /// The 32-bit word at `address`.
    pub fn word(&self, address: u64) -> u32 {
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }
}

fn flat_protected_mode(fd: &VcpuFd) {
    let flat = |selector, type_| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut sregs = fd.get_sregs().unwrap();
    sregs.cs = flat(8, 0xb);
    let data = flat(16, 0x3);
    (sregs.ds, sregs.es, sregs.fs) = (data, data, data);
    (sregs.gs, sregs.ss) = (data, data);
    sregs.cr0 |= 1;
    // No interrupt descriptor: any exception is a triple fault.
    sregs.idt.limit = 0;
    fd.set_sregs(&sregs).unwrap();
}

/// An exit with data of its own, as the tests compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A write to a port.
    Out(u16, Vec<u8>),
    /// A read of so many bytes from a port.
    In(u16, usize),
    /// A write to memory that is not there.
    Write(u64, Vec<u8>),
    /// A read of so many bytes of memory that is not there.
    Read(u64, usize),
    /// HLT.
    Hlt,
    /// Triple fault.
    Shutdown,
    /// `Ask` was handled, with the instruction pointer and eax at that moment.
    Asked(Ask, u64, u32),
    /// Anything else.
    Other(String),
}

/// A handler that tells the test what it sees. Reads are answered with bytes counting up from 0xa0.
pub struct Recorder {
    seen: Sender<Seen>,
}

impl Recorder {
    /// A recorder, and where what it sees comes out.
    pub fn new() -> (Self, Receiver<Seen>) {
        let (seen, receiver) = channel();
        (Self { seen }, receiver)
    }

    fn tell(&self, seen: Seen) {
        // A test that has seen enough receives no more.
        let _ = self.seen.send(seen);
    }
}

fn count_up(data: &mut [u8]) {
    for (byte, value) in data.iter_mut().zip(0xa0..) {
        *byte = value;
    }
}

impl Handler<KvmVcpu> for Recorder {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        let (seen, flow) = match exit {
            Exit::IoOut { port, data, .. } => (Seen::Out(port, data.to_vec()), Flow::Continue),
            Exit::IoIn { port, data, .. } => {
                count_up(data);
                (Seen::In(port, data.len()), Flow::Continue)
            }
            Exit::MmioWrite { address, data } => {
                (Seen::Write(address, data.to_vec()), Flow::Continue)
            }
            Exit::MmioRead { address, data } => {
                count_up(data);
                (Seen::Read(address, data.len()), Flow::Continue)
            }
            Exit::Hlt => (Seen::Hlt, Flow::Halt),
            Exit::Shutdown => (Seen::Shutdown, Flow::Stop),
            other => {
                let what = format!("{other:?}");
                self.tell(Seen::Other(what.clone()));
                return Err(what);
            }
        };
        self.tell(seen);
        Ok(flow)
    }

    fn request(&mut self, ask: Ask, vcpu: &mut KvmVcpu) -> Result<Flow, String> {
        let regs = vcpu.fd().get_regs().map_err(|error| error.to_string())?;
        self.tell(Seen::Asked(ask, regs.rip, regs.rax as u32));
        match ask {
            Ask::GoOn => Ok(Flow::Runnable),
            Ask::Report | Ask::Quiet | Ask::Leave => Ok(Flow::Continue),
        }
    }
}

/// The next thing seen, which must come.
pub fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(Duration::from_secs(60)).unwrap()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM: it makes the machine, lets it run, and takes it down in order.
//!
//! ```text
//!   main thread                                   vcpu0 … vcpuN            console
//!   KVM, memory, kernel, devices
//!   threads ------------------------------------> enter, exit, enter …
//!   event loop: input, signals, first outcome <-- exits that end the run
//!                                                 output ----------------> write
//!   no more waiting for output; stop, join <----- (stopped)
//!   write what is left of the output -----------------------------------> (ended)
//!   terminal back, summary
//! ```
//!
//! Everything that can be wrong with the configuration is found before anything that outlives the
//! VMM is changed: the console's file, the terminal.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use kvm_ioctls::Kvm;
use thiserror::Error;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Deadline, Statistics, request_all};
use vmm_sys_util::eventfd::EventFd;

use crate::boot::BootError;
use crate::config::{SerialConfig, VmmConfig};
use crate::devices::{
    AcpiPm, ConsoleInput, ConsoleOutput, FdSink, I8042, PmAction, PortBus, SerialPort,
};
use crate::kvm_device::{self, KVM_PATH, KvmError};
use crate::memory::{self, MemoryError};
use crate::outcome::{FirstOutcome, Outcome};
use crate::signals::Signals;
use crate::summary::{self, Summary, SummaryError};
use crate::terminal::{Command, EscapeKeys, RawTerminal};
use crate::vcpu_handler::{VcpuHandler, VcpuRequest};
use crate::vcpu_setup::{VcpuSetup, VcpuSetupError};
use crate::vcpu_threads::{Handle, VcpuThreads};
use crate::vm::{Vm, VmError, ioctl};
use crate::{boot, layout};

/// How long a reader of the console may take nothing at the end before the rest is given up.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(2);

/// Why there was no run, or why its summary is missing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VmmError {
    /// KVM cannot be used.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// More vCPUs than this host's KVM has.
    #[error("{num} vCPUs are more than this host's KVM allows ({max}): lower --vcpu num")]
    TooManyVcpus {
        /// What was asked for.
        num: u8,
        /// KVM_CAP_MAX_VCPUS.
        max: usize,
    },
    /// The guest's memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest cannot be set up: kernel, initrd, command line.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// KVM refused something.
    #[error("KVM refused to make the machine: {0}")]
    Vm(#[from] VmError),
    /// A vCPU cannot be set up.
    #[error("KVM refused to set up a vCPU: {0}")]
    VcpuSetup(#[from] VcpuSetupError),
    /// A vCPU cannot be run.
    #[error(transparent)]
    Vcpu(#[from] vcpu_runner::Error),
    /// The console's file cannot be opened.
    #[error("cannot open {} for the console's output: {source}", path.display())]
    SerialFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The summary could not be written to its place, as was found out before the run.
    #[error("{0}; choose another --summary file")]
    SummaryPath(SummaryError),
    /// The summary cannot be written, after the run.
    #[error(transparent)]
    Summary(SummaryError),
    /// The host refused something else.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn host(what: &'static str) -> impl Fn(io::Error) -> VmmError {
    move |source| VmmError::Host { what, source }
}

/// Boots a kernel and lets it run to its end, on the calling thread, whose process's signals and
/// terminal it takes meanwhile.
///
/// # Errors
/// [`VmmError`], whose message is one line.
pub fn run(config: &VmmConfig) -> Result<Arc<Outcome>, VmmError> {
    run_on(config, Path::new(KVM_PATH))
}

/// As [`run`], with another KVM than `/dev/kvm`.
///
/// # Errors
/// As [`run`].
pub fn run_on(config: &VmmConfig, kvm_path: &Path) -> Result<Arc<Outcome>, VmmError> {
    let kvm = kvm_device::open(kvm_path)?;
    let (num, max) = (config.vcpus.num, kvm.get_max_vcpus());
    if usize::from(num) > max {
        return Err(VmmError::TooManyVcpus { num, max });
    }
    if let Some(path) = &config.summary {
        summary::check_path(path).map_err(VmmError::SummaryPath)?;
    }
    let first = Arc::new(FirstOutcome::new().map_err(host("make an eventfd"))?);
    let (vm, vcpus) = make_machine(config, &kvm)?;
    let console = Console::open(&config.serial, &vm, &first)?;
    let ports = Arc::new(make_ports(&console.port, &first).map_err(host("connect the devices"))?);
    let vcpus = vcpus
        .into_iter()
        .zip(0..)
        .map(|(vcpu, index)| {
            let memory = vm.memory().clone();
            let handler = VcpuHandler::new(index, ports.clone(), memory, first.clone());
            (vcpu, handler)
        })
        .collect();

    let started = Instant::now();
    let (outcome, statistics) = run_until_end(config, &console, vcpus, &first)?;
    let duration = started.elapsed();
    if let Err(left) = console.output.finish(OUTPUT_PATIENCE) {
        log::error!(
            "the console's reader takes nothing; {} bytes of output are lost",
            left.bytes
        );
    }
    if let Some(path) = &config.summary {
        Summary::new(&outcome, duration, vm.memory(), &statistics)
            .write(path)
            .map_err(VmmError::Summary)?;
    }
    Ok(outcome)
}

/// Makes the VM with its memory filled and its vCPUs set up, the first one at the kernel's entry.
fn make_machine(config: &VmmConfig, kvm: &Kvm) -> Result<(Vm, Vec<KvmVcpu>), VmmError> {
    let memory = memory::create(&config.memory)?;
    let entry = boot::prepare(&memory, config)?;
    let vm = Vm::new(kvm, memory)?;
    let setup = VcpuSetup::new(kvm)?;
    let mut vcpus = Vec::new();
    for index in 0..config.vcpus.num {
        let vcpu = vm.create_vcpu(index)?;
        setup.apply(&vcpu, index, config.vcpus.num)?;
        if index == 0 {
            entry.configure(&vcpu).map_err(ioctl("KVM_SET_REGS"))?;
        }
        vcpus.push(KvmVcpu::new(kvm, vcpu)?);
    }
    Ok((vm, vcpus))
}

fn make_ports(serial: &Arc<SerialPort>, first: &Arc<FirstOutcome>) -> io::Result<PortBus> {
    let reporting = Arc::clone(first);
    let i8042 = Arc::new(I8042::new(move || reporting.report(Outcome::Reset)));
    let reporting = Arc::clone(first);
    let acpi = AcpiPm::new(
        layout::S5_SLP_TYP,
        layout::ACPI_RESET_VALUE,
        move |action| {
            reporting.report(match action {
                PmAction::PowerOff => Outcome::PowerOff,
                PmAction::Reset => Outcome::Reset,
            });
        },
    );
    let mut ports = PortBus::new();
    let mut register = |port, count, device| {
        ports
            .register(port, count, device)
            .map_err(io::Error::other)
    };
    register(layout::COM1_PORT, SerialPort::PORTS, serial.clone())?;
    register(layout::I8042_DATA_PORT, 1, i8042.clone())?;
    register(layout::I8042_COMMAND_PORT, 1, i8042)?;
    register(layout::PM1A_EVENT_PORT, AcpiPm::PORTS, Arc::new(acpi))?;
    Ok(ports)
}

/// The serial port and where it leads.
struct Console {
    port: Arc<SerialPort>,
    output: ConsoleOutput,
    /// Told when the port can take input again.
    room: EventFd,
}

impl Console {
    fn open(config: &SerialConfig, vm: &Vm, first: &Arc<FirstOutcome>) -> Result<Self, VmmError> {
        let event = || EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        let interrupt = event().map_err(host("make an eventfd"))?;
        let room = event().map_err(host("make an eventfd"))?;
        vm.connect_interrupt(&interrupt, layout::COM1_IRQ)?;
        let sink = match config {
            SerialConfig::Stdio => io::stdout()
                .as_fd()
                .try_clone_to_owned()
                .map(FdSink::from)
                .map_err(host("duplicate standard output"))?,
            SerialConfig::File(path) => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)
                .map(FdSink::from)
                .map_err(|source| VmmError::SerialFile {
                    path: path.clone(),
                    source,
                })?,
        };
        let reported = Arc::clone(first);
        let output = ConsoleOutput::start(sink, move |error| {
            reported.report(Outcome::ConsoleFailed(error));
        })
        .map_err(host("start the console's thread"))?;
        let told = room.try_clone().map_err(host("duplicate an eventfd"))?;
        Ok(Self {
            port: Arc::new(SerialPort::new(interrupt, output.clone(), told)),
            output,
            room,
        })
    }

    /// Standard input, for the event loop.
    fn input(&self) -> io::Result<ConsoleInput> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let room = self.room.try_clone()?;
        Ok(ConsoleInput::new(stdin, self.port.clone(), room))
    }
}

/// Runs the vCPUs until there is an outcome. They have stopped when this returns, and the terminal
/// is as it was.
fn run_until_end(
    config: &VmmConfig,
    console: &Console,
    vcpus: Vec<(KvmVcpu, VcpuHandler)>,
    first: &Arc<FirstOutcome>,
) -> Result<(Arc<Outcome>, Vec<Statistics>), VmmError> {
    let mut events = EventLoop::new().map_err(in_loop("make the event loop"))?;
    events.add_subscriber(Box::new(Ended(first.clone())));
    let interactive = config.serial == SerialConfig::Stdio;
    let terminal = Rc::new(match interactive {
        true => RawTerminal::enter(io::stdin().as_fd()).map_err(host("set up the terminal"))?,
        false => None,
    });
    let threads = VcpuThreads::start(vcpus, first).map_err(host("start a vCPU's thread"))?;
    let handles = threads.handles().to_vec();
    let show_registers = move || show_registers(&handles);

    let signals = Signals::take(first.clone(), terminal.clone(), show_registers.clone())
        .map_err(host("take signals"))?;
    events.add_subscriber(Box::new(signals));
    if interactive {
        let mut input = console.input().map_err(host("read standard input"))?;
        if terminal.is_some() {
            let first = Arc::clone(first);
            input = input.with_commands(move |command| match command {
                Command::Quit => first.report(Outcome::Quit),
                Command::Registers => show_registers(),
            });
            tell_user(EscapeKeys::HELP);
        }
        events.add_subscriber(Box::new(input));
    }
    let outcome = loop {
        match first.get() {
            Some(outcome) => break outcome,
            None => events.run().map_err(in_loop("wait for events"))?,
        };
    };
    console.output.begin_end();
    let statistics = threads.stop();
    if let Some(terminal) = &*terminal {
        terminal.suspend();
    }
    Ok((outcome, statistics))
}

type EventLoop = EventManager<Box<dyn MutEventSubscriber>>;

fn in_loop(what: &'static str) -> impl Fn(event_manager::Error) -> VmmError {
    move |error| VmmError::Host {
        what,
        source: io::Error::other(error),
    }
}

/// Wakes the event loop when there is an outcome.
struct Ended(Arc<FirstOutcome>);

impl MutEventSubscriber for Ended {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(self.0.event(), EventSet::IN)) {
            log::error!("cannot watch for the end: {error}");
        }
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        // Whoever runs the loop looks at the outcome.
        let _ = self.0.event().read();
    }
}

fn show_registers(vcpus: &[Handle]) {
    // Not waited for: one that waits for the console's reader shows them when it goes on.
    if let Err(error) = request_all(vcpus, VcpuRequest::ShowRegisters, Deadline::NEVER) {
        log::error!("cannot show the registers: {error}");
    }
}

fn tell_user(text: &str) {
    // A closed standard error is no reason not to run.
    let _ = writeln!(io::stderr(), "vmm-reference: {text}");
}

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

mod console;
mod error;
mod event_loop;
mod machine;
mod outputs;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvm_ioctls::Kvm;
use vcpu_runner::{Deadline, Statistics, Vcpu, request_all};
use vm_memory::GuestMemoryMmap;

use self::console::Console;
pub use self::error::VmmError;
use self::error::host;
use self::event_loop::EventLoop;
use crate::boot;
use crate::config::{NestedConfig, SerialConfig, VmmConfig};
use crate::kvm_device::{self, KVM_PATH};
use crate::layout;
use crate::memory;
use crate::outcome::{FirstOutcome, Outcome};
use crate::signals::Signals;
use crate::soft::{AlarmEvents, InterruptLine, SoftMachine};
use crate::summary::{self, Summary};
use crate::terminal::{Command, EscapeKeys, RawTerminal};
use crate::vcpu_handler::{MachineVcpu, VcpuHandler, VcpuRequest};
use crate::vcpu_threads::{Handle, Vcpus};

/// How long a reader of the console may take nothing at the end before the rest is given up.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(2);

/// Boots a kernel and lets it run to its end, on the calling thread, whose process's signals and
/// terminal it takes meanwhile.
///
/// # Errors
/// [`VmmError`], whose message is one line.
pub fn run(config: &VmmConfig) -> Result<Arc<Outcome>, VmmError> {
    run_on(config, Path::new(KVM_PATH))
}

/// Finds what is wrong with `config`, its files and its memory, as far as that can be told without KVM.
/// Changes nothing.
///
/// # Errors
/// Those that [`run`] would have.
pub fn check(config: &VmmConfig) -> Result<(), VmmError> {
    outputs::check(config)?;
    machine::check_ports(config)?;
    if let Some(path) = &config.summary {
        summary::check_path(path).map_err(VmmError::SummaryPath)?;
    }
    console::check(&config.serial)?;
    let memory = memory::create(&config.memory)?;
    boot::prepare(&memory, config)?;
    Ok(())
}

/// As [`run`], with another KVM than `/dev/kvm`.
///
/// # Errors
/// As [`run`].
pub fn run_on(config: &VmmConfig, kvm_path: &Path) -> Result<Arc<Outcome>, VmmError> {
    outputs::check(config)?;
    machine::check_ports(config)?;
    let kvm = kvm_device::open(kvm_path)?;
    let (num, max) = (config.vcpus.num, kvm.get_max_vcpus());
    if usize::from(num) > max {
        return Err(VmmError::TooManyVcpus { num, max });
    }
    if let Some(path) = &config.summary {
        summary::check_path(path).map_err(VmmError::SummaryPath)?;
    }
    let first = Arc::new(FirstOutcome::new().map_err(host("make an eventfd"))?);
    match &config.nested {
        None => run_with_kvm(config, &kvm, &first),
        Some(nested) => run_soft(config, *nested, &kvm, &first),
    }
}

/// KVM has the interrupt controllers.
fn run_with_kvm(
    config: &VmmConfig,
    kvm: &Kvm,
    first: &Arc<FirstOutcome>,
) -> Result<Arc<Outcome>, VmmError> {
    let (vm, vcpus) = machine::make_machine(config, kvm)?;
    let console = Console::open(&config.serial, first)?;
    vm.connect_interrupt(console.interrupt(), layout::COM1_IRQ)?;
    let ports = machine::make_ports(config, vm.memory(), &console.port, first)
        .map_err(host("connect the devices"))?;
    let ports = Arc::new(ports);
    let vcpus = vcpus
        .into_iter()
        .zip(0..)
        .map(|(vcpu, index)| {
            let memory = vm.memory().clone();
            let handler = VcpuHandler::new(index, ports.clone(), memory, first.clone());
            (vcpu, handler)
        })
        .collect();
    let vcpus = Vcpus::new(vcpus);
    // The signals are in its hands until all is written: one that comes again is no reason to lose it.
    let events = EventLoop::new(first.clone())?;
    run_and_report(config, &console, vcpus, vm.memory(), first, events)
}

/// The VMM has them, and VMX for the guest.
fn run_soft(
    config: &VmmConfig,
    nested: NestedConfig,
    kvm: &Kvm,
    first: &Arc<FirstOutcome>,
) -> Result<Arc<Outcome>, VmmError> {
    if config.vcpus.num != 1 {
        let num = config.vcpus.num;
        return Err(VmmError::NestedVcpus { num });
    }
    let SoftMachine {
        vcpu,
        chipset,
        alarm,
        vm,
    } = machine::make_soft_machine(config, nested, kvm)?;
    let console = Console::open(&config.serial, first)?;
    let mut ports = machine::make_ports(config, vm.memory(), &console.port, first)
        .map_err(host("connect the devices"))?;
    machine::add_chipset(&mut ports, &chipset).map_err(host("connect the devices"))?;
    let memory = vm.memory().clone();
    let handler =
        VcpuHandler::new(0, Arc::new(ports), memory, first.clone()).with_chipset(chipset.clone());
    let vcpus = Vcpus::new(vec![(vcpu, handler)]);
    let mut events = EventLoop::new(first.clone())?;
    let handles = vcpus.handles().to_vec();
    let wake = move || {
        for handle in &handles {
            // A vCPU that has ended needs no event.
            let _ = handle.request(VcpuRequest::Event);
        }
    };
    events.add(AlarmEvents::new(alarm, wake.clone()));
    let line = console
        .interrupt()
        .try_clone()
        .map_err(host("duplicate an eventfd"))?;
    events.add(InterruptLine::new(line, move || {
        chipset.pulse(layout::COM1_IRQ as u8);
        wake();
    }));
    run_and_report(config, &console, vcpus, vm.memory(), first, events)
}

/// Runs the machine to its end, and writes what is left to write.
fn run_and_report<V: MachineVcpu + Send + 'static>(
    config: &VmmConfig,
    console: &Console,
    vcpus: Vcpus<V>,
    memory: &GuestMemoryMmap,
    first: &Arc<FirstOutcome>,
    mut events: EventLoop,
) -> Result<Arc<Outcome>, VmmError> {
    let started = Instant::now();
    let (outcome, statistics) = run_until_end(config, console, vcpus, first, &mut events)?;
    let duration = started.elapsed();
    if let Err(left) = console.output.finish(OUTPUT_PATIENCE) {
        log::error!(
            "the console's reader takes nothing; {} bytes of output are lost",
            left.bytes
        );
    }
    if let Some(path) = &config.summary {
        Summary::new(&outcome, duration, memory, &statistics)
            .write(path)
            .map_err(VmmError::Summary)?;
    }
    Ok(outcome)
}

/// Runs the vCPUs until there is an outcome. They have stopped when this returns, and the terminal
/// is as it was.
fn run_until_end<V: MachineVcpu + Send + 'static>(
    config: &VmmConfig,
    console: &Console,
    vcpus: Vcpus<V>,
    first: &Arc<FirstOutcome>,
    events: &mut EventLoop,
) -> Result<(Arc<Outcome>, Vec<Statistics>), VmmError> {
    let handles = vcpus.handles().to_vec();
    let show_registers: Rc<dyn Fn()> = Rc::new(move || show_registers(&handles));

    // Before the terminal is changed: from here on no signal ends the VMM without putting it back.
    let signals = Signals::take().map_err(host("take signals"))?;
    let terminal = Rc::new(match config.serial {
        SerialConfig::Stdio => {
            RawTerminal::enter(io::stdin().as_fd()).map_err(host("set up the terminal"))?
        }
        SerialConfig::File(_) => None,
    });
    if config.serial == SerialConfig::Stdio {
        let mut input = console.input().map_err(host("read standard input"))?;
        if terminal.is_some() {
            let first = Arc::clone(first);
            let show_registers = Rc::clone(&show_registers);
            input = input.with_commands(move |command| match command {
                Command::Quit => first.report(Outcome::Quit),
                Command::Registers => show_registers(),
            });
            tell_user(EscapeKeys::HELP);
        }
        events.add(input);
    }
    events.add(signals.handled(first.clone(), terminal.clone(), move || show_registers()));

    let threads = vcpus.start(first).map_err(host("start a vCPU's thread"))?;
    let outcome = events.run();
    // Else a vCPU might wait for the console's reader instead of stopping.
    console.output.begin_end();
    let statistics = threads.stop();
    if let Some(terminal) = &*terminal {
        terminal.suspend();
    }
    Ok((outcome?, statistics))
}

fn show_registers<V: Vcpu>(vcpus: &[Handle<V>]) {
    // Not waited for: one that waits for the console's reader shows them when it goes on.
    if let Err(error) = request_all(vcpus, VcpuRequest::ShowRegisters, Deadline::NEVER) {
        log::error!("cannot show the registers: {error}");
    }
}

fn tell_user(text: &str) {
    // A closed standard error is no reason not to run.
    let _ = writeln!(io::stderr(), "vmm-reference: {text}");
}

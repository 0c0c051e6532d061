// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The parts of the machine, put together from the configuration.

use std::io;
use std::sync::Arc;

use kvm_ioctls::{Kvm, VcpuFd};
use vcpu_runner::kvm::KvmVcpu;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::error::VmmError;
use crate::config::{NestedConfig, VmmConfig};
use crate::devices::{
    AcpiPm, Cmos, DebugExit, FwCfg, I8042, PmAction, PortBus, SerialPort, SystemControl,
};
use crate::outcome::{FirstOutcome, Outcome};
use crate::soft::{Chipset, SoftMachine};
use crate::vcpu_setup::VcpuSetup;
use crate::vm::{Vm, ioctl};
use crate::{boot, layout, memory};

/// Makes the VM with its memory filled and its vCPUs set up, the first one at the kernel's entry.
pub(super) fn make_machine(config: &VmmConfig, kvm: &Kvm) -> Result<(Vm, Vec<KvmVcpu>), VmmError> {
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

/// The same with VMX in software.
pub(super) fn make_soft_machine(
    config: &VmmConfig,
    nested: NestedConfig,
    kvm: &Kvm,
) -> Result<SoftMachine, VmmError> {
    let memory = memory::create(&config.memory)?;
    let entry = boot::prepare(&memory, config)?;
    let begin = |vcpu: &VcpuFd| entry.configure(vcpu).map_err(ioctl("KVM_SET_REGS"));
    Ok(SoftMachine::new(kvm, memory, nested.catch, begin)?)
}

/// Puts the VMM's own interrupt controllers and its timer on the bus.
pub(super) fn add_chipset(ports: &mut PortBus, chipset: &Arc<Chipset>) -> io::Result<()> {
    for range in layout::CHIPSET_PORTS {
        let count = range.end() - range.start() + 1;
        ports
            .register(*range.start(), count, chipset.clone())
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// Is the debug exit port nobody else's?
pub(super) fn check_ports(config: &VmmConfig) -> Result<(), VmmError> {
    let Some(port) = config.debug_exit else {
        return Ok(());
    };
    let last = port.saturating_add(DebugExit::PORTS - 1);
    for (ports, device) in layout::PORTS {
        if port <= *ports.end() && *ports.start() <= last {
            return Err(VmmError::DebugExitPort { port, last, device });
        }
    }
    Ok(())
}

/// Makes the devices and puts them on the bus.
pub(super) fn make_ports(
    config: &VmmConfig,
    memory: &GuestMemoryMmap,
    serial: &Arc<SerialPort>,
    first: &Arc<FirstOutcome>,
) -> io::Result<PortBus> {
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
    let reporting = Arc::clone(first);
    let control = SystemControl::new(move || reporting.report(Outcome::Reset));
    let gap = layout::MMIO_GAP;
    let ends = memory.iter().map(layout::end_of);
    let (low, high): (Vec<_>, Vec<_>) = ends.partition(|end| *end <= gap.start);
    let low_end = low.into_iter().max().unwrap_or(0);
    let high = high.into_iter().max().unwrap_or(0);
    let cmos = Cmos::new(low_end, high.saturating_sub(gap.end));
    let mut ports = PortBus::new();
    let mut register = |port, count, device| {
        ports
            .register(port, count, device)
            .map_err(io::Error::other)
    };
    register(layout::COM1_PORT, SerialPort::PORTS, serial.clone())?;
    register(layout::I8042_DATA_PORT, 1, i8042.clone())?;
    register(layout::I8042_COMMAND_PORT, 1, i8042)?;
    register(layout::ACPI_PM_PORT, AcpiPm::PORTS, Arc::new(acpi))?;
    register(layout::CMOS_PORT, Cmos::PORTS, Arc::new(cmos))?;
    let size = memory.iter().map(|region| region.len()).sum();
    let fw_cfg = Arc::new(FwCfg::new(size, config.vcpus.num));
    register(layout::FW_CFG_PORT, FwCfg::PORTS, fw_cfg)?;
    let control = Arc::new(control);
    register(layout::SYSTEM_CONTROL_PORT, SystemControl::PORTS, control)?;
    if let Some(port) = config.debug_exit {
        let reporting = Arc::clone(first);
        let device = DebugExit::new(move |value| reporting.report(Outcome::DebugExit { value }));
        register(port, DebugExit::PORTS, Arc::new(device))?;
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::io::sink;

    use proptest::prelude::*;
    use vmm_sys_util::eventfd::EventFd;

    use super::*;
    use crate::devices::ConsoleOutput;

    fn ports() -> (PortBus, Arc<FirstOutcome>) {
        let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let output = ConsoleOutput::start(sink(), |error| panic!("{error}")).unwrap();
        let serial = Arc::new(SerialPort::new(event(), output, event()));
        let first = Arc::new(FirstOutcome::new().unwrap());
        let mut config = VmmConfig::new("kernel");
        config.memory.size_mib = 16;
        config.debug_exit = Some(0xf4);
        let memory = memory::create(&config.memory).unwrap();
        (
            make_ports(&config, &memory, &serial, &first).unwrap(),
            first,
        )
    }

    fn read(ports: &PortBus, port: u16, size: u8) -> u32 {
        let mut data = [0; 4];
        ports.read(port, size, &mut data[..usize::from(size)]);
        u32::from_le_bytes(data)
    }

    /// Small programs poll and probe these, and would wait for ever for another answer.
    #[test]
    fn a_program_finds_a_pc() {
        let (ports, first) = ports();
        assert_eq!(read(&ports, 0x3fd, 1), 0x60, "serial: room to send");
        assert_eq!(read(&ports, 0x64, 1), 0, "keyboard: nothing, not busy");
        assert_eq!(read(&ports, 0x92, 1), 2, "A20: on");
        assert_eq!(read(&ports, 0x80, 1), 0xff);
        ports.write(0x80, 1, &[1]);
        ports.write(0xcf8, 4, &0x8000_0000u32.to_le_bytes());
        assert_eq!(read(&ports, 0xcfc, 4), u32::MAX, "PCI: no device");
        ports.write(0x70, 1, &[0x30]);
        assert_eq!(read(&ports, 0x71, 1), 0x00);
        ports.write(0x70, 1, &[0x31]);
        assert_eq!(read(&ports, 0x71, 1), 0x3c, "CMOS: 15 MiB above 1 MiB");
        ports.write(0x510, 2, &[5, 0]);
        assert_eq!(read(&ports, 0x511, 1), 1, "one processor");
        assert!(!first.is_reported());
        ports.write(0xf4, 4, &[5, 0, 0, 0]);
        assert!(matches!(
            *first.get().unwrap(),
            Outcome::DebugExit { value: 5 }
        ));
    }

    #[test]
    fn the_debug_exit_port_is_nobody_elses() {
        let check = |port| {
            let mut config = VmmConfig::new("kernel");
            config.debug_exit = Some(port);
            check_ports(&config).map_err(|error| error.to_string())
        };
        for port in [0, 0x80, 0xf4, 0x501, 0x400, 0xfffc] {
            assert_eq!(check(port), Ok(()), "{port:#x}");
        }
        for (port, device) in [
            (0x1d, "interrupt controller"),
            (0x3f5, "serial port"),
            (0x3ff, "serial port"),
            (0x5e, "timer"),
            (0x64, "keyboard controller"),
            (0x90, "system control port"),
            (0x606, "power management"),
        ] {
            assert!(check(port).unwrap_err().contains(device), "{port:#x}");
        }
    }

    /// Whatever has a device is in the list of those that are taken.
    #[test]
    fn all_ports_with_a_device_are_in_the_list() {
        let (mut bus, _) = ports();
        let device = Arc::new(DebugExit::new(|_| {}));
        for port in 0..0x1000 {
            if bus.register(port, 1, device.clone()).is_err() {
                let taken = layout::PORTS.iter().any(|(ports, _)| ports.contains(&port));
                assert!(taken || (0xf4..0xf8).contains(&port), "{port:#x}");
            }
        }
    }

    /// Ports with a device, their neighbours, and any.
    fn port() -> impl Strategy<Value = u16> {
        prop_oneof![
            0x3f0..0x408u16,
            0x5c..0x68u16,
            0x5fe..0x60au16,
            0x6e..0x74u16,
            0x90..0xfau16,
            any::<u16>()
        ]
    }

    #[derive(Clone, Debug)]
    struct Access {
        port: u16,
        size: u8,
        data: Vec<u8>,
        is_write: bool,
    }

    fn access() -> impl Strategy<Value = Access> {
        let data = prop::collection::vec(any::<u8>(), 0..64);
        (port(), any::<u8>(), data, any::<bool>()).prop_map(|(port, size, data, is_write)| Access {
            port,
            size,
            data,
            is_write,
        })
    }

    proptest! {
        /// No panic, no wait, and no end but those that a guest may ask for.
        #[test]
        fn a_hostile_guest_gets_an_answer(accesses in prop::collection::vec(access(), 0..64)) {
            let (ports, first) = ports();
            for Access { port, size, mut data, is_write } in accesses {
                match is_write {
                    true => ports.write(port, size, &data),
                    false => ports.read(port, size, &mut data),
                }
            }
            let outcome = first.get();
            prop_assert!(outcome.is_none_or(|outcome| outcome.is_the_guests_own()));
        }
    }
}

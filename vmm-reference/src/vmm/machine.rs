// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The parts of the machine, put together from the configuration.

use std::io;
use std::sync::Arc;

use kvm_ioctls::Kvm;
use vcpu_runner::kvm::KvmVcpu;

use super::error::VmmError;
use crate::config::VmmConfig;
use crate::devices::{AcpiPm, I8042, PmAction, PortBus, SerialPort};
use crate::outcome::{FirstOutcome, Outcome};
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

/// Makes the devices and puts them on the bus.
pub(super) fn make_ports(
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
        (make_ports(&serial, &first).unwrap(), first)
    }

    /// Ports with a device, their neighbours, and any.
    fn port() -> impl Strategy<Value = u16> {
        prop_oneof![
            0x3f0..0x408u16,
            0x5c..0x68u16,
            0x5fe..0x60au16,
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
            prop_assert!(matches!(outcome.as_deref(), None | Some(Outcome::PowerOff | Outcome::Reset)));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From `struct kvm_run` to [`Exit`] (KVM's `api.rst`, section 5).
//!
//! Lengths and offsets that KVM wrote are checked against the mapping like anybody else's.

use std::mem::{offset_of, size_of};

use kvm_bindings::*;

use super::run_area::{EXIT_DATA, RunArea};
use crate::{DebugExit, Exit, RunAreaDefect};

type FailEntry = kvm_run__bindgen_ty_1__bindgen_ty_2;
type Io = kvm_run__bindgen_ty_1__bindgen_ty_4;
type Debug = kvm_run__bindgen_ty_1__bindgen_ty_5;
type Mmio = kvm_run__bindgen_ty_1__bindgen_ty_6;
type Hypercall = kvm_run__bindgen_ty_1__bindgen_ty_8;
type Internal = kvm_run__bindgen_ty_1__bindgen_ty_13;
type SystemEvent = kvm_run__bindgen_ty_1__bindgen_ty_19;
type Eoi = kvm_run__bindgen_ty_1__bindgen_ty_21;
type Msr = kvm_run__bindgen_ty_1__bindgen_ty_23;
type MemoryFault = kvm_run__bindgen_ty_1__bindgen_ty_27;

/// Most bytes of one MMIO access.
const MMIO_MAX: u32 = 8;
/// Most words in `internal.data` and `system_event.data`.
const WORDS_MAX: u32 = 16;

/// `kvm_run.exit_reason`, a KVM_EXIT_* number.
pub(super) fn exit_reason(area: &RunArea) -> Result<u32, RunAreaDefect> {
    area.u32(offset_of!(kvm_run, exit_reason))
}

/// The exit that KVM_RUN left in `area`.
pub(super) fn exit(area: &mut RunArea) -> Result<Exit<'_>, RunAreaDefect> {
    let reason = exit_reason(area)?;
    Ok(match reason {
        KVM_EXIT_IO => return io(area),
        KVM_EXIT_MMIO => return mmio(area),
        KVM_EXIT_HLT => Exit::Hlt,
        KVM_EXIT_SHUTDOWN => Exit::Shutdown,
        KVM_EXIT_IRQ_WINDOW_OPEN => Exit::IrqWindowOpen,
        KVM_EXIT_FAIL_ENTRY => Exit::FailEntry {
            reason: area.u64(EXIT_DATA + offset_of!(FailEntry, hardware_entry_failure_reason))?,
            cpu: area.u32(EXIT_DATA + offset_of!(FailEntry, cpu))?,
        },
        KVM_EXIT_IOAPIC_EOI => Exit::IoapicEoi {
            vector: area.u8(EXIT_DATA + offset_of!(Eoi, vector))?,
        },
        KVM_EXIT_DEBUG => Exit::Debug(debug(area)?),
        KVM_EXIT_INTERNAL_ERROR => Exit::InternalError {
            suberror: area.u32(EXIT_DATA + offset_of!(Internal, suberror))?,
            data: words(
                area,
                offset_of!(Internal, ndata),
                offset_of!(Internal, data),
            )?,
        },
        KVM_EXIT_SYSTEM_EVENT => Exit::SystemEvent {
            kind: area.u32(EXIT_DATA + offset_of!(SystemEvent, type_))?,
            // Without KVM_CAP_SYSTEM_EVENT_DATA the count is padding and may be anything; an event
            // is not to be lost for that.
            data: words(
                area,
                offset_of!(SystemEvent, ndata),
                offset_of!(SystemEvent, __bindgen_anon_1),
            )
            .unwrap_or_default(),
        },
        KVM_EXIT_HYPERCALL => return hypercall(area),
        KVM_EXIT_X86_RDMSR => return read_msr(area),
        KVM_EXIT_X86_WRMSR => return write_msr(area),
        KVM_EXIT_MEMORY_FAULT => Exit::MemoryFault {
            flags: area.u64(EXIT_DATA + offset_of!(MemoryFault, flags))?,
            address: area.u64(EXIT_DATA + offset_of!(MemoryFault, gpa))?,
            size: area.u64(EXIT_DATA + offset_of!(MemoryFault, size))?,
        },
        reason => Exit::Other { reason },
    })
}

fn io(area: &mut RunArea) -> Result<Exit<'_>, RunAreaDefect> {
    let direction = area.u8(EXIT_DATA + offset_of!(Io, direction))?;
    let size = area.u8(EXIT_DATA + offset_of!(Io, size))?;
    let port = area.u16(EXIT_DATA + offset_of!(Io, port))?;
    let count = area.u32(EXIT_DATA + offset_of!(Io, count))?;
    let offset = area.u64(EXIT_DATA + offset_of!(Io, data_offset))?;
    if !matches!(size, 1 | 2 | 4) {
        return Err(RunAreaDefect::AccessSize(size.into()));
    }
    let len = u64::from(count) * u64::from(size);
    let outside = RunAreaDefect::DataOutside { offset, len };
    let data = area.bytes(
        usize::try_from(offset).map_err(|_| outside)?,
        usize::try_from(len).map_err(|_| outside)?,
    )?;
    match u32::from(direction) {
        KVM_EXIT_IO_IN => Ok(Exit::IoIn { port, size, data }),
        KVM_EXIT_IO_OUT => Ok(Exit::IoOut { port, size, data }),
        _ => Err(RunAreaDefect::Direction(direction)),
    }
}

fn mmio(area: &mut RunArea) -> Result<Exit<'_>, RunAreaDefect> {
    let address = area.u64(EXIT_DATA + offset_of!(Mmio, phys_addr))?;
    let len = area.u32(EXIT_DATA + offset_of!(Mmio, len))?;
    let is_write = area.u8(EXIT_DATA + offset_of!(Mmio, is_write))?;
    if len > MMIO_MAX {
        return Err(RunAreaDefect::AccessSize(len));
    }
    let data = area.bytes(EXIT_DATA + offset_of!(Mmio, data), len as usize)?;
    Ok(match is_write {
        0 => Exit::MmioRead { address, data },
        _ => Exit::MmioWrite { address, data },
    })
}

/// What the debug exit in `area` says; `None` where the exit is another one.
pub(super) fn debug_exit(area: &RunArea) -> Result<Option<DebugExit>, RunAreaDefect> {
    match exit_reason(area)? {
        KVM_EXIT_DEBUG => debug(area).map(Some),
        _ => Ok(None),
    }
}

fn debug(area: &RunArea) -> Result<DebugExit, RunAreaDefect> {
    let arch = EXIT_DATA + offset_of!(Debug, arch);
    Ok(DebugExit {
        exception: area.u32(arch + offset_of!(kvm_debug_exit_arch, exception))?,
        pc: area.u64(arch + offset_of!(kvm_debug_exit_arch, pc))?,
        dr6: area.u64(arch + offset_of!(kvm_debug_exit_arch, dr6))?,
        dr7: area.u64(arch + offset_of!(kvm_debug_exit_arch, dr7))?,
    })
}

/// The words at `data`, as many as the u32 at `count` says.
fn words(area: &mut RunArea, count: usize, data: usize) -> Result<&[u64], RunAreaDefect> {
    let count = area.u32(EXIT_DATA + count)?;
    if count > WORDS_MAX {
        return Err(RunAreaDefect::Words(count));
    }
    area.words(EXIT_DATA + data, count as usize)
        .map(|words| &*words)
}

fn hypercall(area: &mut RunArea) -> Result<Exit<'_>, RunAreaDefect> {
    let number = area.u64(EXIT_DATA + offset_of!(Hypercall, nr))?;
    let first = offset_of!(Hypercall, args);
    const ARGS: usize = 6;
    let mut args = [0; ARGS];
    args.copy_from_slice(area.words(EXIT_DATA + first, ARGS)?);
    let result = area.bytes(EXIT_DATA + offset_of!(Hypercall, ret), 8)?;
    let result = result.first_chunk_mut().ok_or(RunAreaDefect::TooSmall(8))?;
    Ok(Exit::Hypercall {
        number,
        args,
        result,
    })
}

/// `kvm_run.msr`, in parts that can be borrowed at once.
struct MsrExit<'a> {
    index: u32,
    reason: u32,
    error: &'a mut u8,
    value: &'a mut [u8; 8],
}

fn msr(area: &mut RunArea) -> Result<MsrExit<'_>, RunAreaDefect> {
    const ERROR: usize = offset_of!(Msr, error);
    const VALUE: usize = offset_of!(Msr, data);
    const { assert!(ERROR < VALUE) };
    let len = size_of::<Msr>();
    let index = area.u32(EXIT_DATA + offset_of!(Msr, index))?;
    let reason = area.u32(EXIT_DATA + offset_of!(Msr, reason))?;
    let (head, tail) = area.bytes(EXIT_DATA, len)?.split_at_mut(VALUE);
    match (head.get_mut(ERROR), tail.first_chunk_mut()) {
        (Some(error), Some(value)) => Ok(MsrExit {
            index,
            reason,
            error,
            value,
        }),
        _ => Err(RunAreaDefect::TooSmall(len)),
    }
}

fn read_msr(area: &mut RunArea) -> Result<Exit<'_>, RunAreaDefect> {
    let msr = msr(area)?;
    Ok(Exit::ReadMsr {
        index: msr.index,
        reason: msr.reason,
        value: msr.value,
        error: msr.error,
    })
}

fn write_msr(area: &mut RunArea) -> Result<Exit<'_>, RunAreaDefect> {
    let msr = msr(area)?;
    Ok(Exit::WriteMsr {
        index: msr.index,
        reason: msr.reason,
        value: u64::from_le_bytes(*msr.value),
        error: msr.error,
    })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::ExitKind;
    use proptest::prelude::*;

    const AREA: usize = 3 * 4096;
    const REASON: usize = offset_of!(kvm_run, exit_reason);

    fn area(reason: u32) -> RunArea {
        let mut area = RunArea::of_zeroes(AREA).unwrap();
        area.put(REASON, &reason.to_ne_bytes());
        area
    }

    fn put_io(area: &mut RunArea, direction: u8, size: u8, count: u32, offset: u64) {
        area.put(EXIT_DATA + offset_of!(Io, direction), &[direction]);
        area.put(EXIT_DATA + offset_of!(Io, size), &[size]);
        area.put(EXIT_DATA + offset_of!(Io, port), &0x3f8_u16.to_ne_bytes());
        area.put(EXIT_DATA + offset_of!(Io, count), &count.to_ne_bytes());
        area.put(
            EXIT_DATA + offset_of!(Io, data_offset),
            &offset.to_ne_bytes(),
        );
    }

    #[test]
    fn port_io_lends_the_data_where_kvm_put_them() {
        let mut area = area(KVM_EXIT_IO);
        put_io(&mut area, 1, 2, 3, 4096);
        area.put(4096, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(
            exit(&mut area).unwrap(),
            Exit::IoOut {
                port: 0x3f8,
                size: 2,
                data: &[1, 2, 3, 4, 5, 6],
            }
        );
        put_io(&mut area, 0, 1, 1, 4096);
        match exit(&mut area).unwrap() {
            Exit::IoIn { data, .. } => data.copy_from_slice(&[0xa5]),
            other => panic!("{other:?}"),
        }
        assert_eq!(area.u8(4096).unwrap(), 0xa5);
    }

    #[test]
    fn port_io_that_makes_no_sense_is_refused() {
        for (direction, size, count, offset, defect) in [
            (2, 1, 1, 4096, RunAreaDefect::Direction(2)),
            (1, 3, 1, 4096, RunAreaDefect::AccessSize(3)),
            (1, 0, 1, 4096, RunAreaDefect::AccessSize(0)),
            (
                1,
                4,
                u32::MAX,
                4096,
                RunAreaDefect::DataOutside {
                    offset: 4096,
                    len: 4 * u64::from(u32::MAX),
                },
            ),
            (1, 1, 1, 0, RunAreaDefect::DataOutside { offset: 0, len: 1 }),
            (
                1,
                1,
                1,
                u64::MAX,
                RunAreaDefect::DataOutside {
                    offset: u64::MAX,
                    len: 1,
                },
            ),
        ] {
            let mut area = area(KVM_EXIT_IO);
            put_io(&mut area, direction, size, count, offset);
            assert_eq!(exit(&mut area), Err(defect));
        }
    }

    #[test]
    fn mmio_has_at_most_eight_bytes() {
        let mut area = area(KVM_EXIT_MMIO);
        area.put(EXIT_DATA, &0xfee0_0000_u64.to_ne_bytes());
        area.put(EXIT_DATA + offset_of!(Mmio, data), &[9; 8]);
        area.put(EXIT_DATA + offset_of!(Mmio, is_write), &[1]);
        area.put(EXIT_DATA + offset_of!(Mmio, len), &8_u32.to_ne_bytes());
        assert_eq!(
            exit(&mut area).unwrap(),
            Exit::MmioWrite {
                address: 0xfee0_0000,
                data: &[9; 8],
            }
        );
        area.put(EXIT_DATA + offset_of!(Mmio, len), &9_u32.to_ne_bytes());
        assert_eq!(exit(&mut area), Err(RunAreaDefect::AccessSize(9)));
    }

    #[test]
    fn an_internal_error_brings_its_data() {
        let mut area = area(KVM_EXIT_INTERNAL_ERROR);
        area.put(EXIT_DATA, &1_u32.to_ne_bytes());
        area.put(
            EXIT_DATA + offset_of!(Internal, ndata),
            &2_u32.to_ne_bytes(),
        );
        area.put(EXIT_DATA + offset_of!(Internal, data), &7_u64.to_ne_bytes());
        assert_eq!(
            exit(&mut area).unwrap(),
            Exit::InternalError {
                suberror: 1,
                data: &[7, 0],
            }
        );
        area.put(
            EXIT_DATA + offset_of!(Internal, ndata),
            &17_u32.to_ne_bytes(),
        );
        assert_eq!(exit(&mut area), Err(RunAreaDefect::Words(17)));
    }

    #[test]
    fn an_msr_read_is_answered_in_place() {
        let mut area = area(KVM_EXIT_X86_RDMSR);
        area.put(EXIT_DATA + offset_of!(Msr, index), &0x10_u32.to_ne_bytes());
        match exit(&mut area).unwrap() {
            Exit::ReadMsr {
                index: 0x10,
                value,
                error,
                ..
            } => {
                *value = 5_u64.to_le_bytes();
                *error = 1;
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(area.u64(EXIT_DATA + offset_of!(Msr, data)).unwrap(), 5);
        assert_eq!(area.u8(EXIT_DATA + offset_of!(Msr, error)).unwrap(), 1);
    }

    /// KVM_EXIT_* and what it is here, with all data zero.
    #[test]
    fn each_exit_reason_has_its_kind() {
        for (reason, kind) in [
            (KVM_EXIT_MMIO, ExitKind::MmioRead),
            (KVM_EXIT_HLT, ExitKind::Hlt),
            (KVM_EXIT_SHUTDOWN, ExitKind::Shutdown),
            (KVM_EXIT_IRQ_WINDOW_OPEN, ExitKind::IrqWindowOpen),
            (KVM_EXIT_FAIL_ENTRY, ExitKind::FailEntry),
            (KVM_EXIT_IOAPIC_EOI, ExitKind::IoapicEoi),
            (KVM_EXIT_DEBUG, ExitKind::Debug),
            (KVM_EXIT_INTERNAL_ERROR, ExitKind::InternalError),
            (KVM_EXIT_SYSTEM_EVENT, ExitKind::SystemEvent),
            (KVM_EXIT_HYPERCALL, ExitKind::Hypercall),
            (KVM_EXIT_X86_RDMSR, ExitKind::ReadMsr),
            (KVM_EXIT_X86_WRMSR, ExitKind::WriteMsr),
            (KVM_EXIT_MEMORY_FAULT, ExitKind::MemoryFault),
            (KVM_EXIT_UNKNOWN, ExitKind::Other),
            (KVM_EXIT_XEN, ExitKind::Other),
            (u32::MAX, ExitKind::Other),
        ] {
            let mut area = area(reason);
            assert_eq!(exit(&mut area).unwrap().kind(), kind, "{reason}");
        }
        let mut area = area(KVM_EXIT_IO);
        put_io(&mut area, 0, 1, 1, 4096);
        assert_eq!(exit(&mut area).unwrap().kind(), ExitKind::IoIn);
        put_io(&mut area, 1, 1, 1, 4096);
        assert_eq!(exit(&mut area).unwrap().kind(), ExitKind::IoOut);
    }

    proptest! {
        #[test]
        fn whatever_kvm_writes_is_an_exit_or_an_error(
            reason in 0_u32..48,
            data in proptest::collection::vec(any::<u8>(), 256),
        ) {
            let mut area = area(reason);
            area.put(EXIT_DATA, &data);
            if let Ok(exit) = exit(&mut area) {
                let _ = format!("{exit:?}");
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! I/O instructions (SDM volume 3, sections 26.6.4, 27.1.3 and table 29-5).

use super::Exit;
use crate::controls::PrimaryControls;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// Whether L1 wants the access to exit.
pub(super) fn exits(exit: &Exit, vmcs12: &Vmcs, memory: &dyn L1Memory) -> bool {
    let primary = vmcs12.primary();
    if !primary.contains(PrimaryControls::USE_IO_BITMAPS) {
        return primary.contains(PrimaryControls::UNCONDITIONAL_IO_EXITING);
    }
    let port = exit.qualification >> 16 & 0xffff;
    let size = (exit.qualification & 7) + 1;
    let end = port + size;
    // An access that wraps around the port space always exits.
    end > 0x1_0000 || (port..end).any(|port| is_set(port, vmcs12, memory))
}

/// The port's bit: bitmap A has the ports below 0x8000, B the others. A bitmap that is not memory
/// is L1's mistake, so the exit is L1's.
fn is_set(port: u64, vmcs12: &Vmcs, memory: &dyn L1Memory) -> bool {
    let bitmap = match port {
        0..0x8000 => vmcs12.io_bitmap_a(),
        _ => vmcs12.io_bitmap_b(),
    };
    let port = port & 0x7fff;
    let mut byte = [0; 1];
    let Some(address) = bitmap.checked_add(port >> 3) else {
        return true;
    };
    memory.read(address, &mut byte).is_err() || byte[0] >> (port & 7) & 1 != 0
}

#[cfg(all(test, feature = "model"))]
mod tests {
    use super::*;
    use crate::exit_reason::ExitReason;
    use crate::model::ModelMemory;
    use crate::vmcs::{Field, KVM_REVISION};

    /// Bitmap A at 0x1000, B at 0x2000.
    fn with_bitmaps() -> (Vmcs, ModelMemory) {
        let mut vmcs12 = Vmcs::new(KVM_REVISION);
        let controls = PrimaryControls::USE_IO_BITMAPS.bits();
        vmcs12.write(Field::CpuBasedVmExecControl, controls.into());
        vmcs12.write(Field::IoBitmapA, 0x1000);
        vmcs12.write(Field::IoBitmapB, 0x2000);
        (vmcs12, ModelMemory::new(0x3000))
    }

    fn access(port: u64, size: u64) -> Exit {
        Exit {
            qualification: port << 16 | (size - 1),
            ..Exit::new(ExitReason::IO_INSTRUCTION)
        }
    }

    #[test]
    fn each_port_has_its_bit() {
        let (vmcs12, memory) = with_bitmaps();
        for port in [0, 7, 0x3f8, 0x7fff, 0x8000, 0xffff] {
            assert!(!exits(&access(port, 1), &vmcs12, &memory));
            let address = 0x1000 + (port >> 3);
            memory.write(address, &[1 << (port & 7)]).unwrap();
            for other in [0, 7, 0x3f8, 0x7fff, 0x8000, 0xffff] {
                let exits = exits(&access(other, 1), &vmcs12, &memory);
                assert_eq!(exits, other == port, "{other:#x}, {port:#x}");
            }
            memory.write(address, &[0]).unwrap();
        }
    }

    #[test]
    fn every_byte_of_an_access_counts() {
        let (vmcs12, memory) = with_bitmaps();
        // Port 0x8000, the first one of bitmap B.
        memory.write(0x2000, &[1]).unwrap();
        assert!(exits(&access(0x7fff, 2), &vmcs12, &memory));
        assert!(exits(&access(0x7ffd, 4), &vmcs12, &memory));
        assert!(!exits(&access(0x7ffc, 4), &vmcs12, &memory));
        assert!(exits(&access(0xffff, 2), &vmcs12, &memory), "wraps");
        assert!(!exits(&access(0xfffe, 2), &vmcs12, &memory));
    }

    #[test]
    fn a_bitmap_that_is_not_memory_exits() {
        let (mut vmcs12, memory) = with_bitmaps();
        for address in [0x3000, !0xfff] {
            vmcs12.write(Field::IoBitmapA, address);
            assert!(exits(&access(0, 1), &vmcs12, &memory));
            assert!(!exits(&access(0x8000, 1), &vmcs12, &memory));
        }
    }
}

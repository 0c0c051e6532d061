// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Single instructions of L1's that the processor executes.

use iced_x86::Mnemonic;

use super::engine::{Came, Limit};
use super::error::SoftError;
use super::instruction::{Fetched, Kind, near_return};
use super::l2_events::PushedFrame;
use super::vcpu::{Activity, Behind, Io, Out, SoftVcpu};
use super::world::World;
use crate::operand::Mode;
use crate::registers::{interruptibility, rflags};

impl<W: World> SoftVcpu<W> {
    /// The processor executes one instruction at which L1 stops.
    pub(crate) fn execute_natively(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        use Mnemonic as M;
        if matches!(
            fetched.instruction.mnemonic(),
            M::Sysret | M::Sysretq | M::Sysexit | M::Sysexitq
        ) {
            return self.return_to_user_code(fetched);
        }
        self.statistics.l1_steps += 1;
        let limit = self.stop_behind(fetched);
        let before = self.state.clone();
        let stopped = self.sites.lift(self.world.memory(), fetched.physical);
        self.whole.write(&mut self.state)?;
        let came = self.whole.one(limit)?;
        if stopped {
            self.sites.set(self.world.memory(), fetched.physical);
        }
        if matches!(came, Came::Vmm | Came::Undelivered) {
            self.io = Io::Pending(Behind::Nothing);
            return Ok(Some(Out::Exit));
        }
        self.whole.read(&mut self.state)?;
        if matches!(fetched.kind(), Kind::Wrmsr | Kind::MovDr { .. }) {
            self.whole.read_slow(&mut self.state)?;
        }
        let out = match came {
            Came::Halt if self.back_to_stop(limit) => None,
            Came::Halt if self.is_behind_halt() => {
                self.activity = Activity::Halted;
                None
            }
            Came::Shutdown => Some(Out::Shutdown),
            Came::Emulation => return self.emulate(),
            _ => {
                // A step that ends behind a stop has gone over it, unless it was this very one.
                if self.state.rip() != before.rip().wrapping_add(fetched.length()) {
                    self.back_to_stop(limit);
                }
                None
            }
        };
        let frame = self.pushed_frame(&before, fetched.length());
        self.hide_step(fetched, limit, &before, frame);
        self.state.end_shadow();
        Ok(out)
    }

    /// Takes the flag of a step out of what the guest has pushed meanwhile, and leaves it its own.
    pub(crate) fn hide_step(
        &mut self,
        fetched: &Fetched,
        limit: Limit,
        before: &super::state::CpuState,
        frame: Option<PushedFrame>,
    ) {
        if before.rflags() & rflags::TF != 0 {
            // KVM takes the guest's own flag away with that of its step. What changes it is not stepped.
            if limit == Limit::Step && frame.is_none() {
                self.state.set_rflags(self.state.rflags() | rflags::TF);
            }
            return;
        }
        let at = match fetched.kind() {
            Kind::Pushf => Some(self.state.rsp()),
            _ => frame.map(|frame| frame.flags_at),
        };
        let Some(at) = at else {
            return;
        };
        let at = super::exits::segment_base(iced_x86::Register::SS, &self.state).wrapping_add(at);
        self.with_space(|_, space| {
            let mut flags = [0; 2];
            if space.read(at, &mut flags).is_ok() {
                let value = u16::from_le_bytes(flags) & !(rflags::TF as u16);
                let _ = space.write(at, &value.to_le_bytes());
            }
        });
    }

    /// An instruction behind which only the processor knows where L1 goes on.
    pub(super) fn leave_region(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        if self.state.mode() == Mode::Bits64
            && let Some(released) = near_return(&fetched.instruction)
        {
            let rsp = self.state.rsp();
            let mut target = [0; 8];
            let read = self.with_space(|_, space| space.read(rsp, &mut target));
            if read.is_ok() {
                self.state.set_rip(u64::from_le_bytes(target));
                self.state
                    .set_rsp(rsp.wrapping_add(8).wrapping_add(released.into()));
                self.state.end_shadow();
                return Ok(None);
            }
        }
        self.execute_natively(fetched)
    }

    /// IRET ends the blocking of NMIs. To user code it is not stepped, since not every KVM steps
    /// that.
    pub(super) fn iret(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        self.state
            .set_blocking(self.state.blocking() & !interruptibility::NMI);
        let size = match self.state.mode() {
            Mode::Bits64 if fetched.instruction.mnemonic() == Mnemonic::Iretq => 8,
            Mode::Bits16 => 2,
            _ => 4,
        };
        let stack = super::exits::segment_base(iced_x86::Register::SS, &self.state);
        let selector_at = stack.wrapping_add(self.state.rsp()).wrapping_add(size);
        let mut selector = [0; 2];
        let read = self.with_space(|_, space| space.read(selector_at, &mut selector));
        let to_user = read.is_ok() && self.state.is_protected() && selector[0] & 3 == 3;
        if !to_user {
            return self.execute_natively(fetched);
        }
        self.return_to_user_code(fetched)
    }

    /// An instruction that goes to user code, which is not stepped.
    fn return_to_user_code(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        self.enter_user_code();
        let stopped = self.sites.lift(self.world.memory(), fetched.physical);
        let out = self.let_l1_run();
        if stopped {
            self.sites.set(self.world.memory(), fetched.physical);
        }
        out
    }
}

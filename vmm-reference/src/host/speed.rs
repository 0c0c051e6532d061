// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How fast guest kernel code runs: a loop of a known number of instructions, timed in a guest and
//! on the host itself.

use std::arch::asm;
use std::time::{Duration, Instant};

use kvm_ioctls::Kvm;
use vcpu_runner::kvm::{ProbeError, ProbeExit, ProbeGuest};

/// dec rcx; jnz to itself; hlt.
const LOOP: [u8; 6] = [0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4];
const INSTRUCTIONS_PER_ROUND: u64 = 2;

/// A run that is this long drowns what entering the guest costs (some microseconds).
const LONG_ENOUGH: Duration = Duration::from_millis(20);
/// Where to begin: half a millisecond even where an instruction takes 500 ns.
const FIRST_ROUNDS: u64 = 500;
/// No more, whatever the clock says.
const MOST_ROUNDS: u64 = 1 << 27;
/// The fastest of so many runs counts: others may have had the processor in the slower ones.
const RUNS: usize = 3;

/// KVM runs guest kernels natively if an instruction takes less than this many nanoseconds ...
///
/// Hardware runs one in under 1 ns, a processor that is itself emulated in 1 to 60 ns; KVM's own
/// instruction emulator needs about 500 ns. Speed matters by itself, too: a stock kernel executes
/// some 2 billion instructions on its way to init, which at 500 ns each are more than a quarter of
/// an hour.
const NATIVE_BELOW_NS: f64 = 100.0;

/// ... or less than this many times as long as on the host.
///
/// A slow host, or a busy one, is slow in both. Seen: 1 on hardware, up to 15 where the processor is
/// itself emulated, 1000 and more where KVM emulates, as its emulator spends some hundred
/// instructions on each.
const NATIVE_BELOW_RATIO: f64 = 100.0;

/// Nanoseconds per instruction, of the same loop.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// In ring 0 of a guest.
    pub guest_ns: f64,
    /// On the host.
    pub host_ns: f64,
}

impl Speed {
    /// Measures both.
    pub(super) fn measure(kvm: &Kvm) -> Result<Self, ProbeError> {
        let mut guest = ProbeGuest::new(kvm, &LOOP)?;
        Ok(Self {
            guest_ns: ns_per_instruction(|rounds| run_guest(&mut guest, rounds))?,
            host_ns: ns_per_instruction(|rounds| Ok(run_host(rounds)))?,
        })
    }

    /// Whether KVM lets the processor run guest kernel code, and does not emulate it.
    pub fn is_native(&self) -> bool {
        self.guest_ns < NATIVE_BELOW_NS || self.ratio() < NATIVE_BELOW_RATIO
    }

    /// How many times slower the guest is.
    pub fn ratio(&self) -> f64 {
        self.guest_ns / self.host_ns.max(f64::MIN_POSITIVE)
    }
}

fn ns_per_instruction(
    mut run: impl FnMut(u64) -> Result<Duration, ProbeError>,
) -> Result<f64, ProbeError> {
    let mut rounds = FIRST_ROUNDS;
    while rounds < MOST_ROUNDS && run(rounds)? < LONG_ENOUGH {
        rounds *= 2;
    }
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        fastest = fastest.min(run(rounds)?);
    }
    Ok(fastest.as_secs_f64() * 1e9 / (rounds * INSTRUCTIONS_PER_ROUND) as f64)
}

fn run_guest(guest: &mut ProbeGuest, rounds: u64) -> Result<Duration, ProbeError> {
    guest.restart(rounds)?;
    let start = Instant::now();
    match guest.run_on()? {
        ProbeExit::Hlt => Ok(start.elapsed()),
        other => Err(ProbeError::UnexpectedExit(format!("{other:?}"))),
    }
}

fn run_host(rounds: u64) -> Duration {
    let start = Instant::now();
    // SAFETY: counts a register, which is not zero, down to zero and touches nothing else.
    unsafe {
        asm!(
            "2:",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds.max(1) => _,
            options(nomem, nostack),
        );
    }
    start.elapsed()
}

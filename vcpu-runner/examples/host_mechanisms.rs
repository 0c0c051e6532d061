// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Measures what each mechanism for an immediate exit lets through on this host.
//!
//! ```sh
//! cargo run -p vcpu-runner --release --example host_mechanisms
//! ```

use std::error::Error;
use std::time::Instant;

use kvm_ioctls::Kvm;
use vcpu_runner::kvm::immediate_exit::{HostMechanisms, Sample};

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let host = HostMechanisms::measure(&Kvm::new()?)?;
    println!("measured in {:.1?}", start.elapsed());
    for measured in host.measured() {
        println!("{:<18} {}", measured.mechanism, shown(&measured.with_event));
        println!(
            "{:<18} {}",
            "  without event",
            shown(&measured.without_event)
        );
    }
    println!("{:?}", host.order());
    Ok(())
}

fn shown(sample: &Result<Sample, String>) -> String {
    match sample {
        Ok(sample) => format!(
            "{} instructions (at most {}), {:.1?}, {} of {} missed",
            sample.instructions,
            sample.most_instructions,
            sample.time,
            sample.missed,
            sample.entries + sample.missed
        ),
        Err(why) => why.clone(),
    }
}

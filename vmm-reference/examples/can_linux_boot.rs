// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Asks this host's KVM whether Linux can boot on it.

use std::path::Path;

use vmm_reference::host::HostReport;
use vmm_reference::kvm_device::{KVM_PATH, KvmError};

fn main() -> Result<(), KvmError> {
    let report = HostReport::gather(Path::new(KVM_PATH))?;
    println!("{}", report.verdict().sentence());
    if let Ok(speed) = &report.speed {
        println!(
            "A guest's kernel is {:.1} times slower than the host.",
            speed.ratio()
        );
    }
    Ok(())
}

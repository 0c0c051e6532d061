// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The virtio-serial ports by their names.

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long a port may take to appear after its driver was loaded. The driver asks the device for
/// its ports and gets them one after the other, so they come late; there is nothing to wait on
/// but the directory itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens the port called `name` for writing.
pub fn open(name: &str) -> Result<File, String> {
    let start = Instant::now();
    loop {
        if let Some(device) = find(name) {
            return File::options()
                .write(true)
                .open(&device)
                .map_err(|error| format!("{}, port {name}: {error}", device.display()));
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("the machine has no virtio-serial port {name}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The device file of the port called `name`.
fn find(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports")
        .ok()?
        .filter_map(Result::ok);
    let mut named = ports.filter(|port| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim_end() == name)
    });
    let device = PathBuf::from("/dev").join(named.next()?.file_name());
    device.exists().then_some(device)
}

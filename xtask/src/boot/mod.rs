// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask boot`: boots Debian's stock kernel to a user-space init under the reference VMM.

mod accel;
mod console;
mod emulated;
mod flags;
mod native;
mod outcome;
mod stamp;

pub use accel::Choice;
pub use outcome::Outcome;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vmm_reference::config::VmmConfig;
use vmm_reference::vmm;

use crate::error::Error;
use crate::guest;
use crate::initramfs::Initramfs;
use crate::kernel::Kernel;
use crate::progress;
use crate::store::Store;
use crate::workspace::Workspace;
use accel::Accel;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to boot.
    pub accel: Choice,
    /// One line of JSON instead of the guest's console and a summary.
    pub json: bool,
    /// How long the boot may take.
    pub timeout: Duration,
    /// The VMM's flags; they replace the defaults.
    pub flags: Vec<OsString>,
}

/// Boots, says what came of it, and returns the status.
pub fn command(options: Options) -> Result<u8, Error> {
    let result = boot(&options);
    if options.json {
        let line = match &result {
            Ok(outcome) => outcome.to_json(),
            Err(error) => outcome::failure_to_json(error),
        };
        progress::print(&line)?;
    } else if let Ok(outcome) = &result {
        progress::print(&outcome.to_string())?;
    }
    result.map(|outcome| u8::from(!outcome.booted()))
}

/// Boots.
pub fn boot(options: &Options) -> Result<Outcome, Error> {
    // What is wrong with the flags is said before anything is fetched.
    flags::parse(&options.flags, Path::new("vmlinuz"), Path::new("initrd"))?;
    let accel = Accel::choose(options.accel);
    if let Accel::LabSvm = accel {
        emulated::prepare_host()?;
    }

    let workspace = Workspace::find()?;
    let programs = Programs::build(&workspace)?;
    let store = Store::open(&workspace.target)?;
    let kernel = Kernel::get(&store)?;
    let initrd = write_initrd(&store, &programs.init)?;
    let config = flags::parse(&options.flags, &kernel.vmlinuz(), &initrd)?;
    // Here, where the names are the user's, and before anything is copied or started.
    vmm::check(&config)?;
    let boot = Boot {
        config,
        vmm: programs.vmm,
        timeout: options.timeout,
        json: options.json,
    };
    match accel {
        Accel::Kvm => {
            drop(store);
            native::run(boot)
        }
        Accel::LabSvm => emulated::run(boot, &workspace, store),
    }
}

/// One boot, ready to be done somewhere.
#[derive(Debug)]
struct Boot {
    config: VmmConfig,
    /// The VMM's program.
    vmm: PathBuf,
    timeout: Duration,
    json: bool,
}

/// What a boot needs of this workspace.
#[derive(Debug)]
struct Programs {
    vmm: PathBuf,
    init: PathBuf,
}

impl Programs {
    fn build(workspace: &Workspace) -> Result<Self, Error> {
        progress::step("building the VMM and the guest's init", || {
            let init = guest::build_init(workspace)?;
            let build = ["build", "--release", "--package", "vmm-reference", "--bins"];
            let vmm = workspace.build_one(&build, "vmm-reference")?;
            Ok(Self { vmm, init })
        })
    }
}

/// Packs the guest's initramfs: process 1, and busybox for the commands that it is asked to run.
fn write_initrd(store: &Store, init: &Path) -> Result<PathBuf, Error> {
    let mut tree = Initramfs::new();
    tree.add_file("/init", init)?;
    guest::add_busybox(store, &mut tree)?;
    store.replace("guest-initrd", |path| {
        let file = std::fs::File::create(path).map_err(Error::file("write", path))?;
        tree.write_to(std::io::BufWriter::new(file)).map(drop)
    })
}

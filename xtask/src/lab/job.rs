// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes into the machine: kernel, modules, user space, the task for process 1.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_init::task::{self, Machine, Task};

use super::svm::Timers;
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::kernel::Kernel;
use crate::store::Store;
use crate::workspace::Workspace;
use crate::{guest, pack};

/// The modules for QEMU's machine: the ports for output, and KVM.
const SVM_MODULES: [&str; 3] = ["virtio_pci", "virtio_console", "kvm-amd"];

/// The one for bochs's.
const VMX_MODULES: [&str; 1] = [KVM_INTEL];
const KVM_INTEL: &str = "kvm-intel";

/// Everything that one run of the machine takes.
#[derive(Debug)]
pub struct Job {
    /// The kernel, in the form that the machine boots.
    pub kernel: PathBuf,
    /// The machine's files.
    pub tree: Initramfs,
    /// What process 1 has to do.
    pub task: Task,
    /// The machine's CPUs. Bochs's has one.
    pub cpus: u32,
    /// How the timers of QEMU's machine fire.
    pub timers: Timers,
    /// The machine's memory in MiB, if it matters.
    pub memory_mib: Option<u64>,
    /// What the command takes beyond a default machine's memory, in MiB.
    pub extra_memory_mib: u64,
    /// How long the run may take.
    pub timeout: Duration,
}

impl Job {
    /// A job without a command yet. Fetches and builds what is missing.
    pub fn new(workspace: &Workspace, store: &Store, machine: Machine) -> Result<Self, Error> {
        let init = guest::build_init(workspace)?;
        let kernel = Kernel::get(store)?;
        let mut tree = Initramfs::new();
        let mut task = Task {
            machine,
            modules: add_modules(&mut tree, &kernel, machine)?,
            ..Task::default()
        };
        tree.add_file("/init", &init)?;
        tree.add_bytes("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")?;
        tree.add_bytes("/etc/group", "root:x:0:\n")?;
        tree.add_directory("/root")?;
        guest::add_busybox(store, &mut tree)?;
        task.environment = [
            "PATH=/usr/local/bin:/usr/bin:/usr/sbin",
            "HOME=/root",
            "TERM=linux",
        ]
        .map(OsString::from)
        .into();
        if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
            // Libraries that were found through it here are looked for through it there.
            let mut variable = OsString::from("LD_LIBRARY_PATH=");
            variable.push(path);
            task.environment.push(variable);
        }
        let kernel = match machine {
            Machine::Svm => kernel.vmlinux(store)?,
            Machine::Vmx => kernel.vmlinuz(),
        };
        Ok(Self {
            kernel,
            tree,
            task,
            cpus: 1,
            timers: Timers::default(),
            memory_mib: None,
            extra_memory_mib: 0,
            timeout: Duration::from_secs(600),
        })
    }

    /// Packs the command, and the directory in which it runs.
    pub fn set_command(
        &mut self,
        command: &[OsString],
        directory: Option<&Path>,
    ) -> Result<(), Error> {
        let (name, arguments) = command
            .split_first()
            .ok_or_else(|| Error::CommandNotFound(String::new()))?;
        if let Some(directory) = directory {
            pack::add_directory(&mut self.tree, directory)?;
            self.task.directory = Some(pack::DIRECTORY.into());
        }
        let path = match pack::find(name, directory) {
            Some((source, path)) => {
                pack::add_program(&mut self.tree, &path, &source)?;
                path.into_os_string()
            }
            // busybox has programs that a host may lack.
            None if self.has_applet(name) => name.clone(),
            None => return Err(Error::CommandNotFound(name.to_string_lossy().into_owned())),
        };
        self.task.arguments = [path]
            .into_iter()
            .chain(arguments.iter().cloned())
            .collect();
        Ok(())
    }

    fn has_applet(&self, name: &OsString) -> bool {
        ["/usr/bin", "/usr/sbin"]
            .iter()
            .any(|dir| self.tree.contains(Path::new(dir).join(name)))
    }

    /// The whole tree, with the task in it.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.tree.add_bytes(task::PATH, self.task.to_bytes())
    }
}

/// Adds the modules that the machine needs and returns what process 1 loads.
fn add_modules(
    tree: &mut Initramfs,
    kernel: &Kernel,
    machine: Machine,
) -> Result<Vec<OsString>, Error> {
    let names: &[&str] = match machine {
        Machine::Svm => &SVM_MODULES,
        Machine::Vmx => &VMX_MODULES,
    };
    let mut loaded = Vec::new();
    for module in kernel.modules(names)? {
        match machine {
            Machine::Svm => tree.add_file(&module.path, &module.source)?,
            // Checking the signatures takes bochs several seconds.
            Machine::Vmx => tree.add_bytes(&module.path, module.without_signature()?)?,
        }
        let nested = module.path.file_stem() == Some(KVM_INTEL.as_ref());
        let mut words = OsString::from(module.path);
        if nested {
            words.push(" nested=1");
        }
        loaded.push(words);
    }
    Ok(loaded)
}

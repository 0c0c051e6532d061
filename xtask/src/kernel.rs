// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The stock kernel: Debian's cloud image, fetched into the target directory and never installed.

use std::fs;
use std::path::{Path, PathBuf};

use vmm_reference::kernel::extract_elf;

use crate::error::Error;
use crate::store::Store;
use crate::{debian, progress};

/// The package that always depends on the current cloud kernel's.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub struct Kernel {
    package: PathBuf,
    /// The release, as `uname -r` prints it.
    pub release: String,
}

impl Kernel {
    /// The kernel in the store, fetched if it is not there yet.
    pub fn get(store: &Store) -> Result<Self, Error> {
        let package = store.get("kernel", |into| {
            let package = debian::dependency(META_PACKAGE, "linux-image-")?;
            progress::step(&format!("fetching {package}"), || {
                debian::unpack(&package, into)
            })
        })?;
        let image = debian::find(&package.join("boot"), |name| name.starts_with("vmlinuz-"))?;
        let release = image
            .as_deref()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let release = release
            .and_then(|name| name.strip_prefix("vmlinuz-"))
            .map(str::to_owned);
        let missing = || Error::PackageContents {
            package: package.clone(),
            what: "boot/vmlinuz-*".to_owned(),
        };
        Ok(Self {
            release: release.ok_or_else(missing)?,
            package,
        })
    }

    /// The image as Debian ships it.
    pub fn vmlinuz(&self) -> PathBuf {
        self.package
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// The ELF image inside. QEMU enters that directly; from the compressed one it would run the
    /// firmware and the kernel's own decompressor, instruction by emulated instruction.
    pub fn vmlinux(&self, store: &Store) -> Result<PathBuf, Error> {
        store.get("vmlinux", |path| {
            let vmlinuz = self.vmlinuz();
            let image = fs::read(&vmlinuz).map_err(Error::file("read", &vmlinuz))?;
            let elf = extract_elf(&image).map_err(|source| Error::Kernel {
                path: vmlinuz.clone(),
                source,
            })?;
            fs::write(path, elf).map_err(Error::file("write", path))
        })
    }

    /// These modules and those that they depend on, in the order in which they can be loaded,
    /// without those that are built in.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<Module>, Error> {
        let host = self.package.join("lib/modules").join(&self.release);
        let read = |list: &str| {
            let path = host.join(list);
            fs::read_to_string(&path).map_err(Error::file("read", path))
        };
        let lists = (read("modules.order")?, read("modules.builtin")?);
        let mut modules = Vec::new();
        for name in names {
            self.add_module(&host, &lists, name, &mut modules)?;
        }
        Ok(modules)
    }

    /// Adds what module `name` depends on, and then the module.
    fn add_module(
        &self,
        host: &Path,
        lists: &(String, String),
        name: &str,
        modules: &mut Vec<Module>,
    ) -> Result<(), Error> {
        let (loadable, builtin) = lists;
        let Some(relative) = find_module(loadable, name) else {
            let what = format!("module {name}");
            let missing = || Error::PackageContents {
                package: self.package.clone(),
                what,
            };
            return find_module(builtin, name).map(drop).ok_or_else(missing);
        };
        let source = host.join(relative);
        if modules.iter().any(|module| module.source == source) {
            return Ok(());
        }
        let image = fs::read(&source).map_err(Error::file("read", &source))?;
        for dependency in dependencies(&image) {
            // depmod, which made the lists, refuses circles.
            self.add_module(host, lists, dependency, modules)?;
        }
        let path = Path::new("/lib/modules").join(&self.release).join(relative);
        modules.push(Module { source, path });
        Ok(())
    }
}

/// A kernel module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its file on the host.
    pub source: PathBuf,
    /// Its path in the machine.
    pub path: PathBuf,
}

impl Module {
    /// The module, without the signature that its package gives it.
    pub fn without_signature(&self) -> Result<Vec<u8>, Error> {
        let image = fs::read(&self.source).map_err(Error::file("read", &self.source))?;
        Ok(unsigned(&image).unwrap_or(&image).to_vec())
    }
}

/// What stands before the signature of a module, if it has one. Appended to the module are: the
/// signature, twelve bytes about it of which the last four are its length, and a line of text.
fn unsigned(module: &[u8]) -> Option<&[u8]> {
    let rest = module.strip_suffix(b"~Module signature appended~\n")?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    let rest = rest.get(..rest.len().checked_sub(8)?)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..rest.len().checked_sub(length)?)
}

/// Finds the path of module `name` in a list of paths. Within names, `-` and `_` are the same.
fn find_module<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let same = |path: &str| {
        let file = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .strip_suffix(".ko");
        file.is_some_and(|file| file.replace('-', "_") == name.replace('-', "_"))
    };
    list.lines().find(|path| same(path))
}

/// The modules that a module says it depends on: `depends=` in its information section, which is
/// a list of strings that end with a zero byte.
fn dependencies(module: &[u8]) -> impl Iterator<Item = &str> {
    let mut strings = module.split(|&b| b == 0);
    let list = strings.find_map(|string| string.strip_prefix(b"depends="));
    let list = list
        .and_then(|list| str::from_utf8(list).ok())
        .unwrap_or_default();
    list.split(',').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_by_their_names() {
        let order = "kernel/arch/x86/kvm/kvm.ko\nkernel/arch/x86/kvm/kvm-amd.ko\n";
        assert_eq!(
            find_module(order, "kvm-amd"),
            Some("kernel/arch/x86/kvm/kvm-amd.ko")
        );
        assert_eq!(
            find_module(order, "kvm_amd"),
            Some("kernel/arch/x86/kvm/kvm-amd.ko")
        );
        assert_eq!(find_module(order, "vm-amd"), None);
    }

    #[test]
    fn modules_name_their_dependencies() {
        let list = |image: &'static [u8]| dependencies(image).collect::<Vec<_>>();
        assert_eq!(
            list(b"ELF\0license=GPL\0depends=kvm,irqbypass\0name=x\0"),
            ["kvm", "irqbypass"]
        );
        assert!(list(b"\0depends=\0").is_empty());
        assert!(list(b"").is_empty());
    }

    #[test]
    fn signatures_come_off() {
        let tail = b"\0\0\0\0\0\0\0\0\0\0\0\x03~Module signature appended~\n";
        let signed = [&b"ELF"[..], b"sig", tail].concat();
        assert_eq!(unsigned(&signed), Some(&b"ELF"[..]));
        assert_eq!(unsigned(b"ELF"), None);
        assert_eq!(unsigned(&signed[5..]), None, "cut off");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The whole preparation, and what refuses it.

use vmm_sys_util::tempdir::TempDir;

use super::*;
use crate::kernel::samples;

struct Files {
    dir: TempDir,
    config: VmmConfig,
}

/// A configuration with a sample kernel and a small initrd.
fn files(kernel: &[u8]) -> Files {
    let dir = TempDir::new().unwrap();
    let path = dir.as_path().join("kernel");
    std::fs::write(&path, kernel).unwrap();
    let initrd = dir.as_path().join("initrd");
    std::fs::write(&initrd, b"070701").unwrap();
    let mut config = VmmConfig::new(path);
    config.initrd = Some(initrd);
    config.memory.size_mib = 32;
    Files { dir, config }
}

fn try_prepare(config: &VmmConfig) -> Result<(GuestMemoryMmap, BootEntry), BootError> {
    let memory = crate::memory::create(&config.memory).unwrap();
    prepare(&memory, config).map(|boot| (memory, boot))
}

#[test]
fn a_kernel_is_prepared_for_each_protocol() {
    let pvh = samples::elf();
    let mut long = samples::elf();
    long[samples::NOTE + 8] = 0;
    let unknown = samples::bzimage(b"BZh91AY");
    for (image, protocol) in [
        (pvh, Entry::Pvh(GuestAddress(samples::PVH_ENTRY.into()))),
        (long, Entry::Linux64(GuestAddress(samples::TEXT))),
        (unknown, Entry::Linux64(GuestAddress(samples::TEXT + 0x200))),
    ] {
        let files = files(&image);
        let (memory, boot) = try_prepare(&files.config).unwrap();
        assert_eq!(boot.entry(), protocol);
        let mut cmdline = vec![0; files.config.kernel.cmdline.len() + 1];
        memory
            .read_slice(&mut cmdline, GuestAddress(layout::CMDLINE))
            .unwrap();
        assert_eq!(cmdline.pop(), Some(0));
        assert_eq!(cmdline, files.config.kernel.cmdline.as_bytes());
        let rsdp: [u8; 8] = memory.read_obj(GuestAddress(layout::ACPI.start)).unwrap();
        assert_eq!(&rsdp, b"RSD PTR ");
        let initrd: [u8; 6] = memory.read_obj(GuestAddress((32 << 20) - 4096)).unwrap();
        assert_eq!(&initrd, b"070701");
        let code: u64 = memory
            .read_obj(GuestAddress(layout::BOOT_GDT + 0x10))
            .unwrap();
        assert_eq!(code, boot.code().encode());
    }
}

/// What is wrong is named in one line, with the file.
#[test]
fn mistakes_are_named() {
    type Change = fn(&Files, &mut VmmConfig);
    let cases: [(Change, &str); 10] = [
        (
            |_, config| config.kernel.path = "/nonexistent".into(),
            "the kernel \"/nonexistent\" can't be read: No such",
        ),
        (
            |files, config| config.kernel.path = files.dir.as_path().into(),
            "is a directory",
        ),
        (
            |_, config| config.kernel.path = "/dev/null".into(),
            "not a regular file",
        ),
        (
            |files, _| std::fs::write(&files.config.kernel.path, b"").unwrap(),
            "is empty",
        ),
        (
            |files, _| std::fs::write(&files.config.kernel.path, b"#!").unwrap(),
            "is not a kernel",
        ),
        (
            |_, config| config.memory.size_mib = 16,
            "raise --memory size_mib",
        ),
        (
            |_, config| config.kernel.kernel_load_addr = Some(0x200_0000),
            "below 0x2000000",
        ),
        (
            |_, config| config.kernel.cmdline = "a".repeat(2048),
            "2048 bytes and this kernel reads 2047",
        ),
        (
            |_, config| config.kernel.cmdline = "a\nb".into(),
            "non-printable",
        ),
        (
            |_, config| config.initrd = Some("/nonexistent".into()),
            "the initrd \"/nonexistent\" can't be read: No such",
        ),
    ];
    for (change, expected) in cases {
        let files = files(&samples::elf());
        let mut config = files.config.clone();
        change(&files, &mut config);
        let line = try_prepare(&config).unwrap_err().to_string();
        assert!(line.contains(expected) && !line.contains('\n'), "{line}");
    }
}

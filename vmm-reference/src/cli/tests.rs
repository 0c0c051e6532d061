// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Command lines that are understood, and ones that are not, as tables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use log::LevelFilter;
use nested_vmx::soft::Catch;
use proptest::prelude::*;

use super::*;

fn parse_words(words: &[&str]) -> Result<Command, CliError> {
    let words = std::iter::once(&"vmm-reference").chain(words);
    parse(words.map(OsString::from))
}

fn config(words: &[&str]) -> VmmConfig {
    match parse_words(words) {
        Ok(Command::Run(config)) => config,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn cmdline_of(kernel: &str) -> String {
    config(&["--kernel", kernel]).kernel.cmdline
}

#[test]
fn only_the_kernel_is_required() {
    assert_eq!(config(&["--kernel", "path=k"]), VmmConfig::new("k"));
}

#[test]
fn every_flag_is_understood() {
    let config = config(&[
        "--kernel",
        "path=/k,cmdline=\"console=ttyS0 quiet\",kernel_load_addr=0x200000",
        "--memory",
        "size_mib=512",
        "--vcpu=num=2",
        "--initrd",
        "path=/i",
        "--serial",
        "file=/s",
        "--debug-exit",
        "port=0x501",
        "--log",
        "DEBUG",
        "--summary",
        "file=/j",
    ]);
    let expected = VmmConfig {
        kernel: KernelConfig {
            path: "/k".into(),
            cmdline: "console=ttyS0 quiet".into(),
            kernel_load_addr: Some(0x20_0000),
        },
        memory: MemoryConfig { size_mib: 512 },
        vcpus: VcpuConfig { num: 2 },
        initrd: Some("/i".into()),
        serial: SerialConfig::File("/s".into()),
        debug_exit: Some(0x501),
        nested: None,
        log: LevelFilter::Debug,
        summary: Some("/j".into()),
    };
    assert_eq!(config, expected);
}

#[test]
fn nested_vmx_is_asked_for_with_or_without_a_way_to_catch() {
    let catch = |text: &str| {
        let config = config(&["--kernel", "path=k", "--nested", text]);
        config.nested.map(|nested| nested.catch)
    };
    assert_eq!(catch("soft"), Some(None));
    assert_eq!(catch("SOFT,Catch=Steps"), Some(Some(Catch::Steps)));
    assert_eq!(catch("soft,catch=stops"), Some(Some(Catch::Stops)));
    assert_eq!(catch("soft,catch=exits"), Some(Some(Catch::Exits)));
    assert_eq!(catch("soft,catch=auto"), Some(None));
    assert_eq!(catch("soft,catch="), Some(None));
    // In any order.
    let words = ["--nested", "soft", "--vcpu", "num=1", "--kernel", "path=k"];
    assert!(config(&words).nested.is_some());
}

#[test]
fn names_are_case_insensitive_and_the_old_one_is_known() {
    let config = config(&[
        "--kernel",
        "PATH=k,Himem_Start=42",
        "--memory",
        "Size_MiB=0x10",
    ]);
    assert_eq!(config.kernel.kernel_load_addr, Some(42));
    assert_eq!(config.memory.size_mib, 16);
}

#[test]
fn an_empty_value_is_the_default() {
    let words = [
        "--kernel",
        "path=k,cmdline=,kernel_load_addr=",
        "--memory",
        "size_mib=",
        "--vcpu",
        "num=",
    ];
    assert_eq!(config(&words), VmmConfig::new("k"));
    let words = ["--kernel", "path=k", "--debug-exit", "port="];
    assert_eq!(config(&words).debug_exit, Some(0xf4));
}

#[test]
fn a_cmdline_ends_where_the_rules_say() {
    for (kernel, expected) in [
        (
            "path=k,cmdline=console=ttyS0,115200 quiet",
            "console=ttyS0,115200 quiet",
        ),
        ("cmdline=a=1,2,3,path=k", "a=1,2,3"),
        ("path=k,cmdline=a,KERNEL_LOAD_ADDR=1", "a"),
        ("path=k,cmdline=a,kernel_load_addr", "a,kernel_load_addr"),
        ("path=k,cmdline=root=a,unknown=1", "root=a,unknown=1"),
        ("path=k,cmdline=\"a,path=x b\"", "a,path=x b"),
        (
            "path=k,cmdline=\"dyndbg=\"file a +p\" b\",kernel_load_addr=1",
            "dyndbg=\"file a +p\" b",
        ),
        ("path=k,cmdline=a=\"b c\"", "a=\"b c\""),
    ] {
        assert_eq!(cmdline_of(kernel), expected, "{kernel}");
    }
}

#[test]
fn a_path_may_be_quoted_and_need_not_be_unicode() {
    assert_eq!(
        config(&["--kernel", "path=\"a,b\""]).kernel.path,
        PathBuf::from("a,b")
    );
    let kernel = OsString::from_vec(b"path=\xff\xfe".to_vec());
    let args = ["vmm-reference".into(), "--kernel".into(), kernel];
    let Ok(Command::Run(config)) = parse(args) else {
        panic!("not understood");
    };
    assert_eq!(
        config.kernel.path,
        PathBuf::from(OsString::from_vec(b"\xff\xfe".to_vec()))
    );
}

#[test]
fn subcommands_and_texts() {
    assert_eq!(parse_words(&["host"]), Ok(Command::Host { json: false }));
    assert_eq!(
        parse_words(&["host", "--json"]),
        Ok(Command::Host { json: true })
    );
    let Ok(Command::Help(help)) = parse_words(&["--help"]) else {
        panic!("no help");
    };
    for flag in [
        "--kernel",
        "--memory",
        "--vcpu",
        "--initrd",
        "--serial",
        "--debug-exit",
        "--log",
        "--summary",
    ] {
        assert!(help.contains(flag), "{flag} is not in the help");
    }
    assert!(
        matches!(parse_words(&["--version"]), Ok(Command::Version(text)) if text.contains("0."))
    );
}

/// Each with what its line must name.
#[test]
fn mistakes_are_named() {
    let long = format!("path=k,cmdline={}", "a".repeat(MAX_CMDLINE_LEN + 1));
    let bad: &[(&[&str], &str)] = &[
        (&[], "--kernel path=FILE"),
        (&["--kernel", ""], "`` is not name=value"),
        (&["--kernel", "vmlinuz"], "`vmlinuz` is not name=value"),
        (&["--kernel", "path="], "`--kernel` needs a path"),
        (&["--kernel", "cmdline=a"], "`--kernel` needs a path"),
        (&["--kernel"], "`--kernel` needs a value"),
        (&["--log"], "`--log` needs a value"),
        (&["--kernel", "path=k,foobar=1"], "no parameter `foobar`"),
        (&["--kernel", "path=k,"], "`` is not name=value"),
        (
            &["--kernel", "path=k,cmdline=\"a\",himem_start=1,foobar=1"],
            "no parameter `foobar`",
        ),
        (&["--kernel", "path=k,path=k"], "`path` more than once"),
        (
            &["--kernel", "path=k,himem_start=1,kernel_load_addr=1"],
            "`kernel_load_addr` more",
        ),
        (&["--kernel", "path=k,cmdline=\"a"], "double quote"),
        (&["--kernel", "path=k,cmdline=\""], "double quote"),
        (
            &["--kernel", "path=k,kernel_load_addr=1M"],
            "kernel_load_addr=`1M` is not a number",
        ),
        (&["--kernel", "path=k,cmdline=a\tb"], "byte 1 is 0x09"),
        (&["--kernel", "path=k,cmdline=\u{e9}"], "byte 0 is 0xc3"),
        (&["--kernel", &long], "has 2048 bytes"),
        (
            &["--kernel", "path=k", "--kernel", "path=k"],
            "`--kernel` is given more than once",
        ),
        (
            &["--kernel", "path=k", "--memory", "512"],
            "`512` is not name=value",
        ),
        (
            &["--kernel", "path=k", "--memory", "size_mib=0"],
            "use 1 to",
        ),
        (
            &["--kernel", "path=k", "--memory", "size_mib=4294967296"],
            "use 1 to",
        ),
        (
            &[
                "--kernel",
                "path=k",
                "--memory",
                "size_mib=99999999999999999999",
            ],
            "not a number",
        ),
        (
            &["--kernel", "path=k", "--memory", "size_mib=-1"],
            "`-1` is not a number",
        ),
        (
            &["--kernel", "path=k", "--memory", "size_mib=+1"],
            "`+1` is not a number",
        ),
        (
            &["--kernel", "path=k", "--memory", "size_mib=0x"],
            "`0x` is not a number",
        ),
        (&["--kernel", "path=k", "--vcpu", "num=0"], "use 1 to 254"),
        (&["--kernel", "path=k", "--vcpu", "num=255"], "use 1 to 254"),
        (
            &["--kernel", "path=k", "--serial", "tty"],
            "`tty` is not name=value",
        ),
        (
            &["--kernel", "path=k", "--serial", "file="],
            "`--serial` needs a path",
        ),
        (
            &["--kernel", "path=k", "--initrd", "path="],
            "`--initrd` needs a path",
        ),
        (
            &["--kernel", "path=k", "--nested", "hard"],
            "\"hard\" is not known; use --nested soft[,catch=auto|exits|stops|steps]",
        ),
        (
            &["--kernel", "path=k", "--nested", "soft,catch=all"],
            "\"all\" is not known",
        ),
        (
            &["--kernel", "path=k", "--nested", "soft,way=stops"],
            "no parameter `way`",
        ),
        (
            &["--kernel", "path=k", "--nested", "soft,"],
            "`` is not name=value",
        ),
        (
            &["--kernel", "path=k", "--nested"],
            "`--nested` needs a value",
        ),
        (
            &["--kernel", "path=k", "--vcpu", "num=2", "--nested", "soft"],
            "--vcpu num=2 wants more",
        ),
        (
            &["--kernel", "path=k", "--debug-exit", "0xf4"],
            "`0xf4` is not name=value",
        ),
        (
            &["--kernel", "path=k", "--debug-exit", "port=0xfffd"],
            "port=65533 is out of range",
        ),
        (
            &["--kernel", "path=k", "--log", "loud"],
            "`loud` is not a level",
        ),
        (
            &["--kernel", "path=k", "--block", "path=d"],
            "`--block` is not there yet",
        ),
        (
            &["--kernel", "path=k", "--net", "tap=t"],
            "`--net` is not there yet",
        ),
        (
            &["--kernel", "path=k", "--frobnicate"],
            "unknown argument `--frobnicate`",
        ),
        (&["--kernel", "path=k", "stray"], "`stray`"),
        (&["--kernel", "path=k", "two\nlines"], "two\\nlines"),
        (
            &["--kernel", "path=k", "--memory", "two\nlines"],
            "two\\nlines",
        ),
        (&["--kernel", "path=k", "host"], "host"),
        (&["host", "--frobnicate"], "`--frobnicate`"),
        (
            &["host", "--json", "--json"],
            "`--json` is given more than once",
        ),
    ];
    for (words, expected) in bad {
        let Err(error) = parse_words(words) else {
            panic!("{words:?} was understood");
        };
        let line = error.to_string();
        assert!(line.contains(expected), "{words:?}: {line}");
        assert!(!line.contains('\n'), "{words:?}: {line}");
    }
}

proptest! {
    /// Whatever can be written in quotes comes back as it was.
    #[test]
    fn a_quoted_cmdline_comes_back(text in "[ -~]{1,64}", address: u64) {
        // The one thing that quotes can't hold: a quote and a comma behind it.
        prop_assume!(!text.contains("\","));
        let kernel = format!("kernel_load_addr={address:#x},cmdline=\"{text}\",path=k");
        let config = config(&["--kernel", &kernel]);
        prop_assert_eq!(config.kernel.cmdline, text);
        prop_assert_eq!(config.kernel.kernel_load_addr, Some(address));
    }

    #[test]
    fn no_words_are_too_strange(words in prop::collection::vec(prop::collection::vec(1u8.., 0..24), 0..6)) {
        let words = words.into_iter().map(OsString::from_vec);
        if let Err(error) = parse(std::iter::once("vmm-reference".into()).chain(words)) {
            let line = error.to_string();
            prop_assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
        }
    }
}

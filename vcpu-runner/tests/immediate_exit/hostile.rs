// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The same mixture with hostile timing: its process is stopped and continued, its threads are hit by
//! signals from outside, other processes want the CPUs.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::irregular::Irregular;
use crate::machine::kvm;
use crate::mixture::{MIXING, SECONDS};

/// What is disturbed: a test of this very program.
const MIXTURE: &str = "mixture::two_vcpus_count_each_event_once";
/// For how long it mixes.
const DURATION: &str = "5";
/// For how long it is disturbed at most. It mixes for less, but on a slow machine a storm can be such
/// that no entry lasts, and what waits for one would wait for as long as the storm goes on.
const DISTURBED: Duration = Duration::from_secs(20);
/// As many as the disturbances ask for.
const BUSY: usize = 4;

/// The mixture in a process of its own. It is killed when this is dropped.
struct Victim {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Victim {
    /// Started, and mixing.
    fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([MIXTURE, "--exact", "--nocapture"])
            .env(SECONDS, DURATION)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, output };
        let mut line = String::new();
        while !line.contains(MIXING) {
            line.clear();
            let len = this.output.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "it ended before it began");
        }
        this
    }

    fn pid(&self) -> libc::pid_t {
        self.child.id().try_into().unwrap()
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child was not waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Hits each of its threads with `signal`. One that has ended is none.
    fn signal_threads(&self, signal: libc::c_int) {
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let name = task.file_name();
            let Some(tid) = name
                .to_str()
                .and_then(|name| name.parse::<libc::pid_t>().ok())
            else {
                continue;
            };
            // SAFETY: the child was not waited for, so the ids are its own or nobody's.
            unsafe { libc::syscall(libc::SYS_tgkill, self.pid(), tid, signal) };
        }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it said at the end, after it has succeeded.
    fn wait(mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It has ended already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Disturbs the mixture until it has ended, or for long enough, and shows what it has counted.
fn disturb(test: &str, mut disturbance: impl FnMut(&Victim, &mut Irregular)) {
    if kvm(test).is_none() {
        return;
    }
    let mut victim = Victim::start();
    let mut irregular = Irregular::new(0xdead_beef);
    let start = Instant::now();
    while start.elapsed() < DISTURBED && !victim.has_ended() {
        disturbance(&victim, &mut irregular);
    }
    let said = victim.wait();
    let counted = said.lines().find(|line| line.contains("counted once each"));
    println!("{test}: {}", counted.unwrap());
}

fn micros(irregular: &mut Irregular, below: u64) {
    thread::sleep(Duration::from_micros(irregular.below(below)));
}

#[test]
fn a_process_that_is_stopped_and_continued_loses_nothing() {
    let test = "a_process_that_is_stopped_and_continued_loses_nothing";
    disturb(test, |victim, irregular| {
        micros(irregular, 3000);
        victim.signal(libc::SIGSTOP);
        micros(irregular, 3000);
        victim.signal(libc::SIGCONT);
    });
}

/// The kick's own signal, and the timer's, from somebody else.
#[test]
fn a_storm_of_signals_loses_nothing() {
    disturb("a_storm_of_signals_loses_nothing", |victim, irregular| {
        for _ in 0..irregular.below(50) {
            let signal = irregular.pick(&[libc::SIGURG, libc::SIGURG, libc::SIGSTKFLT]);
            victim.signal(signal);
            victim.signal_threads(signal);
        }
        micros(irregular, 200);
    });
}

#[test]
fn busy_processes_beside_it_lose_nothing() {
    let test = "busy_processes_beside_it_lose_nothing";
    if kvm(test).is_none() {
        return;
    }
    struct Busy(Vec<Child>);
    impl Drop for Busy {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
    let busy = (0..BUSY).map(|_| {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).spawn().unwrap()
    });
    let _busy = Busy(busy.collect());
    disturb(test, |_, irregular| micros(irregular, 20_000));
}

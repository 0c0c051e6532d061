// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Raw mode: each key goes to the guest at once and unseen. The terminal's settings are put back
//! exactly as they were, whatever ends the VMM.
//!
//! ```text
//!   Cooked --enter--> Raw --leave--> Cooked
//! ```
//! `leave` is called when the guard is dropped, by the panic hook, and before the VMM stops on
//! SIGTSTP; `enter` again on SIGCONT. A VMM in the background leaves the terminal alone: it belongs
//! to whoever is in the foreground.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The one terminal that is in raw mode, so that the panic hook finds it.
static CHANGED: Mutex<Option<Changed>> = Mutex::new(None);

struct Changed {
    terminal: RawFd,
    original: libc::termios,
}

/// A terminal that is in raw mode while this lives.
#[derive(Debug)]
pub struct RawTerminal {
    terminal: OwnedFd,
}

impl RawTerminal {
    /// Puts `terminal` in raw mode. `None`: it is no terminal.
    ///
    /// # Errors
    /// When the terminal's settings cannot be changed.
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        // SAFETY: isatty only looks at the descriptor, which is open while it is borrowed.
        if unsafe { libc::isatty(terminal.as_raw_fd()) } != 1 {
            return Ok(None);
        }
        let this = Self {
            terminal: terminal.try_clone_to_owned()?,
        };
        this.resume()?;
        Ok(Some(this))
    }

    /// Puts the terminal in raw mode again. Nothing happens in the background.
    ///
    /// # Errors
    /// When the terminal's settings cannot be changed.
    pub fn resume(&self) -> io::Result<()> {
        let terminal = self.terminal.as_raw_fd();
        let mut changed = lock();
        if changed.is_some() || !is_foreground(terminal) {
            return Ok(());
        }
        let original = settings(terminal)?;
        // Remembered first: a panic from here on puts it back.
        *changed = Some(Changed { terminal, original });
        apply(terminal, &raw(original))
    }

    /// Puts the terminal back as it was.
    pub fn suspend(&self) {
        leave(lock());
    }

    /// After SIGCONT: whoever was in the foreground meanwhile may have set the terminal for itself.
    ///
    /// # Errors
    /// When the terminal's settings cannot be changed.
    pub fn continued(&self) -> io::Result<()> {
        {
            let changed = lock();
            let terminal = self.terminal.as_raw_fd();
            if let Some(changed) = &*changed
                && is_foreground(terminal)
            {
                return apply(terminal, &raw(changed.original));
            }
        }
        self.resume()
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.suspend();
    }
}

/// Makes a panic put the terminal back before it tells of itself.
pub fn restore_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        match CHANGED.try_lock() {
            Ok(changed) => leave(changed),
            Err(TryLockError::Poisoned(poisoned)) => leave(poisoned.into_inner()),
            // This thread is in the middle of changing it. Its guard puts it back.
            Err(TryLockError::WouldBlock) => {}
        }
        tell(panic);
    }));
}

fn lock() -> MutexGuard<'static, Option<Changed>> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn leave(mut changed: MutexGuard<'_, Option<Changed>>) {
    if let Some(Changed { terminal, original }) = changed.take()
        && let Err(error) = apply_from_anywhere(terminal, &original)
    {
        log::error!("cannot put the terminal back as it was: {error}; `stty sane` does");
    }
}

fn raw(mut settings: libc::termios) -> libc::termios {
    // No key is a signal, no echo, no line editing: byte by byte, and a Return stays one.
    settings.c_lflag &= !(libc::ISIG | libc::ICANON | libc::ECHO | libc::ECHONL | libc::IEXTEN);
    settings.c_iflag &= !(libc::IXON
        | libc::ICRNL
        | libc::INLCR
        | libc::IGNCR
        | libc::ISTRIP
        | libc::INPCK
        | libc::BRKINT
        | libc::PARMRK);
    settings.c_cc[libc::VMIN] = 1;
    settings.c_cc[libc::VTIME] = 0;
    // Output stays processed, so that the VMM's own messages begin at the left.
    settings
}

fn settings(terminal: RawFd) -> io::Result<libc::termios> {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: tcgetattr writes a whole termios to the pointer when it succeeds.
    if unsafe { libc::tcgetattr(terminal, settings.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it succeeded.
    Ok(unsafe { settings.assume_init() })
}

fn apply(terminal: RawFd, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: `settings` is a whole termios, and is only read.
    if unsafe { libc::tcsetattr(terminal, libc::TCSANOW, settings) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// As [`apply`], without being stopped (SIGTTOU) in the background.
fn apply_from_anywhere(terminal: RawFd, settings: &libc::termios) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset writes a whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `set` was made by sigemptyset.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGTTOU) };
    // SAFETY: `set` is whole; `before` is written whole when this succeeds, which it does with a
    // valid first argument.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) };
    let result = apply(terminal, settings);
    // SAFETY: `before` is the thread's earlier mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    result
}

fn is_foreground(terminal: RawFd) -> bool {
    // SAFETY: it only looks at the descriptor.
    let foreground = unsafe { libc::tcgetpgrp(terminal) };
    // SAFETY: getpgrp has no preconditions.
    let own = unsafe { libc::getpgrp() };
    // A terminal that is not the controlling one has no foreground of ours: it is used as it is.
    foreground == -1 || foreground == own
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, FromRawFd};

    use super::*;

    fn pty() -> (OwnedFd, OwnedFd) {
        let (mut ours, mut terminal) = (-1, -1);
        // SAFETY: openpty writes two descriptors; name, settings and size are not asked for.
        let ret = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut terminal,
                std::ptr::null_mut(),
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        assert_eq!(ret, 0, "{}", io::Error::last_os_error());
        // SAFETY: openpty succeeded, and nobody else has this descriptor.
        let ours = unsafe { OwnedFd::from_raw_fd(ours) };
        // SAFETY: as above.
        let terminal = unsafe { OwnedFd::from_raw_fd(terminal) };
        (ours, terminal)
    }

    fn flags(terminal: &OwnedFd) -> (u32, u32, u32, u32, [u8; libc::NCCS]) {
        let t = settings(terminal.as_raw_fd()).unwrap();
        (t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc)
    }

    // One test: there is one raw terminal in a process.
    #[test]
    fn the_terminal_is_raw_while_the_guard_lives_and_then_exactly_as_before() {
        let (_ours, terminal) = pty();
        let mut odd = settings(terminal.as_raw_fd()).unwrap();
        odd.c_cc[libc::VMIN] = 7;
        odd.c_iflag |= libc::ISTRIP;
        odd.c_lflag &= !libc::ECHO;
        apply(terminal.as_raw_fd(), &odd).unwrap();
        let before = flags(&terminal);

        let guard = RawTerminal::enter(terminal.as_fd()).unwrap().unwrap();
        let raw = flags(&terminal);
        assert_eq!(raw.3 & (libc::ICANON | libc::ISIG | libc::ECHO), 0);
        assert_eq!(raw.1, before.1, "output is processed as before");
        guard.suspend();
        assert_eq!(flags(&terminal), before);
        guard.resume().unwrap();
        assert_eq!(flags(&terminal), raw);
        apply(terminal.as_raw_fd(), &odd).unwrap();
        guard.continued().unwrap();
        assert_eq!(flags(&terminal), raw);
        drop(guard);
        assert_eq!(flags(&terminal), before);

        let guard = RawTerminal::enter(terminal.as_fd()).unwrap().unwrap();
        restore_on_panic();
        let panicked = std::thread::spawn(|| panic!("on purpose, to see the terminal put back"));
        assert!(panicked.join().is_err());
        assert_eq!(flags(&terminal), before);
        drop(guard);
        assert_eq!(flags(&terminal), before);
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let null = File::open("/dev/null").unwrap();
        assert!(RawTerminal::enter(null.as_fd()).unwrap().is_none());
    }
}

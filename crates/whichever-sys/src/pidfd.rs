//! Processes by descriptor: unlike a number, it never comes to mean another process.
//!
//! Guarantee: works from kernel 5.3 on, whatever libc the interpreter was built against.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A process, ended or not.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// The process that has the number `pid` now.
    ///
    /// # Errors
    /// No such process, the limit of open files, or `Unsupported`.
    pub fn open(pid: u32) -> io::Result<Self> {
        os::open(pid).map(Self)
    }

    /// Whether it has ended, be it waited for or not.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        let now = Some(std::time::Duration::ZERO);
        crate::poll_readable(&[self.as_fd()], now).is_ok_and(|ready| ready[0])
    }

    /// Send it a signal.
    ///
    /// # Errors
    /// It has ended and been waited for, or may not be signalled.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        os::signal(self.as_fd(), signal)
    }

    /// The descriptor; readable once the process has ended.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
        let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn signal(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
        let information = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is borrowed, so it is open; a null pointer asks for the usual information.
        let failed =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, information, 0) }
                != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;
    use std::os::fd::{BorrowedFd, OwnedFd};

    pub(super) fn open(_pid: u32) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn signal(_fd: BorrowedFd<'_>, _signal: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_is_signalled_and_its_end_is_seen_before_it_is_waited_for() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Pidfd::open(child.id()).unwrap();
        assert!(!process.has_exited());
        process.signal(libc::SIGKILL).unwrap();
        assert_eq!(crate::poll_readable(&[process.as_fd()], Some(Duration::from_secs(20))).unwrap(), [true]);
        assert!(process.has_exited());
        child.wait().unwrap();
        assert!(process.has_exited());
        assert_eq!(process.signal(libc::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_number_that_is_no_process_is_an_error() {
        assert!(Pidfd::open(0).is_err());
        assert!(Pidfd::open(u32::MAX).is_err());
    }
}

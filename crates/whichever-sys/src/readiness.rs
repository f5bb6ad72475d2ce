//! Waiting for descriptors, and dying with the process at the other end of one.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Wait until one of `fds` can be read, or `timeout` has passed; says of each whether it can.
///
/// A hang-up and an error count as readable: reading then tells which. Signals do not end the wait.
///
/// # Errors
/// What the kernel says, or `Unsupported`.
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    os::poll_readable(fds, timeout)
}

/// Let the kernel kill this process (SIGKILL) as soon as the other end of `socket` is closed or its process dies.
///
/// Needs no thread. From now on nothing may cross the socket in either direction: the first byte that arrives kills as
/// well. For stream sockets between two processes; the other end must have no copy in a third one.
///
/// # Errors
/// `BrokenPipe` when the other end is gone already; what the kernel says; or `Unsupported`.
pub fn kill_on_hangup(socket: BorrowedFd<'_>) -> io::Result<()> {
    os::kill_on_hangup(socket)
}

#[cfg(target_os = "linux")]
mod os {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::time::Duration;

    pub(super) fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
        let end = timeout.map(|timeout| crate::monotonic_ns().saturating_add(nanoseconds(timeout)));
        let mut polls: Vec<_> = fds
            .iter()
            .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        loop {
            let left = end.map(|end| end.saturating_sub(crate::monotonic_ns()));
            match poll(&mut polls, left) {
                Ok(()) => return Ok(polls.iter().map(|poll| poll.revents != 0).collect()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn nanoseconds(timeout: Duration) -> u64 {
        timeout.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    fn poll(polls: &mut [libc::pollfd], left_ns: Option<u64>) -> io::Result<()> {
        const NS: u64 = 1_000_000_000;
        let count = polls.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let timeout = left_ns.map(|left| libc::timespec {
            tv_sec: (left / NS).try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: (left % NS).try_into().unwrap_or(0),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: 1. `polls` is ours to write for `count` entries.
        //         2. `timeout` is null or points to the timespec above; a null mask leaves the signals as they are.
        let failed = unsafe { libc::ppoll(polls.as_mut_ptr(), count, timeout, std::ptr::null()) } < 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn kill_on_hangup(socket: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: takes nothing.
        let own = unsafe { libc::getpid() };
        control(socket, libc::F_SETOWN, own)?;
        control(socket, F_SETSIG, libc::SIGKILL)?;
        let flags = control(socket, libc::F_GETFL, 0)?;
        control(socket, libc::F_SETFL, flags | libc::O_ASYNC)?;
        // The kernel signals events, not states: a hang-up before the flag was set must be seen here.
        let now = Some(Duration::ZERO);
        if poll_readable(&[socket], now)?[0] { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Which signal to send instead of SIGIO; the kernel's number, the same on every architecture we know.
    const F_SETSIG: libc::c_int = 10;

    fn control(fd: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<libc::c_int> {
        // SAFETY: the descriptor is borrowed, so it is open; these commands take or ignore one number.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::time::Duration;

    pub(super) fn poll_readable(
        _fds: &[BorrowedFd<'_>],
        _timeout: Option<Duration>,
    ) -> io::Result<Vec<bool>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn kill_on_hangup(_socket: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_what_can_be_read_is_reported() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let (_open, silent) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        let ready = poll_readable(&[far.as_fd(), silent.as_fd()], None).unwrap();
        assert_eq!(ready, [true, false]);
    }

    #[test]
    fn a_hang_up_counts_as_readable() {
        let (near, far) = UnixStream::pair().unwrap();
        assert_eq!(poll_readable(&[far.as_fd()], Some(Duration::ZERO)).unwrap(), [false]);
        drop(near);
        assert_eq!(poll_readable(&[far.as_fd()], None).unwrap(), [true]);
    }

    #[test]
    fn a_wait_for_silence_ends_with_its_timeout() {
        let (_near, far) = UnixStream::pair().unwrap();
        let before = crate::monotonic_ns();
        assert_eq!(poll_readable(&[far.as_fd()], Some(Duration::from_millis(20))).unwrap(), [false]);
        assert!(crate::monotonic_ns() - before >= 20_000_000);
    }

    #[test]
    fn a_socket_that_was_hung_up_before_is_reported_instead_of_killing() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(near);
        assert_eq!(kill_on_hangup(far.as_fd()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

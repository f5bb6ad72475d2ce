//! A bell that a thread waiting for descriptors hears: an eventfd.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// See the module.
#[derive(Debug)]
pub struct EventFd(os::Inner);

impl EventFd {
    /// # Errors
    /// What the kernel says, or `Unsupported`.
    pub fn new() -> io::Result<Self> {
        os::new().map(Self)
    }

    /// Make it readable. A bell that was rung already stays so.
    pub fn ring(&self) {
        os::ring(&self.0);
    }

    /// Make it unreadable again.
    pub fn clear(&self) {
        os::clear(&self.0);
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::FromRawFd;

    pub(super) type Inner = File;

    pub(super) fn new() -> io::Result<Inner> {
        // SAFETY: takes two numbers and nothing else.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    pub(super) fn ring(mut file: &Inner) {
        // It fails only when the counter is at its limit, and then it rings already.
        let _ = file.write(&1_u64.to_ne_bytes());
    }

    pub(super) fn clear(mut file: &Inner) {
        // It fails only when nobody rang.
        let _ = file.read(&mut [0; 8]);
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;

    pub(super) type Inner = std::fs::File;

    pub(super) fn new() -> io::Result<Inner> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn ring(_inner: &Inner) {}

    pub(super) fn clear(_inner: &Inner) {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_heard_once_however_often_it_was_rung() {
        let bell = EventFd::new().unwrap();
        let is_heard = || crate::poll_readable(&[bell.0.as_fd()], Some(Duration::ZERO)).unwrap()[0];
        bell.clear();
        assert!(!is_heard());
        bell.ring();
        bell.ring();
        assert!(is_heard());
        bell.clear();
        assert!(!is_heard());
    }
}

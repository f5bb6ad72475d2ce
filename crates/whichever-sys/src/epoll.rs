//! Readiness of many descriptors: epoll, level-triggered, with nanoseconds; and poll(2) for where there is no epoll.
//!
//! Descriptors are plain numbers here, for a loop is given numbers by its program, which may have closed them: the kernel
//! answers for each with an error, and nothing worse can happen.

use std::os::fd::RawFd;

/// What a descriptor is ready for, or is to be watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// To be read from; a hang-up and an error are read, too.
    pub readable: bool,
    /// To be written to; an error is found by writing, too.
    pub writable: bool,
}

impl Readiness {
    /// For nothing.
    pub const NONE: Self = Self { readable: false, writable: false };

    /// Whether it is for nothing.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        (self.readable || !other.readable) && (self.writable || !other.writable)
    }
}

/// A descriptor and what it is ready for.
pub type Ready = (RawFd, Readiness);

pub use os::{Epoll, is_open, poll_many};

#[cfg(target_os = "linux")]
mod os {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Readiness, Ready};

    const NS_PER_S: u64 = 1_000_000_000;
    const NS_PER_MS: u64 = 1_000_000;

    /// An epoll instance.
    #[derive(Debug)]
    pub struct Epoll {
        fd: OwnedFd,
        /// Whether the kernel has no `epoll_pwait2`, or a sandbox forbids it. Set once it has said so.
        in_milliseconds: AtomicBool,
    }

    /// Room for what one wait reports.
    #[derive(Debug)]
    pub struct Events(Vec<libc::epoll_event>);

    impl Events {
        /// Room for `capacity` of them.
        #[must_use]
        pub fn with_capacity(capacity: usize) -> Self {
            Self(vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)])
        }
    }

    impl Epoll {
        /// # Errors
        /// What the kernel says, such as that no descriptor is left.
        pub fn new() -> io::Result<Self> {
            // SAFETY: takes a flag and nothing else.
            let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the kernel has just given this descriptor to us.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            Ok(Self { fd, in_milliseconds: AtomicBool::new(false) })
        }

        /// Watch a descriptor that is not watched.
        ///
        /// # Errors
        /// `AlreadyExists` when it is; `PermissionDenied` for a regular file, which is always ready.
        pub fn add(&self, fd: RawFd, interest: Readiness) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_ADD, fd, interest)
        }

        /// Watch a descriptor for something else.
        ///
        /// # Errors
        /// `NotFound` when it is not watched.
        pub fn modify(&self, fd: RawFd, interest: Readiness) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_MOD, fd, interest)
        }

        /// Watch a descriptor no more.
        ///
        /// # Errors
        /// `NotFound` when it is not watched; EBADF when it is closed.
        pub fn remove(&self, fd: RawFd) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_DEL, fd, Readiness::NONE)
        }

        fn control(&self, operation: libc::c_int, fd: RawFd, interest: Readiness) -> io::Result<()> {
            let read = if interest.readable { libc::EPOLLIN } else { 0 };
            let write = if interest.writable { libc::EPOLLOUT } else { 0 };
            let events = (read | write).cast_unsigned();
            let mut event = libc::epoll_event { events, u64: u64::from(fd.cast_unsigned()) };
            // SAFETY: 1. our own descriptor is open as long as we are; `fd` is a number that the kernel checks.
            //         2. `event` lives until the call is over.
            let failed = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) } < 0;
            if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
        }

        /// Wait until something is ready or `timeout_ns` has passed (None: for as long as it takes); put it into `ready`.
        ///
        /// # Errors
        /// `Interrupted` when a signal handler ran.
        pub fn wait(
            &self,
            events: &mut Events,
            timeout_ns: Option<u64>,
            ready: &mut Vec<Ready>,
        ) -> io::Result<()> {
            let count = if timeout_ns == Some(0) || self.in_milliseconds.load(Ordering::Relaxed) {
                self.wait_milliseconds(events, timeout_ns)?
            } else {
                match self.wait_nanoseconds(events, timeout_ns) {
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                        self.in_milliseconds.store(true, Ordering::Relaxed);
                        self.wait_milliseconds(events, timeout_ns)?
                    }
                    done => done?,
                }
            };
            ready
                .extend(events.0[..count].iter().map(|event| (descriptor(event.u64), meaning(event.events))));
            Ok(())
        }

        fn wait_nanoseconds(&self, events: &mut Events, timeout_ns: Option<u64>) -> io::Result<usize> {
            let timeout = timeout_ns.map(timespec);
            let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            let capacity = libc::c_int::try_from(events.0.len()).unwrap_or(libc::c_int::MAX);
            let no_mask = std::ptr::null::<libc::sigset_t>();
            // SAFETY: 1. `events` is ours to write for `capacity` entries.
            //         2. `timeout` is null or points to the timespec above; a null mask leaves the signals as they are.
            let count = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.fd.as_raw_fd(),
                    events.0.as_mut_ptr(),
                    capacity,
                    timeout,
                    no_mask,
                    size_of::<u64>(),
                )
            };
            usize::try_from(count).map_err(|_| io::Error::last_os_error())
        }

        fn wait_milliseconds(&self, events: &mut Events, timeout_ns: Option<u64>) -> io::Result<usize> {
            // Rounded up: to come early would be to ask the clock again and again.
            let timeout = timeout_ns
                .map_or(-1, |ns| libc::c_int::try_from(ns.div_ceil(NS_PER_MS)).unwrap_or(libc::c_int::MAX));
            let capacity = libc::c_int::try_from(events.0.len()).unwrap_or(libc::c_int::MAX);
            // SAFETY: `events` is ours to write for `capacity` entries.
            let count =
                unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.0.as_mut_ptr(), capacity, timeout) };
            usize::try_from(count).map_err(|_| io::Error::last_os_error())
        }
    }

    /// Wait for all of `watched` at once, with poll(2); put into `ready` what is. A timeout as in [`Epoll::wait`].
    ///
    /// # Errors
    /// `Interrupted` when a signal handler ran.
    pub fn poll_many(watched: &[Ready], timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut polls: Vec<_> = watched
            .iter()
            .map(|(fd, interest)| {
                let read = if interest.readable { libc::POLLIN } else { 0 };
                let write = if interest.writable { libc::POLLOUT } else { 0 };
                libc::pollfd { fd: *fd, events: read | write, revents: 0 }
            })
            .collect();
        let count = polls.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let timeout = timeout_ns.map(timespec);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: 1. `polls` is ours to write for `count` entries.
        //         2. `timeout` is null or points to the timespec above; a null mask leaves the signals as they are.
        if unsafe { libc::ppoll(polls.as_mut_ptr(), count, timeout, std::ptr::null()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // The bits of poll are those of epoll; a descriptor that is closed counts as nothing, as in epoll.
        let told = polls.iter().filter(|poll| poll.revents & !libc::POLLNVAL != 0);
        ready.extend(told.map(|poll| (poll.fd, meaning(u32::from(poll.revents.cast_unsigned())))));
        Ok(())
    }

    /// Whether a number is a descriptor of this process.
    #[must_use]
    pub fn is_open(fd: RawFd) -> bool {
        // SAFETY: takes two numbers, and looks at nothing else.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    fn descriptor(number: u64) -> RawFd {
        RawFd::try_from(number).expect("only descriptors were put in")
    }

    /// An error or a hang-up is found by reading or by writing, whichever is wanted.
    fn meaning(events: u32) -> Readiness {
        Readiness {
            readable: events & !libc::EPOLLOUT.cast_unsigned() != 0,
            writable: events & !libc::EPOLLIN.cast_unsigned() != 0,
        }
    }

    fn timespec(ns: u64) -> libc::timespec {
        libc::timespec {
            tv_sec: (ns / NS_PER_S).try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: (ns % NS_PER_S).try_into().unwrap_or(0),
        }
    }
}

#[cfg(target_os = "linux")]
pub use os::Events;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::Events;

#[cfg(not(target_os = "linux"))]
use elsewhere as os;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;
    use std::os::fd::RawFd;

    use super::{Readiness, Ready};

    /// No such thing here.
    #[derive(Debug)]
    pub struct Epoll(std::convert::Infallible);

    /// Room for what one wait reports.
    #[derive(Debug)]
    pub struct Events;

    impl Events {
        /// Room for `capacity` of them.
        #[must_use]
        pub fn with_capacity(_capacity: usize) -> Self {
            Self
        }
    }

    impl Epoll {
        /// # Errors
        /// `Unsupported`, always.
        pub fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// # Errors
        /// Never called.
        pub fn add(&self, _fd: RawFd, _interest: Readiness) -> io::Result<()> {
            match self.0 {}
        }

        /// # Errors
        /// Never called.
        pub fn modify(&self, _fd: RawFd, _interest: Readiness) -> io::Result<()> {
            match self.0 {}
        }

        /// # Errors
        /// Never called.
        pub fn remove(&self, _fd: RawFd) -> io::Result<()> {
            match self.0 {}
        }

        /// # Errors
        /// Never called.
        pub fn wait(
            &self,
            _events: &mut Events,
            _timeout_ns: Option<u64>,
            _ready: &mut Vec<Ready>,
        ) -> io::Result<()> {
            match self.0 {}
        }
    }

    /// Nothing is, where nothing can be watched.
    #[must_use]
    pub fn is_open(_fd: RawFd) -> bool {
        false
    }

    /// # Errors
    /// `Unsupported`, always.
    pub fn poll_many(
        _watched: &[Ready],
        _timeout_ns: Option<u64>,
        _ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    const READ: Readiness = Readiness { readable: true, writable: false };
    const WRITE: Readiness = Readiness { readable: false, writable: true };

    fn look(epoll: &Epoll, timeout_ns: u64) -> Vec<Ready> {
        let mut ready = Vec::new();
        epoll.wait(&mut Events::with_capacity(8), Some(timeout_ns), &mut ready).unwrap();
        ready
    }

    #[test]
    fn what_can_be_read_is_reported_until_it_has_been_read() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(far.as_raw_fd(), READ).unwrap();
        assert_eq!(look(&epoll, 0), []);
        near.write_all(b"x").unwrap();
        assert_eq!(look(&epoll, 0), [(far.as_raw_fd(), READ)]);
        assert_eq!(look(&epoll, 1_000_000), [(far.as_raw_fd(), READ)]);
        epoll.modify(far.as_raw_fd(), WRITE).unwrap();
        assert_eq!(look(&epoll, 0), [(far.as_raw_fd(), WRITE)]);
        epoll.remove(far.as_raw_fd()).unwrap();
        assert_eq!(look(&epoll, 0), []);
        assert_eq!(epoll.remove(far.as_raw_fd()).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn a_wait_is_as_long_as_it_was_asked_for_with_nanoseconds_and_without() {
        let epoll = Epoll::new().unwrap();
        for ns in [300_000, 2_000_000] {
            let before = crate::monotonic_ns();
            assert_eq!(look(&epoll, ns), []);
            assert!(crate::monotonic_ns() - before >= ns);
        }
    }

    #[test]
    fn a_number_that_was_never_opened_is_no_descriptor() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert!(is_open(near.as_raw_fd()));
        assert!(!is_open(-1) && !is_open(1_000_000_000));
    }

    #[test]
    fn poll_says_the_same_as_epoll() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let watched = [(near.as_raw_fd(), WRITE), (far.as_raw_fd(), READ)];
        near.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        poll_many(&watched, None, &mut ready).unwrap();
        assert_eq!(ready, watched);
        drop(near);
        ready.clear();
        poll_many(&watched[1..], Some(0), &mut ready).unwrap();
        assert!(ready[0].1.readable);
    }
}

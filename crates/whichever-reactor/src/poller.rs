//! Who asks the kernel which descriptors are ready: epoll, or poll(2) where there is none or where a test wants it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use whichever_sys::{Epoll, Events, Readiness, Ready, is_open, poll_many};

/// How many descriptors one look reports at most; the others are reported by the next.
const AT_ONCE: usize = 512;

/// What the kernel says of a number that is no descriptor.
pub(crate) const EBADF: i32 = 9;

/// See the module. All methods may be called from any thread; a wait in one sees what another has begun to watch.
#[derive(Debug)]
pub struct Poller(Backend);

#[derive(Debug)]
enum Backend {
    Epoll(Epoll),
    /// What is watched for what: poll(2) is told at each wait anew. A wait does not see what is added meanwhile.
    Poll(Mutex<BTreeMap<RawFd, Readiness>>),
}

/// Room for what a look at the kernel brings.
#[derive(Debug)]
pub struct Glance {
    events: Events,
    /// What was ready.
    pub ready: Vec<Ready>,
}

impl Default for Glance {
    fn default() -> Self {
        Self { events: Events::with_capacity(AT_ONCE), ready: Vec::with_capacity(AT_ONCE) }
    }
}

impl Poller {
    /// With epoll, if the system has it and `without_epoll` does not forbid it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(without_epoll: bool) -> io::Result<Self> {
        if without_epoll {
            return Ok(Self::with_poll());
        }
        match Epoll::new() {
            Ok(epoll) => Ok(Self(Backend::Epoll(epoll))),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Self::with_poll()),
            Err(error) => Err(error),
        }
    }

    fn with_poll() -> Self {
        Self(Backend::Poll(Mutex::default()))
    }

    /// Watch a descriptor for `new` instead of `old`.
    ///
    /// # Errors
    /// What the kernel says, such as that it is no descriptor.
    pub fn change(&self, fd: RawFd, old: Readiness, new: Readiness) -> io::Result<()> {
        match &self.0 {
            Backend::Epoll(epoll) if new.is_none() => epoll.remove(fd),
            Backend::Epoll(epoll) if old.is_none() => add(epoll, fd, new),
            Backend::Epoll(epoll) => match epoll.modify(fd, new) {
                // It was closed without a word, and the number given to another file since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => add(epoll, fd, new),
                done => done,
            },
            Backend::Poll(watched) => {
                if !new.is_none() && !is_open(fd) {
                    return Err(io::Error::from_raw_os_error(EBADF));
                }
                let mut watched = lock(watched);
                if new.is_none() {
                    watched.remove(&fd)
                } else {
                    watched.insert(fd, new)
                };
                Ok(())
            }
        }
    }

    /// Wait until something is ready or `timeout_ns` has passed; fills `glance` anew.
    ///
    /// # Errors
    /// `Interrupted` when a signal handler ran.
    pub fn wait(&self, timeout_ns: Option<u64>, glance: &mut Glance) -> io::Result<()> {
        glance.ready.clear();
        match &self.0 {
            Backend::Epoll(epoll) => epoll.wait(&mut glance.events, timeout_ns, &mut glance.ready),
            Backend::Poll(watched) => {
                let watched: Vec<Ready> =
                    lock(watched).iter().map(|(fd, interest)| (*fd, *interest)).collect();
                poll_many(&watched, timeout_ns, &mut glance.ready)
            }
        }
    }
}

fn add(epoll: &Epoll, fd: RawFd, interest: Readiness) -> io::Result<()> {
    match epoll.add(fd, interest) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => epoll.modify(fd, interest),
        done => done,
    }
}

fn lock(watched: &Mutex<BTreeMap<RawFd, Readiness>>) -> MutexGuard<'_, BTreeMap<RawFd, Readiness>> {
    // Nothing that may panic runs under the lock.
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

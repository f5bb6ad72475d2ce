//! Who waits for which descriptor, and what the kernel has been told of it.
//!
//! The two differ on purpose. Whoever stops waiting and will wait again (a paused transport, a socket between two calls of
//! `sock_recv`) leaves the kernel's registration as it is: to wait again then costs no system call, and only a
//! descriptor that gets ready while nobody waits is taken off the kernel's list, by [`Watches::ready`]. Who
//! may close a descriptor without telling must not do so: the kernel would forget it and we would not.

use std::io;
use std::os::fd::RawFd;

use whichever_sys::Readiness;

use crate::poller::{EBADF, Poller};

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To be read.
    Read,
    /// To be written.
    Write,
}

impl Side {
    fn readiness(self) -> Readiness {
        Readiness { readable: self == Self::Read, writable: self == Self::Write }
    }
}

#[derive(Debug)]
struct Watch<C> {
    reader: Option<C>,
    writer: Option<C>,
    /// What the kernel watches it for.
    told: Readiness,
}

impl<C> Watch<C> {
    const NONE: Self = Self { reader: None, writer: None, told: Readiness::NONE };

    fn wanted(&self) -> Readiness {
        Readiness { readable: self.reader.is_some(), writable: self.writer.is_some() }
    }

    fn side(&mut self, side: Side) -> &mut Option<C> {
        match side {
            Side::Read => &mut self.reader,
            Side::Write => &mut self.writer,
        }
    }

    /// Tell the kernel what is wanted, and no more.
    fn tell(&mut self, poller: &Poller, fd: RawFd) -> io::Result<()> {
        let wanted = self.wanted();
        if wanted == self.told {
            return Ok(());
        }
        let told = std::mem::replace(&mut self.told, wanted);
        poller.change(fd, told, wanted)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Watches<C> {
    /// By descriptor: the kernel hands out the lowest number that is free.
    table: Vec<Watch<C>>,
}

impl<C> Default for Watches<C> {
    fn default() -> Self {
        Self { table: Vec::new() }
    }
}

impl<C> Watches<C> {
    /// Wait for one side of a descriptor; gives back who waited for it before.
    ///
    /// # Errors
    /// What the kernel says: then `caller` is dropped, and nobody waits.
    pub fn watch(&mut self, poller: &Poller, fd: RawFd, side: Side, caller: C) -> io::Result<Option<C>> {
        let index = usize::try_from(fd).map_err(|_| bad_descriptor())?;
        let own = side.readiness();
        if let Some(watch) = self.table.get_mut(index) {
            if !watch.told.covers(own) {
                let old = watch.told;
                // What the kernel was told lazily and nobody wants any more goes in the same call.
                let wanted = watch.wanted();
                let new = Readiness {
                    readable: wanted.readable || own.readable,
                    writable: wanted.writable || own.writable,
                };
                poller.change(fd, old, new)?;
                watch.told = new;
            }
            return Ok(watch.side(side).replace(caller));
        }
        // The table grows to what the kernel has accepted as a descriptor, not to what a program came up with.
        poller.change(fd, Readiness::NONE, own)?;
        self.table.resize_with(index + 1, || Watch::NONE);
        let watch = &mut self.table[index];
        watch.told = own;
        Ok(watch.side(side).replace(caller))
    }

    /// Wait no more for one side of a descriptor, and tell the kernel at once; gives back who waited.
    pub fn unwatch(&mut self, poller: &Poller, fd: RawFd, side: Side) -> Option<C> {
        let watch = self.of(fd)?;
        let caller = watch.side(side).take();
        // An error says that it was closed before: then the kernel has forgotten it.
        if watch.tell(poller, fd).is_err() {
            watch.told = Readiness::NONE;
        }
        caller
    }

    /// Wait no more for one side of a descriptor that is sure to be open until somebody waits again or calls
    /// [`Self::forget`]; gives back who waited. No system call.
    pub fn pause(&mut self, fd: RawFd, side: Side) -> Option<C> {
        self.of(fd)?.side(side).take()
    }

    /// Forget a descriptor that is about to be closed; gives back who waited for it.
    pub fn forget(&mut self, poller: &Poller, fd: RawFd) -> [Option<C>; 2] {
        let Some(watch) = self.of(fd) else { return [None, None] };
        let callers = [watch.reader.take(), watch.writer.take()];
        // Closing would do, if nobody else had a copy of the descriptor.
        let _ = watch.tell(poller, fd);
        watch.told = Readiness::NONE;
        callers
    }

    /// Forget what the kernel was told of a descriptor that was closed without a word.
    pub fn distrust(&mut self, fd: RawFd) {
        if let Some(watch) = self.of(fd) {
            watch.told = Readiness::NONE;
        }
    }

    /// The same, unless somebody waits for it.
    pub fn distrust_idle(&mut self, fd: RawFd) {
        if let Some(watch) = self.of(fd).filter(|watch| watch.wanted().is_none()) {
            watch.told = Readiness::NONE;
        }
    }

    /// Show each who waits for what has become ready; reading first.
    pub fn ready(&mut self, poller: &Poller, fd: RawFd, ready: Readiness, mut show: impl FnMut(&C, Side)) {
        let Some(watch) = self.of(fd) else { return };
        let wanted = watch.wanted();
        if wanted.is_none() {
            // The kernel would go on reporting it. What it was told may have been distrusted since.
            let _ = poller.change(fd, ready, Readiness::NONE);
            watch.told = Readiness::NONE;
        } else if !wanted.covers(watch.told) && watch.tell(poller, fd).is_err() {
            watch.told = Readiness::NONE;
        }
        if let Some(reader) = watch.reader.as_ref().filter(|_| ready.readable) {
            show(reader, Side::Read);
        }
        if let Some(writer) = watch.writer.as_ref().filter(|_| ready.writable) {
            show(writer, Side::Write);
        }
    }

    /// Who waits for one side of a descriptor.
    #[must_use]
    pub fn who(&self, fd: RawFd, side: Side) -> Option<&C> {
        let watch = self.table.get(usize::try_from(fd).ok()?)?;
        match side {
            Side::Read => watch.reader.as_ref(),
            Side::Write => watch.writer.as_ref(),
        }
    }

    /// All who wait.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.table.iter().flat_map(|watch| watch.reader.iter().chain(&watch.writer))
    }

    fn of(&mut self, fd: RawFd) -> Option<&mut Watch<C>> {
        self.table.get_mut(usize::try_from(fd).ok()?)
    }
}

fn bad_descriptor() -> io::Error {
    io::Error::from_raw_os_error(EBADF)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::Glance;

    struct Bench {
        poller: Poller,
        watches: Watches<&'static str>,
        glance: Glance,
    }

    impl Bench {
        /// One with epoll and one with poll: all that is promised holds for both.
        fn each(test: impl Fn(Self, UnixStream, UnixStream)) {
            for without_epoll in [false, true] {
                let poller = Poller::new(without_epoll).unwrap();
                let (near, far) = UnixStream::pair().unwrap();
                test(Self { poller, watches: Watches::default(), glance: Glance::default() }, near, far);
            }
        }

        fn watch(&mut self, socket: &UnixStream, side: Side, name: &'static str) -> Option<&'static str> {
            self.watches.watch(&self.poller, socket.as_raw_fd(), side, name).unwrap()
        }

        /// How many descriptors the kernel reports, and who was shown.
        fn look(&mut self) -> (usize, Vec<&'static str>) {
            self.poller.wait(Some(0), &mut self.glance).unwrap();
            let mut shown = Vec::new();
            for (fd, ready) in &self.glance.ready {
                self.watches.ready(&self.poller, *fd, *ready, |name, _| shown.push(*name));
            }
            (self.glance.ready.len(), shown)
        }
    }

    #[test]
    fn each_side_is_shown_to_who_waits_for_it() {
        Bench::each(|mut bench, mut near, far| {
            assert_eq!(bench.watch(&far, Side::Read, "reader"), None);
            assert_eq!(bench.look(), (0, vec![]));
            near.write_all(b"x").unwrap();
            assert_eq!(bench.watch(&far, Side::Write, "writer"), None);
            assert_eq!(bench.look(), (1, vec!["reader", "writer"]));
            assert_eq!(bench.watch(&far, Side::Read, "other"), Some("reader"));
            assert_eq!(bench.watches.unwatch(&bench.poller, far.as_raw_fd(), Side::Write), Some("writer"));
            assert_eq!(bench.look(), (1, vec!["other"]));
            assert_eq!(bench.watches.unwatch(&bench.poller, far.as_raw_fd(), Side::Read), Some("other"));
            assert_eq!(bench.look(), (0, vec![]));
        });
    }

    #[test]
    fn a_pause_costs_the_kernel_one_report_and_is_over_when_somebody_waits_again() {
        Bench::each(|mut bench, mut near, far| {
            bench.watch(&far, Side::Read, "reader");
            assert_eq!(bench.watches.pause(far.as_raw_fd(), Side::Read), Some("reader"));
            near.write_all(b"x").unwrap();
            assert_eq!(bench.look(), (1, vec![]));
            assert_eq!(bench.look(), (0, vec![]));
            bench.watch(&far, Side::Read, "again");
            assert_eq!(bench.look(), (1, vec!["again"]));
        });
    }

    #[test]
    fn a_descriptor_that_is_not_trusted_is_watched_again_and_never_reported_for_ever() {
        Bench::each(|mut bench, mut near, far| {
            bench.watch(&far, Side::Read, "reader");
            bench.watches.distrust_idle(far.as_raw_fd());
            near.write_all(b"x").unwrap();
            assert_eq!(bench.look(), (1, vec!["reader"]));
            bench.watches.pause(far.as_raw_fd(), Side::Read);
            bench.watches.distrust_idle(far.as_raw_fd());
            bench.watch(&far, Side::Read, "again");
            assert_eq!(bench.look(), (1, vec!["again"]));
            bench.watches.pause(far.as_raw_fd(), Side::Read);
            bench.watches.distrust(far.as_raw_fd());
            assert_eq!(bench.look(), (1, vec![]));
            assert_eq!(bench.look(), (0, vec![]));
        });
    }

    #[test]
    fn a_number_that_was_closed_and_given_out_again_is_watched_anew() {
        Bench::each(|mut bench, near, far| {
            let fd = far.as_raw_fd();
            bench.watch(&far, Side::Read, "old");
            assert_eq!(bench.watches.forget(&bench.poller, fd), [Some("old"), None]);
            drop((near, far));
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(b"x").unwrap();
            bench.watch(&far, Side::Read, "new");
            assert_eq!(bench.look(), (1, vec!["new"]));
        });
    }

    #[test]
    fn a_hang_up_reaches_whoever_waits() {
        Bench::each(|mut bench, near, far| {
            bench.watch(&far, Side::Read, "reader");
            drop(near);
            assert_eq!(bench.look(), (1, vec!["reader"]));
        });
    }

    #[test]
    fn what_is_no_descriptor_is_refused_and_takes_no_room() {
        for without_epoll in [false, true] {
            let poller = Poller::new(without_epoll).unwrap();
            let mut watches = Watches::default();
            for fd in [-1, 1_000_000_000] {
                let error = watches.watch(&poller, fd, Side::Read, "nobody").unwrap_err();
                assert_eq!(error.raw_os_error(), Some(EBADF));
            }
            assert!(watches.table.is_empty());
        }
    }
}

//! Where one thread sleeps once: made for one sleep, told at most once, thrown away.

#[cfg(loom)]
pub(crate) use model::Parker;
#[cfg(not(loom))]
pub(crate) use real::Parker;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    /// Somebody told us.
    Told,
    /// The time is over.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

#[cfg(not(loom))]
mod real {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use whichever_sys::{FutexWait, futex_wait, futex_wake, monotonic_ns};

    use super::Parked;

    const ASLEEP: u32 = 0;
    const TOLD: u32 = 1;

    #[derive(Debug, Default)]
    pub(crate) struct Parker(AtomicU32);

    impl Parker {
        pub(crate) fn tell(&self) {
            // Release: pairs with the load in `park`. What was changed before is under the queue's lock anyway.
            self.0.store(TOLD, Ordering::Release);
            futex_wake(&self.0, 1);
        }

        pub(crate) fn park(&self, deadline_ns: Option<u64>) -> Parked {
            loop {
                if self.0.load(Ordering::Acquire) == TOLD {
                    return Parked::Told;
                }
                let left = deadline_ns.map(|deadline| deadline.saturating_sub(monotonic_ns()));
                if left == Some(0) {
                    return Parked::TimedOut;
                }
                if futex_wait(&self.0, ASLEEP, left.map(Duration::from_nanos)) == FutexWait::Interrupted {
                    return Parked::Interrupted;
                }
            }
        }
    }
}

#[cfg(loom)]
mod model {
    use loom::sync::{Condvar, Mutex};

    use super::Parked;

    /// The same on loom's locks. Any deadline is over at once, so that leaving without being told is explored too.
    #[derive(Debug, Default)]
    pub(crate) struct Parker {
        told: Mutex<bool>,
        sleeper: Condvar,
    }

    impl Parker {
        pub(crate) fn tell(&self) {
            *self.told.lock().expect("no model panics under the lock") = true;
            self.sleeper.notify_one();
        }

        pub(crate) fn park(&self, deadline_ns: Option<u64>) -> Parked {
            let mut told = self.told.lock().expect("no model panics under the lock");
            while !*told {
                if deadline_ns.is_some() {
                    return Parked::TimedOut;
                }
                told = self.sleeper.wait(told).expect("no model panics under the lock");
            }
            Parked::Told
        }
    }
}

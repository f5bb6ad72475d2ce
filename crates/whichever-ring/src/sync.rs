//! The seam between this machine's atomics and loom's: everything else in this crate is the same under both.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use futex::FutexWord;

#[cfg(not(loom))]
mod futex {
    use std::time::Duration;

    use whichever_sys::{FutexWait, futex_clear_and_wake, futex_wait};

    use super::{AtomicU32, Ordering};

    /// A word that threads sleep on, wherever its memory is shared.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub(crate) struct FutexWord(AtomicU32);

    impl FutexWord {
        pub(crate) fn load(&self, ordering: Ordering) -> u32 {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: u32, ordering: Ordering) {
            self.0.store(value, ordering);
        }

        pub(crate) fn wait(&self, expected: u32, timeout: Option<Duration>) -> FutexWait {
            futex_wait(&self.0, expected, timeout)
        }

        pub(crate) fn clear_and_wake(&self) {
            futex_clear_and_wake(&self.0);
        }
    }
}

#[cfg(loom)]
mod futex {
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};
    use whichever_sys::FutexWait;

    use super::{AtomicU32, Ordering};

    /// The kernel's futex as loom can explore it: one lock stands for the kernel's, under which a sleeper compares the
    /// word and falls asleep. Timeouts do not exist here, so a lost wake is a deadlock, which loom reports.
    #[derive(Debug, Default)]
    pub(crate) struct FutexWord {
        word: AtomicU32,
        kernel: Mutex<()>,
        sleepers: Condvar,
    }

    impl FutexWord {
        pub(crate) fn load(&self, ordering: Ordering) -> u32 {
            self.word.load(ordering)
        }

        pub(crate) fn store(&self, value: u32, ordering: Ordering) {
            self.word.store(value, ordering);
        }

        pub(crate) fn wait(&self, expected: u32, _timeout: Option<Duration>) -> FutexWait {
            let held = self.kernel.lock().expect("no model panics while it holds the lock");
            if self.word.load(Ordering::Relaxed) != expected {
                return FutexWait::Changed;
            }
            drop(self.sleepers.wait(held).expect("no model panics while it holds the lock"));
            FutexWait::Woken
        }

        pub(crate) fn clear_and_wake(&self) {
            let _held = self.kernel.lock().expect("no model panics while it holds the lock");
            self.word.store(0, Ordering::Relaxed);
            self.sleepers.notify_all();
        }
    }
}

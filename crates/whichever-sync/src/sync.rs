//! The seam between this machine's atomics and loom's: everything else in this crate is the same under both.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use word::Word;

#[cfg(not(loom))]
mod word {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use whichever_sys::{FutexWait, futex_wait_here, futex_wake_here};

    /// A word that threads of this process sleep on.
    #[derive(Debug, Default)]
    pub(crate) struct Word(AtomicU32);

    impl Word {
        pub(crate) fn load(&self, ordering: Ordering) -> u32 {
            self.0.load(ordering)
        }

        pub(crate) fn swap(&self, value: u32, ordering: Ordering) -> u32 {
            self.0.swap(value, ordering)
        }

        pub(crate) fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
            self.0.fetch_or(bits, ordering)
        }

        /// Change `old` to `new`, or say what is there. Acquires and releases.
        pub(crate) fn change(&self, old: u32, new: u32) -> Result<u32, u32> {
            self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        }

        pub(crate) fn wait(&self, expected: u32, timeout: Option<Duration>) -> FutexWait {
            futex_wait_here(&self.0, expected, timeout)
        }

        pub(crate) fn wake_all(&self) {
            futex_wake_here(&self.0, u32::MAX);
        }
    }
}

#[cfg(loom)]
mod word {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};
    use whichever_sys::FutexWait;

    /// The kernel's futex as loom can explore it: one lock stands for the kernel's, under which a sleeper compares the
    /// word and falls asleep. Timeouts do not exist here, so a lost wake is a deadlock, which loom reports.
    #[derive(Debug, Default)]
    pub(crate) struct Word {
        word: AtomicU32,
        kernel: Mutex<()>,
        sleepers: Condvar,
    }

    impl Word {
        pub(crate) fn load(&self, ordering: Ordering) -> u32 {
            self.word.load(ordering)
        }

        pub(crate) fn swap(&self, value: u32, ordering: Ordering) -> u32 {
            self.word.swap(value, ordering)
        }

        pub(crate) fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
            self.word.fetch_or(bits, ordering)
        }

        pub(crate) fn change(&self, old: u32, new: u32) -> Result<u32, u32> {
            self.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        }

        pub(crate) fn wait(&self, expected: u32, _timeout: Option<Duration>) -> FutexWait {
            let held = self.kernel.lock().expect("no model panics while it holds the lock");
            if self.word.load(Ordering::Relaxed) != expected {
                return FutexWait::Changed;
            }
            drop(self.sleepers.wait(held).expect("no model panics while it holds the lock"));
            FutexWait::Woken
        }

        pub(crate) fn wake_all(&self) {
            // Taken and given back: a sleeper has either not compared yet or is asleep.
            drop(self.kernel.lock().expect("no model panics while it holds the lock"));
            self.sleepers.notify_all();
        }
    }
}

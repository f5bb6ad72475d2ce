//! Where glibc counts the threads that wait on a condition variable: found by looking at one with a known number of them.
//!
//! It is no part of glibc's interface, and has moved once. So nothing is believed but what a live one shows, and a C library
//! that keeps no such count shows none.

use std::sync::OnceLock;

/// What each waiting thread adds to the count; the bits below are flags.
pub const PER_WAITER: u32 = 8;

/// How many bytes into a condition variable the 32-bit count of its waiters is; None where there is none.
///
/// The first call starts a thread and waits for it, some 100 us.
pub fn waiters_in_condition() -> Option<usize> {
    static FOUND: OnceLock<Option<usize>> = OnceLock::new();
    *FOUND.get_or_init(os::find)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod os {
    use std::cell::UnsafeCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::PER_WAITER;
    use crate::SignalsBlocked;

    /// Where the count has been in glibc since 2.25, and since 2.41.
    const PLACES: [usize; 2] = [36, 28];

    /// A condition, its mutex, and how far the thread is that waits on it.
    struct Specimen {
        condition: UnsafeCell<libc::pthread_cond_t>,
        mutex: UnsafeCell<libc::pthread_mutex_t>,
        /// Under the mutex: whether the thread waits, and whether it is to go on.
        waits: AtomicBool,
        is_over: AtomicBool,
    }

    // SAFETY: condition and mutex are made for several threads.
    unsafe impl Sync for Specimen {}
    // SAFETY: it is behind an `Arc`, so that nothing in it moves once it is used.
    unsafe impl Send for Specimen {}

    pub(super) fn find() -> Option<usize> {
        let specimen = Arc::new(Specimen {
            condition: UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER),
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            waits: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let other = Arc::clone(&specimen);
        let waiter = {
            let _blocked = SignalsBlocked::new(); // the thread inherits it: signals are for others
            std::thread::Builder::new().spawn(move || other.wait()).ok()?
        };
        let with_one = specimen.counts_with_a_waiter();
        let joined = waiter.join().is_ok();
        let with_none = specimen.counts();
        let is_it = |place: &usize| with_one[*place] == PER_WAITER && with_none[*place] == 0;
        let found: Vec<usize> = (0..PLACES.len()).filter(is_it).map(|place| PLACES[place]).collect();
        (joined && found.len() == 1).then(|| found[0])
    }

    impl Specimen {
        fn lock(&self) {
            // SAFETY: an initialized mutex that never moves, and that this thread does not hold.
            unsafe { libc::pthread_mutex_lock(self.mutex.get()) };
        }

        fn unlock(&self) {
            // SAFETY: this thread holds it.
            unsafe { libc::pthread_mutex_unlock(self.mutex.get()) };
        }

        fn wait(&self) {
            self.lock();
            self.waits.store(true, Ordering::Relaxed);
            while !self.is_over.load(Ordering::Relaxed) {
                // SAFETY: both are initialized and never move, and this thread holds the mutex.
                unsafe { libc::pthread_cond_wait(self.condition.get(), self.mutex.get()) };
            }
            self.unlock();
        }

        /// The counts, while one thread waits; then it waits no longer.
        fn counts_with_a_waiter(&self) -> [u32; PLACES.len()] {
            self.lock();
            // It lets go of the mutex only inside of its wait, where it is counted already.
            while !self.waits.load(Ordering::Relaxed) {
                self.unlock();
                std::thread::yield_now();
                self.lock();
            }
            let counts = self.counts();
            self.is_over.store(true, Ordering::Relaxed);
            // SAFETY: an initialized condition that never moves.
            unsafe { libc::pthread_cond_signal(self.condition.get()) };
            self.unlock();
            counts
        }

        fn counts(&self) -> [u32; PLACES.len()] {
            PLACES.map(|place| {
                let word = self.condition.get().cast::<u32>().wrapping_add(place / 4);
                // SAFETY: 1. inside of the condition, which has 48 bytes and is aligned to 8.
                //         2. glibc writes these words by atomic instructions.
                let count = unsafe { AtomicU32::from_ptr(word) };
                count.load(Ordering::Acquire)
            })
        }
    }

    const _: () = assert!(size_of::<libc::pthread_cond_t>() == 48);
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod os {
    pub(super) fn find() -> Option<usize> {
        None
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_and_stays_where_it_is() {
        let place = waiters_in_condition().expect("glibc counts the waiters of a condition");
        assert!(place < 48 && place.is_multiple_of(4));
        assert_eq!(waiters_in_condition(), Some(place));
        assert_eq!(os::find(), Some(place));
    }
}

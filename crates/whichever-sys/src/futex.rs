//! Sleeping on a word of memory until another thread, of this process or of another, wakes it.
//!
//! Guarantee: these are shared futexes (but for the `_here` forms), so a word in a shared mapping works across processes. Waits may end for no
//! reason: callers look again at what they wait for. Elsewhere than on Linux a wait returns at once.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Why `futex_wait` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FutexWait {
    /// Somebody called `futex_wake`, or the kernel pretends so.
    Woken,
    /// The word did not hold the expected value, so nothing was waited for.
    Changed,
    /// The timeout has passed.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

/// Sleep while `word` holds `expected`, until somebody wakes it or `timeout` has passed.
///
/// The kernel compares and falls asleep in one step: a wake after a change of the word is never missed.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> FutexWait {
    os::wait(word, expected, timeout, os::SHARED)
}

/// Wake up to `count` sleepers of `word`.
pub fn futex_wake(word: &AtomicU32, count: u32) {
    os::wake(word, count, os::SHARED);
}

/// As `futex_wait`, for a word that only threads of this process use: the kernel finds its sleepers sooner.
pub fn futex_wait_here(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> FutexWait {
    os::wait(word, expected, timeout, os::PRIVATE)
}

/// As `futex_wake`, for sleepers in `futex_wait_here`.
pub fn futex_wake_here(word: &AtomicU32, count: u32) {
    os::wake(word, count, os::PRIVATE);
}

/// Set `word` to 0 and wake all its sleepers, in one system call.
///
/// A thread killed on its way either has done both or neither: it cannot leave a word that says 0 beside a sleeper.
pub fn futex_clear_and_wake(word: &AtomicU32) {
    os::clear_and_wake(word);
}

#[cfg(target_os = "linux")]
mod os {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::FutexWait;

    /// Added to an operation on a word in memory that processes share, and on one that they do not.
    pub(super) const SHARED: libc::c_int = 0;
    pub(super) const PRIVATE: libc::c_int = libc::FUTEX_PRIVATE_FLAG;

    pub(super) fn wait(
        word: &AtomicU32,
        expected: u32,
        timeout: Option<Duration>,
        reach: libc::c_int,
    ) -> FutexWait {
        let operation = libc::FUTEX_WAIT | reach;
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: 1. `word` is a reference, so its four bytes stay mapped and aligned during the call.
        //         2. `timeout` is null or points to a timespec above, with nanoseconds below one second.
        let failed =
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, expected, timeout) } != 0;
        if !failed {
            return FutexWait::Woken;
        }
        match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => FutexWait::Changed,
            Some(libc::ETIMEDOUT) => FutexWait::TimedOut,
            Some(libc::EINTR) => FutexWait::Interrupted,
            // Nothing else can happen to a valid word; should it, a wake without reason is the safe lie.
            _ => FutexWait::Woken,
        }
    }

    pub(super) fn wake(word: &AtomicU32, count: u32, reach: libc::c_int) {
        let operation = libc::FUTEX_WAKE | reach;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        // SAFETY: the kernel uses the address of `word`, a live reference, as a name only.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count) };
    }

    pub(super) fn clear_and_wake(word: &AtomicU32) {
        /// "Set the second word to 0; if it was 0, wake sleepers of it too", in the kernel's encoding.
        const SET_ZERO_IF_ZERO: libc::c_int = 0;
        // SAFETY: 1. both addresses are `word`, a live reference to an aligned word that may be written.
        //         2. the fourth argument is a count here, not a pointer.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE_OP,
                i32::MAX,
                0_usize,
                word.as_ptr(),
                SET_ZERO_IF_ZERO,
            )
        } < 0;
        if failed {
            // A sandbox without this call: the same in two steps.
            word.store(0, Ordering::SeqCst);
            wake(word, u32::MAX, SHARED);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::FutexWait;

    pub(super) const SHARED: i32 = 0;
    pub(super) const PRIVATE: i32 = 0;

    pub(super) fn wait(
        word: &AtomicU32,
        expected: u32,
        _timeout: Option<Duration>,
        _reach: i32,
    ) -> FutexWait {
        std::thread::yield_now();
        if word.load(Ordering::SeqCst) == expected { FutexWait::Woken } else { FutexWait::Changed }
    }

    pub(super) fn wake(_word: &AtomicU32, _count: u32, _reach: i32) {}

    pub(super) fn clear_and_wake(word: &AtomicU32) {
        word.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn a_changed_word_is_not_waited_for() {
        assert_eq!(futex_wait(&AtomicU32::new(7), 8, LONG), FutexWait::Changed);
    }

    #[test]
    fn a_wait_ends_with_its_timeout() {
        let before = crate::monotonic_ns();
        assert_eq!(futex_wait(&AtomicU32::new(7), 7, Some(Duration::from_millis(20))), FutexWait::TimedOut);
        assert!(crate::monotonic_ns() - before >= 20_000_000);
    }

    /// Let a thread wait on a word that holds 1, until `wake` ends its wait; says how it ended.
    fn waited_until(wake: fn(&AtomicU32)) -> FutexWait {
        let word = Arc::new(AtomicU32::new(1));
        let shared = Arc::clone(&word);
        let waiter = std::thread::spawn(move || {
            loop {
                match futex_wait(&shared, 1, LONG) {
                    FutexWait::Woken if shared.load(Ordering::SeqCst) == 1 => {}
                    end => return end,
                }
            }
        });
        wake(&word);
        waiter.join().unwrap()
    }

    #[test]
    fn a_wake_after_a_change_is_never_missed() {
        for _ in 0..200 {
            let end = waited_until(|word| {
                word.store(0, Ordering::SeqCst);
                futex_wake(word, 1);
            });
            assert!(matches!(end, FutexWait::Woken | FutexWait::Changed), "{end:?}");
        }
    }

    #[test]
    fn clearing_and_waking_is_one_step() {
        for _ in 0..200 {
            let end = waited_until(futex_clear_and_wake);
            assert!(matches!(end, FutexWait::Woken | FutexWait::Changed), "{end:?}");
        }
    }
}

//! A bell: one sleeps until another has something for it, without a system call while nobody sleeps.
//!
//! An eventcount on one shared word. Guarantee: a ring after a change is never missed by a sleeper that looks for the
//! change (PROTOCOL.md has the argument), also when another ringer was killed at any step.

use std::time::Duration;

use whichever_sys::{FutexWait, monotonic_ns};

use crate::sync::{FutexWord, Ordering, fence};
use whichever_sync::Spin;

/// Nobody sleeps, or whoever did is being woken.
const QUIET: u32 = 0;
/// Somebody sleeps, or is about to.
const ASLEEP: u32 = 1;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// What was waited for is there.
    Ready,
    /// It was not, and the time is over.
    TimedOut,
    /// A signal handler ran in this thread; whether it is there was not looked at again.
    Interrupted,
}

/// A bell in shared memory. Any number may ring; at most one thread waits at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bell<'a> {
    word: &'a FutexWord,
}

impl<'a> Bell<'a> {
    pub(crate) fn new(word: &'a FutexWord) -> Self {
        Self { word }
    }

    /// Wake whoever sleeps, after a change that it may be waiting for.
    #[inline]
    pub fn ring(&self) {
        // Pairs with the fence in `wait`: either we see that somebody is about to sleep, or it sees our change.
        fence(Ordering::SeqCst);
        if self.word.load(Ordering::Relaxed) != QUIET {
            self.word.clear_and_wake();
        }
    }

    /// Sleep until `ready` says yes, for as long as `timeout`. `ready` looks at shared state with `Acquire` or stronger
    /// and is asked again after every ring.
    ///
    /// A signal handler that ran ends the wait: whoever called decides whether to go on.
    pub fn wait(&self, mut ready: impl FnMut() -> bool, timeout: Option<Duration>, spin: &mut Spin) -> Wait {
        if spin.until(&mut ready) {
            return Wait::Ready;
        }
        let deadline = timeout.map(deadline_after);
        let end = loop {
            self.word.store(ASLEEP, Ordering::Relaxed);
            // Pairs with the fence in `ring`.
            fence(Ordering::SeqCst);
            if ready() {
                break Wait::Ready;
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(monotonic_ns()));
            if left == Some(0) {
                break Wait::TimedOut;
            }
            if self.word.wait(ASLEEP, left.map(Duration::from_nanos)) == FutexWait::Interrupted {
                break Wait::Interrupted;
            }
        };
        self.word.store(QUIET, Ordering::Relaxed);
        end
    }
}

fn deadline_after(timeout: Duration) -> u64 {
    monotonic_ns().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[cfg(not(loom))]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::{create_page, open_page};

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn a_wait_for_nothing_ends_with_its_timeout_and_for_something_at_once() {
        let (_file, page) = create_page().unwrap();
        let mut spin = Spin::never();
        let short = Some(Duration::from_millis(20));
        let before = monotonic_ns();
        assert_eq!(page.bell().wait(|| false, short, &mut spin), Wait::TimedOut);
        assert!(monotonic_ns() - before >= 20_000_000);
        assert_eq!(page.bell().wait(|| true, None, &mut spin), Wait::Ready);
        assert_eq!(page.bell().wait(|| false, Some(Duration::ZERO), &mut spin), Wait::TimedOut);
    }

    /// Two threads hand a counter to and fro over two pages; each would sleep forever over a wake that is lost.
    fn hand_over(rounds: u64, spin: fn() -> Spin) {
        let ((near_file, near), (_, far)) = (create_page().unwrap(), create_page().unwrap());
        let turn = Arc::new(AtomicU64::new(0));
        let other = (open_page(near_file).unwrap(), far.clone(), Arc::clone(&turn));
        let peer = std::thread::spawn(move || {
            let (near, far, turn) = other;
            play(&turn, 1, rounds, (&far, &near), spin);
        });
        play(&turn, 0, rounds, (&near, &far), spin);
        peer.join().unwrap();
    }

    fn play(
        turn: &AtomicU64,
        first: u64,
        rounds: u64,
        (own, peer): (&crate::Page, &crate::Page),
        spin: fn() -> Spin,
    ) {
        let mut spin = spin();
        for round in 0..rounds {
            let mine = 2 * round + first;
            let ready = || turn.load(Ordering::Acquire) == mine;
            assert_eq!(own.bell().wait(ready, LONG, &mut spin), Wait::Ready);
            turn.store(mine + 1, Ordering::Release);
            peer.bell().ring();
        }
    }

    #[test]
    fn no_wake_is_lost_by_sleepers() {
        hand_over(20_000, Spin::never);
    }

    #[test]
    fn no_wake_is_lost_by_those_who_spin_first() {
        hand_over(20_000, Spin::new);
    }
}

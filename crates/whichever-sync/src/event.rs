//! A flag that threads of this process sleep on until it is set.

use std::time::Duration;

use whichever_sys::{FutexWait, monotonic_ns};

use crate::Spin;
use crate::phase::{Waited, deadline_after};
use crate::sync::{Ordering, Word};

const SET: u32 = 1;
/// Somebody sleeps, or did.
const PARKED: u32 = 2;

/// See the module.
#[derive(Debug, Default)]
pub struct Event {
    /// Whether it is set, and whether somebody sleeps.
    word: Word,
}

impl Event {
    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        // Acquire: whoever sees the flag sees what was written before it was set.
        self.word.load(Ordering::Acquire) & SET != 0
    }

    /// Set it and wake all who sleep.
    pub fn set(&self) {
        if self.word.swap(SET, Ordering::AcqRel) & PARKED != 0 {
            self.word.wake_all();
        }
    }

    /// Take it back.
    pub fn clear(&self) {
        // Who sleeps stays marked: it may be set again before they look.
        let mut word = self.word.load(Ordering::Acquire);
        while let Err(other) = self.word.change(word, word & !SET) {
            word = other;
        }
    }

    /// Sleep until it is set, for as long as `timeout`.
    pub fn wait(&self, timeout: Option<Duration>, spin: &mut Spin) -> Waited {
        if spin.until(&mut || self.is_set()) {
            return Waited::Ready;
        }
        let deadline = timeout.map(deadline_after);
        loop {
            let before = self.word.fetch_or(PARKED, Ordering::AcqRel);
            if before & SET != 0 {
                return Waited::Ready;
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(monotonic_ns()));
            if left == Some(0) {
                return Waited::TimedOut;
            }
            if self.word.wait(PARKED, left.map(Duration::from_nanos)) == FutexWait::Interrupted {
                return if self.is_set() { Waited::Ready } else { Waited::Interrupted };
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_is_waited_for_until_it_is_set_and_again_once_it_was_cleared() {
        let event = Event::default();
        let short = Some(Duration::from_millis(10));
        assert_eq!(event.wait(short, &mut Spin::never()), Waited::TimedOut);
        event.set();
        assert_eq!(event.wait(None, &mut Spin::never()), Waited::Ready);
        event.clear();
        assert!(!event.is_set());
        assert_eq!(event.wait(short, &mut Spin::never()), Waited::TimedOut);
    }

    #[test]
    fn a_sleeper_is_woken() {
        for _ in 0..500 {
            let event = Arc::new(Event::default());
            let shared = Arc::clone(&event);
            let waiter =
                std::thread::spawn(move || shared.wait(Some(Duration::from_secs(20)), &mut Spin::never()));
            event.set();
            assert_eq!(waiter.join().unwrap(), Waited::Ready);
        }
    }
}

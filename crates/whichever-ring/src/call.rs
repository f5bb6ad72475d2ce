//! Sleeping until something that a lock guards has changed, with any number of sleepers and no word of who they are.
//!
//! A bell for one sleeper needs no lock; here there is one anyway, and PROTOCOL.md ("A depot's calls") says why no wake is
//! lost. All sleepers are woken at once and look again, so that none that was killed on its way keeps others asleep.

use std::time::Duration;

use whichever_sys::FutexWait;

use crate::sync::{FutexWord, Ordering};

const NOBODY: u32 = 0;
const ASLEEP: u32 = 1;

/// The word that sleepers of one kind share.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Call(FutexWord);

impl Call {
    /// Say, under the lock, that one is about to sleep: what it wants is not there.
    pub fn expect(&self) {
        self.0.store(ASLEEP, Ordering::Relaxed);
    }

    /// Sleep, after the lock was left, until somebody answers.
    pub fn sleep(&self, timeout: Option<Duration>) -> FutexWait {
        self.0.wait(ASLEEP, timeout)
    }

    /// Whether, under the lock, somebody is asleep or about to be. The one who has made a change answers if so.
    #[inline]
    pub fn is_expected(&self) -> bool {
        self.0.load(Ordering::Relaxed) != NOBODY
    }

    /// Wake all sleepers, after the lock was left.
    #[cold]
    pub fn answer(&self) {
        self.0.clear_and_wake();
    }
}

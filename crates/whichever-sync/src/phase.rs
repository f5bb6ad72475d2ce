//! The state of a future in one word, and the place where those sleep who wait for its end.
//!
//! The standard library's states and their order: pending, running, then finished; or cancelled and then, once its waiters
//! have been told, notified. Whoever changes the state learns from the same step who waits for the change.

use std::time::Duration;

use whichever_sys::{FutexWait, monotonic_ns};

use crate::Spin;
use crate::sync::{Ordering, Word};

/// Bits of the word that hold the state.
const STATE: u32 = 0b111;
/// Somebody waits, asleep or not.
const WATCHED: u32 = 1 << 3;
/// Somebody sleeps on the word.
const PARKED: u32 = 1 << 4;
/// Somebody is to be told who does not sleep here: callbacks, waiters of several futures.
const LISTENED: u32 = 1 << 5;

/// What has become of a task. Each state is only followed by later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum State {
    /// Nobody runs it yet.
    Pending = 0,
    /// It runs.
    Running = 1,
    /// It will not run; those who wait for several futures have not been told.
    Cancelled = 2,
    /// It will not run, and everybody has been told.
    Notified = 3,
    /// It has an outcome.
    Finished = 4,
}

/// Who waited for a change of state when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Somebody waits, asleep or not.
    pub watched: bool,
    /// Somebody sleeps: call `wake`.
    pub parked: bool,
    /// Somebody is to be told otherwise.
    pub listened: bool,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It is there.
    Ready,
    /// It is not, and the time is over.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Phase {
    /// The state and the marks of those who wait. Marks are never taken back.
    word: Word,
}

impl Phase {
    /// The state now. Whoever sees an end sees what was written before it.
    #[must_use]
    pub fn state(&self) -> State {
        // Acquire: pairs with the change to this state.
        state_of(self.word.load(Ordering::Acquire))
    }

    /// Whether it has ended, or will not run.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state() >= State::Cancelled
    }

    /// Whether it has ended and waiters of several futures may count it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.state() >= State::Notified
    }

    /// Whether somebody is to be told of its end otherwise than by a wake.
    #[must_use]
    pub fn is_listened(&self) -> bool {
        self.word.load(Ordering::Relaxed) & LISTENED != 0
    }

    /// From pending to running.
    ///
    /// # Errors
    /// The state that it has instead.
    pub fn start(&self) -> Result<Marks, State> {
        self.change(State::Running, |state| state == State::Pending)
    }

    /// From pending to cancelled, or to notified where `told` says that nobody will have to be told later.
    ///
    /// # Errors
    /// The state that it has instead.
    pub fn cancel(&self, told: bool) -> Result<Marks, State> {
        let to = if told { State::Notified } else { State::Cancelled };
        self.change(to, |state| state == State::Pending)
    }

    /// From running to notified: a task that was stopped.
    ///
    /// # Errors
    /// The state that it has instead.
    pub fn stop(&self) -> Result<Marks, State> {
        self.change(State::Notified, |state| state < State::Cancelled)
    }

    /// From cancelled to notified.
    ///
    /// # Errors
    /// The state that it has instead.
    pub fn notify(&self) -> Result<Marks, State> {
        self.change(State::Notified, |state| state == State::Cancelled)
    }

    /// To finished. What its waiters shall find must have been written before.
    ///
    /// # Errors
    /// The state that it has instead: it had ended.
    pub fn finish(&self) -> Result<Marks, State> {
        self.change(State::Finished, |state| state < State::Cancelled)
    }

    /// To any state, whatever it was.
    pub fn force(&self, to: State) -> Marks {
        self.change(to, |_| true).unwrap_or_default()
    }

    /// Wake all who sleep, after a change whose marks said `parked`.
    pub fn wake(&self) {
        self.word.wake_all();
    }

    /// Be told of the end. False when it is there: nobody will tell.
    #[must_use]
    pub fn listen(&self) -> bool {
        // AcqRel: pairs with the change to an end. Either it sees our mark, or we see it.
        let before = self.word.fetch_or(LISTENED, Ordering::AcqRel);
        state_of(before) < State::Notified
    }

    /// Sleep until it has ended, for as long as `timeout`.
    pub fn wait(&self, timeout: Option<Duration>, spin: &mut Spin) -> Waited {
        if self.is_settled() || is_settled(self.word.fetch_or(WATCHED, Ordering::AcqRel)) {
            return Waited::Ready;
        }
        if spin.until(&mut || self.is_settled()) {
            return Waited::Ready;
        }
        let deadline = timeout.map(deadline_after);
        loop {
            let before = self.word.fetch_or(PARKED, Ordering::AcqRel);
            if is_settled(before) {
                return Waited::Ready;
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(monotonic_ns()));
            if left == Some(0) {
                return Waited::TimedOut;
            }
            // An end changes the word, so it is either seen by the kernel's comparison or followed by a wake.
            if self.word.wait(before | PARKED, left.map(Duration::from_nanos)) == FutexWait::Interrupted {
                return if self.is_settled() { Waited::Ready } else { Waited::Interrupted };
            }
        }
    }

    fn change(&self, to: State, may: impl Fn(State) -> bool) -> Result<Marks, State> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if !may(state_of(word)) {
                return Err(state_of(word));
            }
            match self.word.change(word, word & !STATE | to as u32) {
                Ok(_) => {
                    return Ok(Marks {
                        watched: word & WATCHED != 0,
                        parked: word & PARKED != 0,
                        listened: word & LISTENED != 0,
                    });
                }
                Err(other) => word = other,
            }
        }
    }
}

fn state_of(word: u32) -> State {
    match word & STATE {
        0 => State::Pending,
        1 => State::Running,
        2 => State::Cancelled,
        3 => State::Notified,
        _ => State::Finished,
    }
}

fn is_settled(word: u32) -> bool {
    state_of(word) >= State::Cancelled
}

pub(crate) fn deadline_after(timeout: Duration) -> u64 {
    monotonic_ns().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn states_follow_one_another_and_never_go_back() {
        let phase = Phase::default();
        assert_eq!(phase.start(), Ok(Marks::default()));
        assert_eq!(phase.start(), Err(State::Running));
        assert_eq!(phase.cancel(false), Err(State::Running));
        assert!(phase.finish().is_ok());
        assert_eq!(phase.finish(), Err(State::Finished));
        assert_eq!(phase.stop(), Err(State::Finished));
        assert!(phase.is_settled() && phase.is_told());
    }

    #[test]
    fn a_cancelled_one_is_settled_before_it_is_told() {
        let phase = Phase::default();
        assert!(phase.cancel(false).is_ok());
        assert!(phase.is_settled() && !phase.is_told());
        assert_eq!(phase.start(), Err(State::Cancelled));
        assert!(phase.notify().is_ok());
        assert!(phase.is_told());
    }

    #[test]
    fn who_changes_the_state_learns_who_listens() {
        let phase = Phase::default();
        assert!(phase.listen());
        let marks = phase.finish().unwrap();
        assert_eq!(marks, Marks { watched: false, parked: false, listened: true });
        assert!(!phase.listen());
    }

    #[test]
    fn a_wait_ends_with_its_timeout_or_at_once() {
        let phase = Phase::default();
        let short = Some(Duration::from_millis(20));
        let before = monotonic_ns();
        assert_eq!(phase.wait(short, &mut Spin::never()), Waited::TimedOut);
        assert!(monotonic_ns() - before >= 20_000_000);
        assert!(phase.finish().unwrap().parked);
        assert_eq!(phase.wait(None, &mut Spin::never()), Waited::Ready);
    }

    #[test]
    fn a_sleeper_is_woken_by_the_end() {
        for round in 0..500 {
            let phase = Arc::new(Phase::default());
            let shared = Arc::clone(&phase);
            let waiter = std::thread::spawn(move || {
                let mut spin = if round % 2 == 0 { Spin::never() } else { Spin::new() };
                shared.wait(Some(Duration::from_secs(20)), &mut spin)
            });
            let started = phase.start();
            assert!(started.is_ok());
            if phase.finish().unwrap().parked {
                phase.wake();
            }
            assert_eq!(waiter.join().unwrap(), Waited::Ready);
        }
    }
}

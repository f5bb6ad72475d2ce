//! Where others see what a worker is at: the task that it runs, and until when it may.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::job::Target;

/// No limit of time.
const NEVER: u64 = 0;

/// A worker's part in the pool when its task ran past its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    /// It did not.
    Whole = 0,
    /// The task was given up; the worker keeps its place among the pool's workers.
    Stuck = 1,
    /// The task was given up, and the place as well: another thread has it.
    Replaced = 2,
}

/// A task with a limit of time.
#[derive(Clone)]
pub(super) struct Timed {
    pub(super) target: Target,
    pub(super) timeout_ns: u64,
}

/// See the module. One for each worker.
pub(super) struct Station {
    /// Its thread, as the GIL names its holder; 0 until that has come.
    thread_state: AtomicU64,
    /// When its task will be past its time, by the monotonic clock; `NEVER` if it has no limit. Written with `timed` locked.
    deadline_ns: AtomicU64,
    /// The task, while it has a limit and neither has ended nor was given up.
    timed: Mutex<Option<Timed>>,
    /// Its `Part`. Changed under the lock of `Deadlines`.
    part: AtomicU8,
    /// Nobody is to wait for its thread: the task was given up, and whoever takes its place has been called.
    is_left: AtomicBool,
}

impl Station {
    pub(super) const fn new() -> Self {
        Self {
            thread_state: AtomicU64::new(0),
            deadline_ns: AtomicU64::new(NEVER),
            timed: Mutex::new(None),
            part: AtomicU8::new(0),
            is_left: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timed>> {
        self.timed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn thread_state(&self) -> u64 {
        self.thread_state.load(Ordering::Relaxed)
    }

    /// Its thread has come.
    pub(super) fn come(&self, thread_state: u64) {
        self.thread_state.store(thread_state, Ordering::Relaxed);
    }

    /// A task with a limit begins.
    pub(super) fn begin(&self, timed: Timed, now_ns: u64) -> u64 {
        let deadline_ns = now_ns.saturating_add(timed.timeout_ns);
        let mut place = self.lock();
        *place = Some(timed);
        // Pairs with the timekeeper's look: see `Deadlines::watch`.
        self.deadline_ns.store(deadline_ns, Ordering::SeqCst);
        deadline_ns
    }

    /// The task has ended. False when it was given up before.
    pub(super) fn end(&self) -> bool {
        let mut place = self.lock();
        self.deadline_ns.store(NEVER, Ordering::Relaxed);
        place.take().is_some()
    }

    /// When the task will be past its time, if there is one with a limit.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        Some(self.deadline_ns.load(Ordering::SeqCst)).filter(|deadline| *deadline != NEVER)
    }

    /// The task, if it is past its time: it counts as given up from now on.
    pub(super) fn give_up(&self, now_ns: u64) -> Option<Timed> {
        let mut place = self.lock();
        if self.deadline_ns().is_none_or(|deadline| deadline > now_ns) {
            return None; // it has ended, and another one may have begun
        }
        self.deadline_ns.store(NEVER, Ordering::Relaxed);
        place.take()
    }

    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
    }

    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// The task has ended at last, and the worker goes on.
    pub(super) fn come_back(&self) {
        self.is_left.store(false, Ordering::Relaxed);
        self.set_part(Part::Whole);
    }

    pub(super) fn part(&self) -> Part {
        match self.part.load(Ordering::Acquire) {
            0 => Part::Whole,
            1 => Part::Stuck,
            _ => Part::Replaced,
        }
    }

    pub(super) fn set_part(&self, part: Part) {
        self.part.store(part as u8, Ordering::Release);
    }
}

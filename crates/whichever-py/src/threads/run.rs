//! Where the results of one call of `map` wait for whoever takes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use whichever_sync::Event;

use crate::future::Outcome;

/// Set in `Run::begun` once no more tasks are to begin than have.
const RECALLED: u64 = 1 << 63;

/// See the module.
pub(super) struct Run {
    ordered: bool,
    /// The index behind the last task that has begun, and `RECALLED`.
    begun: AtomicU64,
    /// Tasks that have not begun are not to.
    given_up: AtomicBool,
    /// Nobody takes results any more.
    unwanted: AtomicBool,
    inbox: Mutex<Inbox>,
    /// What the taker sleeps on.
    arrival: Event,
}

#[derive(Default)]
struct Inbox {
    /// How many results were taken: the index whose is given out next, when they go in order.
    next: u64,
    /// Results from `next` on, None for those that have not come; or in the order of their arrival.
    results: VecDeque<Option<Outcome>>,
    /// Tasks that have not ended.
    open: usize,
    /// Results that have come and were not taken.
    ready: usize,
    /// The taker sleeps, or is about to.
    is_awaited: bool,
    /// It is content when no more tasks than this are open, too.
    low: Option<usize>,
}

impl Run {
    pub(super) fn new(ordered: bool) -> Self {
        Self {
            ordered,
            begun: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            inbox: Mutex::default(),
            arrival: Event::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody wants results any more, and tasks that have not begun are not to.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.leave();
    }

    /// Nobody wants results any more; the tasks are to run all the same.
    pub(super) fn leave(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
        let results = std::mem::take(&mut self.lock().results);
        drop(results);
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Whether the task of this index is to run. It counts as begun then.
    pub(super) fn begin(&self, index: u64) -> bool {
        if self.is_given_up() {
            return false;
        }
        let mut begun = self.begun.load(Ordering::Acquire);
        while begun & RECALLED == 0 && begun <= index {
            match self.begun.compare_exchange_weak(begun, index + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => begun = other,
            }
        }
        // Those before the last that has begun are to run in any case: what is recalled are the items behind it.
        index < begun & !RECALLED
    }

    /// Take back the tasks behind the last that has begun: they never will. Returns how many are left.
    pub(super) fn recall(&self) -> u64 {
        self.begun.fetch_or(RECALLED, Ordering::AcqRel) & !RECALLED
    }

    /// How many tasks there will be, once that is certain.
    fn end(&self) -> Option<u64> {
        let begun = self.begun.load(Ordering::Acquire);
        (begun & RECALLED != 0).then_some(begun & !RECALLED)
    }

    /// Whether all results were taken of what was not recalled.
    pub(super) fn is_recalled_and_taken(&self) -> bool {
        self.end().is_some_and(|end| self.lock().next >= end)
    }

    /// Expect one task more.
    pub(super) fn open(&self) {
        self.lock().open += 1;
    }

    /// Keep what the task of this index left. True when somebody waited for it.
    ///
    /// An outcome that nobody wants comes back, to be dropped by who may.
    pub(super) fn settle(&self, index: u64, outcome: Outcome) -> Result<bool, Outcome> {
        let mut inbox = self.lock();
        inbox.open -= 1;
        if self.is_unwanted() || self.end().is_some_and(|end| index >= end) {
            return Err(outcome);
        }
        inbox.ready += 1;
        if self.ordered {
            let place = usize::try_from(index - inbox.next).unwrap_or(usize::MAX);
            if inbox.results.len() <= place {
                inbox.results.resize_with(place + 1, || None);
            }
            inbox.results[place] = Some(outcome);
        } else {
            inbox.results.push_back(Some(outcome));
        }
        let wakes = inbox.is_awaited && inbox.is_there();
        inbox.is_awaited &= !wakes;
        drop(inbox);
        if wakes {
            self.arrival.set();
        }
        Ok(wakes)
    }

    /// The next result, if it is there.
    pub(super) fn take(&self) -> Option<Outcome> {
        let mut inbox = self.lock();
        inbox.results.front()?.as_ref()?;
        inbox.next += 1;
        inbox.ready -= 1;
        inbox.results.pop_front().flatten()
    }

    /// Be woken when the next result is there, or when no more than `low` tasks are open. False when it is so already.
    pub(super) fn begin_wait(&self, low: Option<usize>) -> bool {
        let mut inbox = self.lock();
        inbox.low = low;
        if inbox.is_there() {
            return false;
        }
        self.arrival.clear();
        inbox.is_awaited = true;
        true
    }

    pub(super) fn arrival(&self) -> &Event {
        &self.arrival
    }

    /// Tasks that have not ended, and tasks whose results were not taken.
    pub(super) fn load(&self) -> (usize, usize) {
        let inbox = self.lock();
        (inbox.open, inbox.open + inbox.ready)
    }

    /// Whether the next result is there.
    pub(super) fn has_next(&self) -> bool {
        self.lock().has_next()
    }
}

impl Inbox {
    fn has_next(&self) -> bool {
        self.results.front().is_some_and(Option::is_some)
    }

    fn is_there(&self) -> bool {
        self.has_next() || self.low.is_some_and(|low| self.open <= low)
    }
}

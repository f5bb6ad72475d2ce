//! Where the results of one call of `map` wait for whoever takes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use whichever_sync::Event;

use crate::future::Outcome;

/// See the module.
pub(super) struct Run {
    ordered: bool,
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
    /// The index whose result is given out next, when they go in order.
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
        if self.is_unwanted() {
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

//! Who waits for one thing: threads asleep, the first come first, and event loops that want to be called.
//!
//! **No wake-up is lost.** Everything here happens under the queue's lock. A waiter joins the line only while what it
//! wants is not there. Whoever makes it be there calls `wake`, and so does every woken thread once it has taken its own, or
//! leaves without. So at each moment: if the thing is there and threads sleep, at least one of them has been told and
//! is on its way (`under_way`). A second one is not told meanwhile: with one interpreter lock for all it could only stand
//! in the way, and the first passes the word on. Event loops do not count as on their way, since a loop may be busy for
//! long: they hear of the thing besides, once for each time they have watched, and may find it taken.

use std::collections::VecDeque;

use crate::parker::Parker;
use crate::sync::Arc;

/// Identifies who watches, so that it is there once and can be taken off.
pub type Watch = u64;

#[derive(Debug)]
pub(crate) struct Line<B> {
    /// Asleep, in the order they came.
    sleepers: VecDeque<Arc<Parker>>,
    /// Told and not yet back under the lock.
    under_way: usize,
    /// To be called at the next change, then forgotten.
    bells: Vec<(Watch, B)>,
}

/// Whom to wake, after the lock is left. Mostly nobody, which is one word that says so.
#[derive(Debug)]
#[must_use = "those who are told must be woken"]
pub struct Wakes<B>(Option<Box<Told<B>>>);

#[derive(Debug)]
struct Told<B> {
    threads: Vec<Arc<Parker>>,
    bells: Vec<(Watch, B)>,
}

impl<B> Wakes<B> {
    #[inline]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    fn of(threads: Vec<Arc<Parker>>, bells: Vec<(Watch, B)>) -> Self {
        Self(Some(Box::new(Told { threads, bells })))
    }

    /// Whether there is nobody to wake.
    #[inline]
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Wake the threads; returns the bells, for the caller to ring.
    pub fn fire(self) -> impl Iterator<Item = B> {
        let told = self.0.map(|told| *told);
        let (threads, bells) = told.map_or_else(Default::default, |told| (told.threads, told.bells));
        for parker in threads {
            parker.tell();
        }
        bells.into_iter().map(|(_, bell)| bell)
    }

    /// Both these and those.
    pub fn and(self, more: Self) -> Self {
        Self(match (self.0, more.0) {
            (Some(mut told), Some(more)) => {
                told.threads.extend(more.threads);
                told.bells.extend(more.bells);
                Some(told)
            }
            (told, more) => told.or(more),
        })
    }
}

impl<B> Line<B> {
    pub(crate) fn new() -> Self {
        Self { sleepers: VecDeque::new(), under_way: 0, bells: Vec::new() }
    }

    /// What they wait for is there: tell one thread, unless one is on its way, and every bell.
    #[inline]
    pub(crate) fn wake(&mut self) -> Wakes<B> {
        let may_tell = self.under_way == 0 && !self.sleepers.is_empty();
        if may_tell || !self.bells.is_empty() { self.wake_first() } else { Wakes::none() }
    }

    #[cold]
    fn wake_first(&mut self) -> Wakes<B> {
        let first = if self.under_way == 0 { self.sleepers.pop_front() } else { None };
        self.under_way += usize::from(first.is_some());
        Wakes::of(first.into_iter().collect(), std::mem::take(&mut self.bells))
    }

    /// It is there for all of them, and stays.
    pub(crate) fn wake_all(&mut self) -> Wakes<B> {
        self.under_way += self.sleepers.len();
        Wakes::of(self.sleepers.drain(..).collect(), std::mem::take(&mut self.bells))
    }

    /// Join the line; who was woken in vain goes to its front.
    pub(crate) fn join(&mut self, parker: &Arc<Parker>, again: bool) {
        if again {
            self.sleepers.push_front(Arc::clone(parker));
        } else {
            self.sleepers.push_back(Arc::clone(parker));
        }
    }

    /// Leave the line. False when one has been told already and counts as on its way.
    pub(crate) fn leave(&mut self, parker: &Arc<Parker>) -> bool {
        let found = self.sleepers.iter().position(|sleeper| Arc::ptr_eq(sleeper, parker));
        found.and_then(|at| self.sleepers.remove(at)).is_some()
    }

    /// One who was told is back.
    pub(crate) fn arrive(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Call `bell` at the next change.
    pub(crate) fn watch(&mut self, watch: Watch, bell: B) {
        if self.bells.iter().all(|(known, _)| *known != watch) {
            self.bells.push((watch, bell));
        }
    }

    /// Those who watch, for a collector of garbage to look at.
    pub(crate) fn bells(&self) -> impl Iterator<Item = &B> {
        self.bells.iter().map(|(_, bell)| bell)
    }

    pub(crate) fn take_bells(&mut self) -> Vec<(Watch, B)> {
        std::mem::take(&mut self.bells)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.sleepers.len() + self.bells.len()
    }
}

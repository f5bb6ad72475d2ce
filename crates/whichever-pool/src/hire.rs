//! Hiring: when workers are asked for, and what becomes of the pool when they do not come.
//!
//! A worker that could not be started stops nobody while others are there: it is asked for again after
//! [`ASK_AGAIN_NS`]. Where none is left, what waits fails with the reason, and the next task tries anew.

use std::sync::Arc;

use crate::crew::{Crew, Effect};
use crate::slot::{Link, Phase, Slot};
use crate::task::{Broken, Ended, Storage, Ticket};

/// Workers that die before they are ready, one after the other, until the pool gives up.
const START_FAILURES: u32 = 3;
/// From a worker that could not be started to the next try, while others do the work.
const ASK_AGAIN_NS: u64 = 1_000_000_000;

impl<T: Ticket, L: Link> Crew<T, L> {
    /// Ask for workers while tasks wait that nobody idle could take.
    pub(crate) fn hire_more(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let coming = self.hiring + self.slots.iter().filter(|slot| slot.phase == Phase::Hired).count();
        let alive = self.hiring + self.slots.iter().filter(|slot| slot.phase != Phase::Leaving).count();
        if self.refused && (alive > 0 || self.pending.is_empty()) {
            return;
        }
        let waiting = self.waiting(self.limits.workers);
        let wanted = waiting.saturating_sub(coming).min(self.limits.workers.saturating_sub(alive));
        for _ in 0..wanted {
            self.hiring += 1;
            self.effects.push_back(Effect::Hire);
        }
    }

    /// How many tasks wait, counted up to `most`.
    fn waiting(&self, most: usize) -> usize {
        let mut waiting = self.loading;
        for task in &self.pending {
            if waiting >= most {
                break;
            }
            waiting += task.count() as usize;
        }
        waiting
    }

    /// Start as many workers as the limits allow, tasks or not.
    pub fn hire_all(&mut self) {
        let alive = self.hiring + self.slots.iter().filter(|slot| slot.phase != Phase::Leaving).count();
        for _ in alive..self.limits.workers {
            self.hiring += 1;
            self.effects.push_back(Effect::Hire);
        }
    }

    /// A worker that was asked for is on its way.
    pub fn seat(&mut self, token: u64, link: L, storage: Arc<Storage>) {
        self.hiring -= 1;
        self.refused = false;
        self.counts.hired += 1;
        let mut slot = Slot::new(token, link, storage);
        if self.broken.is_some() {
            slot.phase = Phase::Leaving;
            self.effects.push_back(Effect::HangUp(token));
        }
        self.slots.push(slot);
    }

    /// A worker that was asked for could not be started. The pool goes on with those it has; with none, what waits fails.
    pub fn hire_failed(&mut self, reason: &str) {
        self.hiring -= 1;
        self.refuse();
        self.fail_if_alone(reason);
    }

    fn refuse(&mut self) {
        (self.refused, self.ask_again_ns) = (true, 0);
    }

    /// Ask for workers again when a refusal is `ASK_AGAIN_NS` old; returns when that is.
    pub(crate) fn ask_again(&mut self, now_ns: u64) -> Option<u64> {
        if !self.refused {
            return None;
        }
        if self.ask_again_ns == 0 {
            self.ask_again_ns = now_ns.saturating_add(ASK_AGAIN_NS);
        }
        self.refused = now_ns < self.ask_again_ns;
        self.refused.then_some(self.ask_again_ns)
    }

    /// A worker ended before it was ready.
    pub(crate) fn start_failed(&mut self, reason: &str) {
        self.start_failures += 1;
        if self.start_failures >= START_FAILURES {
            self.start_failures = 0;
            self.refuse();
            self.fail_if_alone(reason);
        }
    }

    fn fail_if_alone(&mut self, reason: &str) {
        if self.hiring > 0 || self.slots.iter().any(|slot| slot.phase != Phase::Leaving) {
            return;
        }
        let broken = Arc::new(Broken { reason: reason.to_owned(), error: None });
        for task in std::mem::take(&mut self.pending) {
            self.settle(task, Ended::Broken(Arc::clone(&broken)));
        }
    }
}

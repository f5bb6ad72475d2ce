//! The tasks that wait for a worker, first in first out.
//!
//! With one shard the order is exact. With several, for interpreters whose threads run at once, each submitter goes round
//! the shards and each worker begins with its own, so that no lock is wanted by all; the order is then nearly kept.

use std::collections::VecDeque;

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// Every so manieth time a worker begins with another shard than its own: what waits elsewhere must not starve.
const LOOK_ELSEWHERE_EVERY: usize = 61;

/// Each in its own cache line, which nobody else's counters share.
#[repr(align(128))]
struct Shard<T> {
    tasks: Mutex<VecDeque<T>>,
    /// How many there are, to be read without the lock. Written under it.
    count: AtomicUsize,
    /// How many were ever put in. Written under the lock.
    pushed: AtomicUsize,
}

/// See the module.
pub struct RunQueue<T> {
    shards: Box<[Shard<T>]>,
}

impl<T> RunQueue<T> {
    /// A queue of at least one shard.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let shard = |_| Shard {
            tasks: Mutex::new(VecDeque::new()),
            count: AtomicUsize::new(0),
            pushed: AtomicUsize::new(0),
        };
        Self { shards: (0..shards.max(1)).map(shard).collect() }
    }

    /// Put a task in. `turn` names the shard: a submitter counts it up.
    pub fn push(&self, turn: usize, task: T) {
        let shard = &self.shards[turn % self.shards.len()];
        let mut tasks = shard.lock();
        tasks.push_back(task);
        shard.count.store(tasks.len(), Ordering::Release);
        shard.pushed.store(shard.pushed.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How many were ever put in.
    #[must_use]
    pub fn pushed(&self) -> usize {
        self.shards.iter().map(|shard| shard.pushed.load(Ordering::Relaxed)).sum()
    }

    /// Take a task out, for the worker `own` at its `turn`.
    pub fn pop(&self, own: usize, turn: usize) -> Option<T> {
        let first = if turn.is_multiple_of(LOOK_ELSEWHERE_EVERY) { turn / LOOK_ELSEWHERE_EVERY } else { own };
        let count = self.shards.len();
        (0..count).find_map(|step| self.shards[first.wrapping_add(step) % count].pop())
    }

    /// How many wait. Exact for a thread that nobody meets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.count.load(Ordering::Acquire)).sum()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.count.load(Ordering::Acquire) == 0)
    }

    /// Take out those that `is_meant` names, which is asked once for each.
    #[must_use]
    pub fn extract(&self, mut is_meant: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut tasks = shard.lock();
            for task in std::mem::take(&mut *tasks) {
                if is_meant(&task) { taken.push(task) } else { tasks.push_back(task) }
            }
            shard.count.store(tasks.len(), Ordering::Release);
        }
        taken
    }

    /// Take out all that wait.
    #[must_use]
    pub fn drain(&self) -> Vec<T> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut tasks = shard.lock();
            all.extend(tasks.drain(..));
            shard.count.store(0, Ordering::Release);
        }
        all
    }
}

impl<T> Shard<T> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // Nothing that may panic runs under the lock.
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn pop(&self) -> Option<T> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut tasks = self.lock();
        let task = tasks.pop_front();
        self.count.store(tasks.len(), Ordering::Release);
        task
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn one_shard_keeps_the_order() {
        let queue = RunQueue::new(0);
        for number in 0..100 {
            queue.push(number, number);
        }
        assert_eq!((queue.len(), queue.is_empty()), (100, false));
        assert_eq!(
            (0..100).filter_map(|turn| queue.pop(7, turn)).collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
        assert!(queue.is_empty() && queue.pop(0, 1).is_none());
    }

    #[test]
    fn a_worker_finds_what_lies_in_any_shard() {
        let queue = RunQueue::new(4);
        for shard in 0..4 {
            queue.push(shard, shard);
        }
        let taken: Vec<usize> = (1..5).filter_map(|turn| queue.pop(2, turn)).collect();
        assert_eq!(taken, [2, 3, 0, 1]);
    }

    #[test]
    fn a_shard_that_is_never_empty_starves_no_other() {
        let queue = RunQueue::new(2);
        queue.push(1, "old");
        queue.push(0, "new");
        let found = (1..200).position(|turn| {
            queue.push(0, "new");
            queue.pop(0, turn) == Some("old")
        });
        assert!(found.is_some_and(|turns| turns <= 2 * LOOK_ELSEWHERE_EVERY));
    }

    #[test]
    fn what_is_extracted_leaves_the_others_in_their_order() {
        let queue = RunQueue::new(2);
        (0..10).for_each(|number| queue.push(0, number));
        assert_eq!(queue.extract(|number| number % 3 == 0), [0, 3, 6, 9]);
        assert_eq!((queue.len(), queue.pushed()), (6, 10));
        assert_eq!((0..6).filter_map(|_| queue.pop(0, 1)).collect::<Vec<_>>(), [1, 2, 4, 5, 7, 8]);
    }

    #[test]
    fn what_is_drained_is_gone() {
        let queue = RunQueue::new(3);
        (0..10).for_each(|number| queue.push(number, number));
        let mut all = queue.drain();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert!(queue.is_empty());
    }
}

//! Whether so many threads want the GIL that one task more would but make all of them wait longer.
//!
//! How many wait can be seen, but not how long each will hold it: threads whose naps have ended are through in no time. So
//! a number of them is a crowd only if tasks of the pool compute: of the last few that were taken, what share did? A task
//! is known to as soon as somebody else has the GIL after it was taken, long before it ends; so this changes with the tasks
//! that begin, also when those that wait are followed by others that compute.
//!
//! Written by workers between two tasks, attached.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// So many that compute may want the GIL at once: it goes from one to the next, and is not idle while somebody comes.
const MOST_COMPUTING: u32 = 4;
/// A task that has used the CPU for so long before another thread had the GIL computes.
const COMPUTES_NS: u64 = 500_000;
/// The share of tasks that compute is counted in these.
const ALL: u32 = 1024;
/// How much of the share is made by the latest task.
const LATEST: u32 = 4;
/// Nobody.
const NOBODY: u32 = 0;

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd {
    /// The thread that took a task last, if it is not known yet what that does; and what it had computed by then.
    taker: AtomicU32,
    taker_cpu_ns: AtomicU64,
    /// How many of the last tasks compute, of `ALL`.
    share: AtomicU32,
}

impl Crowd {
    /// As long as nothing is known, tasks may compute.
    pub(super) const fn new() -> Self {
        Self { taker: AtomicU32::new(NOBODY), taker_cpu_ns: AtomicU64::new(0), share: AtomicU32::new(ALL) }
    }

    /// A worker that has computed for `used_ns` since it last looked has the GIL, after somebody else had it.
    ///
    /// `cpu_of` tells how long another thread has computed so far.
    pub(super) fn look(&self, used_ns: u64, cpu_of: impl FnOnce(u32) -> Option<u64>) {
        let taker = self.taker.swap(NOBODY, Ordering::Relaxed);
        if taker != NOBODY
            && let Some(cpu_ns) = cpu_of(taker)
        {
            self.learn(cpu_ns.saturating_sub(self.taker_cpu_ns.load(Ordering::Relaxed)) >= COMPUTES_NS);
        }
        // A task that first waits shows only at its end that it computes.
        if used_ns >= COMPUTES_NS {
            self.learn(true);
        }
    }

    /// `thread`, which has computed for `cpu_ns` so far, takes a task.
    pub(super) fn take(&self, thread: u32, cpu_ns: u64) {
        self.taker_cpu_ns.store(cpu_ns, Ordering::Relaxed);
        self.taker.store(thread, Ordering::Relaxed);
    }

    fn learn(&self, computes: bool) {
        let share = self.share.load(Ordering::Relaxed);
        let latest = if computes { ALL } else { 0 };
        self.share.store(share - share / LATEST + latest / LATEST, Ordering::Relaxed);
    }

    /// Whether so many who wait for the GIL are a crowd.
    pub(super) fn is_there(&self, waiters: u32) -> bool {
        waiters.saturating_mul(self.share.load(Ordering::Relaxed)) > MOST_COMPUTING * ALL
    }

    /// Whether most of the last tasks compute.
    pub(super) fn mostly_computes(&self) -> bool {
        self.share.load(Ordering::Relaxed) * 2 >= ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = COMPUTES_NS;

    fn take(crowd: &Crowd, tasks: u32, cpu_ns: u64) {
        for _ in 0..tasks {
            crowd.take(7, 1000);
            crowd.look(0, |thread| (thread == 7).then_some(1000 + cpu_ns));
        }
    }

    #[test]
    fn threads_whose_tasks_wait_are_no_crowd() {
        let crowd = Crowd::new();
        take(&crowd, 40, LONG / 10);
        assert!(!crowd.is_there(1000) && !crowd.mostly_computes());
    }

    #[test]
    fn a_few_tasks_that_compute_make_a_crowd_of_those_who_wait() {
        let crowd = Crowd::new();
        take(&crowd, 40, 0);
        take(&crowd, 1, LONG);
        assert!(!crowd.is_there(MOST_COMPUTING));
        take(&crowd, 4, LONG);
        assert!(crowd.is_there(2 * MOST_COMPUTING) && !crowd.is_there(MOST_COMPUTING));
        assert!(crowd.mostly_computes());
    }

    #[test]
    fn a_task_that_computes_after_its_wait_counts_at_its_end() {
        let crowd = Crowd::new();
        take(&crowd, 40, 0);
        for _ in 0..8 {
            crowd.look(LONG, |_| None);
        }
        assert!(crowd.is_there(2 * MOST_COMPUTING));
    }

    #[test]
    fn what_a_task_does_is_learnt_once() {
        let crowd = Crowd::new();
        take(&crowd, 40, 0);
        crowd.take(7, 0);
        for _ in 0..20 {
            crowd.look(0, |_| Some(LONG));
        }
        assert!(!crowd.mostly_computes());
    }
}

//! How long a worker that could only queue for the GIL waits before it takes a task all the same.
//!
//! With a GIL two threads that compute are no faster than one, and each more of them makes all others, those that mostly
//! wait, come later to their turn. So while tasks of the pool hold the GIL, one worker watches and the others sleep. It
//! cannot know what the next task will do: that may be one that mostly waits, or one that a computing task waits for. So
//! when no task was taken for a while, it takes one, and what becomes of that teaches how long to wait the next time:
//! long after a task that computed as well, hardly after one that waited.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The wait at first.
const FIRST_NS: u64 = 20_000_000;
/// The shortest wait: that of a thread that asks for the GIL while somebody computes.
const LEAST_NS: u64 = 5_000_000;
/// The longest: nothing that waits for a task of the pool waits much longer for its start.
const MOST_NS: u64 = 80_000_000;
/// By then a worker that was let through has had the GIL, if it wants it for long.
const RIPE_NS: u64 = 30_000_000;

/// What a watcher sees at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) now_ns: u64,
    /// Tasks that were ever taken by a worker.
    pub(super) taken: usize,
    /// Workers that have a task.
    pub(super) busy: usize,
}

/// A worker that was let through.
#[derive(Clone, Copy, Debug)]
struct Sample {
    thread: u32,
    /// What it had computed, and when that was.
    cpu_ns: u64,
    at_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Patience {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    wait_ns: u64,
    /// Tasks taken, as the last look found them, and when they had last become more.
    taken: usize,
    progress_ns: u64,
    sample: Option<Sample>,
    held_back: u64,
}

impl Patience {
    pub(super) const fn new() -> Self {
        let seen = Seen { wait_ns: FIRST_NS, taken: 0, progress_ns: 0, sample: None, held_back: 0 };
        Self { seen: Mutex::new(seen) }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker begins to watch.
    pub(super) fn begin(&self, look: Look) {
        let mut seen = self.lock();
        // What happened while nobody watched is no delay.
        if look.taken != seen.taken || look.now_ns.saturating_sub(seen.progress_ns) > MOST_NS {
            (seen.taken, seen.progress_ns) = (look.taken, look.now_ns);
        }
    }

    /// Whether `thread`, the watcher, which has computed for `cpu_ns` so far, is to take a task now.
    ///
    /// `cpu_of` tells how long another thread has computed so far.
    pub(super) fn lets_through(
        &self,
        look: Look,
        (thread, cpu_ns): (u32, u64),
        cpu_of: impl FnOnce(u32) -> Option<u64>,
    ) -> bool {
        let mut seen = self.lock();
        if let Some(sample) = seen.sample
            && look.now_ns.saturating_sub(sample.at_ns) >= RIPE_NS
        {
            seen.sample = None;
            if let Some(cpu_ns) = cpu_of(sample.thread) {
                seen.learn(cpu_ns.saturating_sub(sample.cpu_ns), look.now_ns - sample.at_ns, look.busy);
            }
        }
        if look.taken != seen.taken {
            (seen.taken, seen.progress_ns) = (look.taken, look.now_ns);
        }
        if look.now_ns.saturating_sub(seen.progress_ns) < seen.wait_ns {
            return false;
        }
        seen.progress_ns = look.now_ns;
        seen.sample = seen.sample.or(Some(Sample { thread, cpu_ns, at_ns: look.now_ns }));
        true
    }

    /// A worker has seen twice that it can only queue for the GIL.
    pub(super) fn count(&self) {
        self.lock().held_back += 1;
    }

    /// How often a worker was held back.
    pub(super) fn held_back(&self) -> u64 {
        self.lock().held_back
    }
}

impl Seen {
    /// A worker that was let through has computed for `cpu_ns` of `elapsed_ns`.
    fn learn(&mut self, cpu_ns: u64, elapsed_ns: u64, busy: usize) {
        self.wait_ns = if computes(cpu_ns, elapsed_ns, busy) {
            (self.wait_ns * 2).min(MOST_NS)
        } else {
            (self.wait_ns / 4).max(LEAST_NS)
        };
    }
}

/// Whether a thread that has computed for `cpu_ns` of `elapsed_ns` wants the GIL all the time, as one of so many may.
pub(super) fn computes(cpu_ns: u64, elapsed_ns: u64, busy: usize) -> bool {
    cpu_ns.saturating_mul(2 * busy.max(1) as u64) >= elapsed_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn look(ms: u64, taken: usize) -> Look {
        Look { now_ns: ms * MS, taken, busy: 2 }
    }

    fn waits(
        patience: &Patience,
        from_ms: u64,
        taken: usize,
        cpu: impl Fn(u32) -> Option<u64> + Copy,
    ) -> u64 {
        let let_through = |ms: &u64| patience.lets_through(look(*ms, taken), (1, 0), cpu);
        (from_ms..from_ms + 1000).find(let_through).expect("nobody is held back for ever") - from_ms
    }

    #[test]
    fn a_watcher_waits_while_tasks_are_taken_and_not_for_ever_when_none_is() {
        let patience = Patience::new();
        patience.begin(look(1000, 0));
        for step in 0..500 {
            assert!(!patience.lets_through(look(1000 + step, 1 + step as usize / 10), (1, 0), |_| None));
        }
        let wait = waits(&patience, 1500, 50, |_| None);
        assert!((1..=FIRST_NS / MS).contains(&wait), "{wait}");
        patience.count();
        assert_eq!(patience.held_back(), 1);
    }

    #[test]
    fn the_wait_grows_to_its_limit_after_tasks_that_compute() {
        let patience = Patience::new();
        patience.begin(look(1000, 0));
        let mut now = 1000;
        let waited: Vec<u64> = (0..6)
            .map(|round| {
                let wait = waits(&patience, now, 0, |_| Some(u64::MAX));
                now += wait;
                assert!(round < 1 || wait >= FIRST_NS / MS);
                wait
            })
            .collect();
        assert_eq!(waited.last(), Some(&(MOST_NS / MS)));
    }

    #[test]
    fn the_wait_shrinks_after_tasks_that_wait() {
        let patience = Patience::new();
        patience.begin(look(1000, 0));
        let mut now = 1000;
        let waited: Vec<u64> = (0..30)
            .map(|_| {
                let wait = waits(&patience, now, 0, |_| Some(0));
                now += wait;
                wait
            })
            .collect();
        assert_eq!(waited.last(), Some(&(LEAST_NS / MS)));
    }
}

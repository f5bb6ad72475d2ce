//! When a worker that has come for a task had better not take it: tasks hold the GIL, and one more would only queue for it.
//!
//! With a GIL two threads that compute are no faster than one, and each more of them makes all others, those that mostly
//! wait, come later to their turn. So a worker that had to have the GIL taken from one of our tasks, while another of
//! our tasks had it before, goes back to the end of that queue instead of starting a task. It is never held back for
//! long: when no worker has found a task for a while, it takes one, whatever the sign (tasks may wait for each other).

use std::sync::{Mutex, PoisonError};

/// The longest time that a worker is held back while nobody finds a task.
const LONGEST_NS: u64 = 50_000_000;
/// How long a task counts as one that holds the GIL after it was seen to.
const MEMORY_NS: u64 = 250_000_000;

/// One look of a worker at how it came by the GIL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The thread that held the GIL when the worker asked for it, if that runs a task of ours.
    pub(super) holder: u64,
    /// Now.
    pub(super) now_ns: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Patience {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The two threads that were last seen to hold the GIL until it was taken from them, and when. The later one first.
    hogs: [(u64, u64); 2],
    /// When a worker last found a task, or was let through.
    progress_ns: u64,
    held_back: u64,
}

impl Patience {
    /// Whether the worker that arrived so is to go back.
    pub(super) fn holds_back(&self, arrival: Arrival) -> bool {
        let Arrival { holder, now_ns } = arrival;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.hogs[0].0 != holder {
            seen.hogs[1] = seen.hogs[0];
        }
        seen.hogs[0] = (holder, now_ns);
        let (_, other_ns) = seen.hogs[1];
        let are_two = other_ns != 0 && now_ns.saturating_sub(other_ns) < MEMORY_NS;
        if !are_two || now_ns.saturating_sub(seen.progress_ns) >= LONGEST_NS {
            seen.progress_ns = now_ns;
            return false;
        }
        seen.held_back += 1;
        true
    }

    /// How often a worker was held back.
    pub(super) fn held_back(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).held_back
    }
}

//! The ledger: the wall time of one task, split over the states its thread was in.
//!
//! Guarantee: `held + released + waiting + queued + sum(blocked)` is `wall`, up to rounding. Every number is a
//! mean per task, in seconds unless its name says otherwise. Written by `tally`, read by the forecasts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a thread that is off-CPU in a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockedKind {
    /// A socket.
    Network,
    /// A regular file, a directory, a block device, or a page fault that reads one.
    File,
    /// A pipe, FIFO or eventfd.
    Pipe,
    /// A futex that is not the GIL's: a lock, a condition, a join.
    Lock,
    /// A sleep.
    Sleep,
    /// Readiness of several descriptors: epoll, poll, select.
    Poll,
    /// A child process to end.
    Child,
    /// A terminal.
    Terminal,
    /// A call that this version has no name for, or a platform that does not tell.
    Unknown,
}

impl BlockedKind {
    /// Every kind, in the order reports show them.
    pub const ALL: [Self; 9] = [
        Self::Network,
        Self::File,
        Self::Pipe,
        Self::Lock,
        Self::Sleep,
        Self::Poll,
        Self::Child,
        Self::Terminal,
        Self::Unknown,
    ];

    /// The name used in messages and in saved ledgers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::File => "file",
            Self::Pipe => "pipe",
            Self::Lock => "lock",
            Self::Sleep => "sleep",
            Self::Poll => "poll",
            Self::Child => "child",
            Self::Terminal => "terminal",
            Self::Unknown => "unknown",
        }
    }
}

/// Wall time split over the five states, in seconds; also used for the standard error of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parts {
    /// Holding the GIL. On a free-threaded build always 0: nobody holds what does not exist.
    pub held: f64,
    /// On a core without the GIL: native code (on a free-threaded build, Python too).
    pub released: f64,
    /// Waiting for the GIL.
    pub waiting: f64,
    /// Runnable, but the cores were taken.
    pub queued: f64,
    /// Off-CPU in a call, by what it waits for.
    pub blocked: BTreeMap<BlockedKind, f64>,
}

impl Parts {
    /// All blocked seconds together.
    #[must_use]
    pub fn blocked_total(&self) -> f64 {
        self.blocked.values().sum()
    }

    /// The sum of all parts: for a ledger, its wall time.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.held + self.released + self.waiting + self.queued + self.blocked_total()
    }
}

/// Where the wall time of a task went: means per task over the metered tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// How many tasks were metered.
    pub tasks: u64,
    /// How many times the sampler saw the metered thread inside a task.
    pub samples: u64,
    /// Achieved sampling rate, per second.
    pub rate_hz: f64,
    /// Whether the interpreter has a GIL at all.
    pub gil: bool,
    /// Wall seconds per task (exact clock).
    pub wall: f64,
    /// The wall time by state. Sums to `wall`.
    pub parts: Parts,
    /// One standard error of each part, in seconds.
    pub standard_error: Parts,
    /// Of `parts.held`: off-CPU all the same, in a call that keeps the GIL.
    pub held_off_cpu: f64,
    /// CPU seconds of the metered thread (exact clock).
    pub cpu: f64,
    /// CPU seconds of child processes that ended during the task.
    pub child_cpu: f64,
    /// CPU seconds of threads of this process that native libraries run inside the task (BLAS, OpenMP, Rust
    /// pools), and of Python threads that the task itself started.
    pub inner_cpu: f64,
    /// CPU seconds of threads that ran before the task began and are none of its business.
    pub foreign_cpu: f64,
    /// How often a task gave the GIL up, seen in bursts of fast reads; 0 where nothing could be seen.
    pub releases: f64,
    /// Minor page faults (`ru_minflt` of the thread).
    pub minor_faults: f64,
    /// Voluntary context switches (`ru_nvcsw` of the thread).
    pub voluntary_switches: f64,
    /// Wall seconds of the first task, which may have paid for imports and cold caches.
    pub first: f64,
    /// Standard deviation of the tasks' wall seconds, the first left out when there are three or more.
    pub spread: f64,
    /// Wall seconds of the longest task, the first left out when there are three or more.
    pub longest: f64,
    /// CPU seconds that the sampler itself used, per second of wall time.
    pub sampler_load: f64,
    /// Run-queue delay of the metered thread as a share of wall time: over 0.10 the machine is too busy to tell.
    pub queue_share: f64,
    /// Parts that this platform or build cannot tell, in words, for the report.
    pub unknown: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_their_total() {
        let mut parts = Parts { held: 1.0, released: 2.0, waiting: 0.5, queued: 0.25, ..Parts::default() };
        parts.blocked.insert(BlockedKind::File, 0.25);
        parts.blocked.insert(BlockedKind::Sleep, 1.0);
        assert!((parts.total() - 5.0).abs() < 1e-12);
        assert!((parts.blocked_total() - 1.25).abs() < 1e-12);
    }

    #[test]
    fn a_ledger_survives_being_saved() {
        let mut ledger = Ledger { tasks: 3, wall: 0.5, gil: true, ..Ledger::default() };
        ledger.parts.blocked.insert(BlockedKind::Network, 0.5);
        let text = serde_json::to_string(&ledger).unwrap();
        assert!(text.contains("\"network\":0.5"));
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    }
}

//! What a pool has done so far, in numbers.

use crate::task::{Ended, Why};

/// Counts since the pool was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks taken in.
    pub submitted: u64,
    /// Tasks that returned.
    pub returned: u64,
    /// Tasks that raised, or whose payload did not load.
    pub raised: u64,
    /// Tasks given up before they started, and those stopped by a cancel.
    pub cancelled: u64,
    /// Tasks stopped because their time was over.
    pub timed_out: u64,
    /// Tasks lost with their worker.
    pub lost: u64,
    /// Tasks that were started again because their worker had died.
    pub retried: u64,
    /// Tasks taken back from one worker for another.
    pub moved: u64,
    /// Workers started.
    pub hired: u64,
    /// Workers that ended without being asked to.
    pub died: u64,
    /// Workers replaced because they had grown.
    pub recycled: u64,
    /// Time that tasks ran, summed over workers.
    pub busy_ns: u64,
}

impl Counts {
    /// Count `tasks` that ended so. Of a batch's tasks all count as returned: what each left is not looked at here.
    pub(crate) fn count(&mut self, ended: &Ended, tasks: u32) {
        let counter = match ended {
            Ended::Items(_) | Ended::Scalar(_) | Ended::Value(_) => &mut self.returned,
            Ended::Raised(_) | Ended::Unloadable(_) | Ended::TooLarge(_) | Ended::Unsent(_) => {
                &mut self.raised
            }
            Ended::Stopped(Why::TimedOut) => &mut self.timed_out,
            Ended::Stopped(Why::Cancelled) | Ended::Dropped => &mut self.cancelled,
            Ended::Died(_) | Ended::Broken(_) => &mut self.lost,
        };
        *counter += u64::from(tasks);
    }
}

//! The desk: words by which caller and worker agree on which task runs, which may not start, and which to interrupt.
//!
//! Guarantee: once `revoke_from(first)` has answered, no task from `first` on starts, except the one it named. After the
//! worker's death, `running` names the task that died with it, unless its result is in the ring.

use crate::bell::Bell;
use crate::memory::Shared;
use crate::ring::Line;
use crate::sync::{AtomicU32, AtomicU64, FutexWord, Ordering, fence};

/// In `running`: no task. Tasks are counted from 1.
const NONE: u64 = 0;
/// In `revoke`, less one: every task may start. The shared word holds the complement, so that fresh zeros mean "all".
const ALL: u64 = u64::MAX;
/// How often a reader tries to get the task and its start from one moment; the worker must begin a task in between
/// each time for it to fail.
const TRIES: usize = 8;

#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DeskWords {
    worker: Line<WorkerWords>,
    caller: Line<CallerWords>,
    /// The worker's bell. Both write it, but only when the worker sleeps.
    bell: Line<FutexWord>,
}

/// Written by the worker.
#[derive(Debug, Default)]
#[repr(C)]
struct WorkerWords {
    /// The task that runs, or `NONE`.
    running: AtomicU64,
    /// When it began, in nanoseconds of the monotonic clock.
    started_ns: AtomicU64,
    /// The worker's process number, once it has told.
    pid: AtomicU32,
}

/// Written by the caller, except that the worker clears `interrupt`.
#[derive(Debug, Default)]
#[repr(C)]
struct CallerWords {
    /// Complement of the first task that may not start.
    revoke: AtomicU64,
    /// The task to interrupt, or `NONE`.
    interrupt: AtomicU64,
}

/// What the worker may do with the task it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Run it.
    Go,
    /// Do not: the caller has taken it back and waits to be told so.
    Revoked,
}

/// The desk of one link. Clones are the same desk.
#[derive(Clone, Debug)]
pub struct Desk {
    words: Shared<DeskWords>,
}

impl Desk {
    pub(crate) fn new(words: Shared<DeskWords>) -> Self {
        Self { words }
    }

    /// Worker: say that task `seq` runs from now on, then learn whether it may. `seq` is larger than all before.
    pub fn begin(&self, seq: u64, now_ns: u64) -> Begin {
        let worker = &self.words.worker.0;
        // Readers must not put the new start beside the old task: there is none while the start changes.
        // `Release`, as in `end`: the task before may have ended just so.
        worker.running.store(NONE, Ordering::Release);
        // Pairs with the fence in `running`: who sees the new start sees that the old task is over.
        fence(Ordering::Release);
        worker.started_ns.store(now_ns, Ordering::Relaxed);
        // `Release`: who sees the task sees its start.
        worker.running.store(seq, Ordering::Release);
        // Pairs with the fence in `revoke_from`: either we see the revoke, or the caller sees this task run.
        fence(Ordering::SeqCst);
        if seq >= self.first_revoked() { Begin::Revoked } else { Begin::Go }
    }

    /// Worker: whether this task, which `begin` has let go with others up to a later one, has been taken back since.
    ///
    /// A look without a fence, as cheap as a load: it may come too late, and then the task runs, as the caller must expect
    /// of all that `running` covers.
    #[must_use]
    pub fn is_revoked(&self, seq: u64) -> bool {
        seq >= self.first_revoked()
    }

    /// Worker: no task runs any more. Its result must have been pushed before.
    pub fn end(&self) {
        // `Release`: who sees that nothing runs sees the result.
        self.words.worker.0.running.store(NONE, Ordering::Release);
    }

    /// Worker: whether the caller wants the running task interrupted; says yes once for each time it was asked.
    #[must_use]
    pub fn take_interrupt(&self) -> bool {
        let seq = self.words.worker.0.running.load(Ordering::Relaxed);
        let interrupt = &self.words.caller.0.interrupt;
        seq != NONE && interrupt.compare_exchange(seq, NONE, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Caller: take back every task from `first` on that has not begun, and learn which one runs (0: none).
    ///
    /// Then drain the results before deciding anything: tasks that are over by now, be they from `first` on, have theirs
    /// in the ring. Of all others from `first` on, only the one returned may run; if it has just begun, it may find
    /// itself revoked instead. The rest will find themselves revoked.
    #[must_use]
    pub fn revoke_from(&self, first: u64) -> u64 {
        self.words.caller.0.revoke.store(!first, Ordering::Relaxed);
        // Pairs with the fence in `begin`.
        fence(Ordering::SeqCst);
        // `Acquire`: who learns that a task is over finds its result.
        self.words.worker.0.running.load(Ordering::Acquire)
    }

    /// Caller: let every task start again. Call it only when the worker has answered for each revoked one, or it
    /// would run those still in the ring.
    pub fn allow_all(&self) {
        self.words.caller.0.revoke.store(!ALL, Ordering::Release);
    }

    /// Caller: the task that runs, or 0, and when it began.
    ///
    /// Both are from one moment, unless the worker begins tasks faster than we can look: then the start may be that
    /// of a task begun since.
    #[must_use]
    pub fn running(&self) -> (u64, u64) {
        let worker = &self.words.worker.0;
        let mut seq = worker.running.load(Ordering::Acquire);
        let mut started_ns = 0;
        for _ in 0..TRIES {
            started_ns = worker.started_ns.load(Ordering::Relaxed);
            // Pairs with the fence in `begin`.
            fence(Ordering::Acquire);
            let again = worker.running.load(Ordering::Acquire);
            if again == seq {
                break;
            }
            seq = again;
        }
        if seq == NONE { (NONE, 0) } else { (seq, started_ns) }
    }

    /// Caller: ask that task `seq` be interrupted, if it still runs when the worker's signal handler looks. `running`
    /// must have named it; send the signal afterwards.
    pub fn ask_interrupt(&self, seq: u64) {
        self.words.caller.0.interrupt.store(seq, Ordering::Release);
    }

    /// The bell the worker sleeps on.
    #[must_use]
    pub fn bell(&self) -> Bell<'_> {
        Bell::new(&self.words.bell.0)
    }

    /// Worker: tell the caller one's process number.
    pub fn set_pid(&self, pid: u32) {
        self.words.worker.0.pid.store(pid, Ordering::Release);
    }

    /// The worker's process number in its own name space, or 0 before it has told.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.words.worker.0.pid.load(Ordering::Acquire)
    }

    fn first_revoked(&self) -> u64 {
        !self.words.caller.0.revoke.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::{create_link, open_link};

    fn desks() -> (Desk, Desk) {
        let (file, caller) = create_link(64).unwrap();
        (caller.desk, open_link(file).unwrap().desk)
    }

    #[test]
    fn what_the_worker_begins_the_caller_sees_until_it_ends() {
        let (caller, worker) = desks();
        assert_eq!(caller.running(), (0, 0));
        assert_eq!(worker.begin(7, 1234), Begin::Go);
        assert_eq!(caller.running(), (7, 1234));
        worker.end();
        assert_eq!(caller.running(), (0, 0));
    }

    #[test]
    fn revoked_tasks_do_not_start_until_all_are_allowed_again() {
        let (caller, worker) = desks();
        assert_eq!(worker.begin(1, 0), Begin::Go);
        assert_eq!(caller.revoke_from(3), 1);
        assert_eq!(worker.begin(2, 0), Begin::Go);
        assert_eq!(worker.begin(3, 0), Begin::Revoked);
        assert_eq!(worker.begin(u64::MAX - 1, 0), Begin::Revoked);
        caller.allow_all();
        assert_eq!(worker.begin(u64::MAX - 1, 0), Begin::Go);
    }

    #[test]
    fn an_interrupt_reaches_the_task_it_was_meant_for_and_once() {
        let (caller, worker) = desks();
        assert!(!worker.take_interrupt(), "nothing runs");
        let _ = worker.begin(5, 0);
        caller.ask_interrupt(4);
        assert!(!worker.take_interrupt(), "another task was meant");
        caller.ask_interrupt(5);
        assert!(worker.take_interrupt());
        assert!(!worker.take_interrupt(), "asked once");
        caller.ask_interrupt(5);
        worker.end();
        assert!(!worker.take_interrupt(), "it is over");
    }

    #[test]
    fn the_worker_tells_who_it_is() {
        let (caller, worker) = desks();
        assert_eq!(caller.pid(), 0);
        worker.set_pid(42);
        assert_eq!(caller.pid(), 42);
    }
}

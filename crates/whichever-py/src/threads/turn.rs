//! Whether it helps that one more worker takes a task: not while tasks of the pool hold the GIL, or crowd for it.
//!
//! Then one worker, detached, watches the GIL, which costs it a few loads; all others sleep, and none is started. As soon as
//! the GIL is free, or held by somebody else than the pool, or nobody else waits for it and tasks mostly let go of it, the
//! watcher goes on, and calls the next. `Patience` says when it takes a task all the same. Workers that compute although
//! others do step aside between two tasks, so that there is soon one left of them; and so does any worker that
//! comes from its task into a `Crowd`. Tasks that wait let go of the GIL, so as many of them run as there are workers.
//!
//! Where there is no GIL, or it cannot be read, nobody is held back.

use std::sync::Arc;

use whichever_sync::Seat;
use whichever_sys::{monotonic_ns, sleep_until, thread_cpu_ns, thread_cpu_ns_of, thread_id};

use super::crew::Crew;
use super::patience::{Look, computes};

/// How long a worker that has seen a task waits for a submitter to let go of the GIL, before it asks for it in earnest: to
/// ask is to sleep, and to be woken from it takes about as long.
const GATE_NS: u64 = 40_000;
/// How long a worker that steps aside gives others to take the GIL: they wake up for it.
const ASIDE_NS: u64 = 60_000;
/// How often a worker looks whether to step aside, at most: then the above is hardly lost.
const ASIDE_EVERY_NS: u64 = 10_000_000;
/// Time between two looks of a watcher, and how long it watches so. The GIL is idle for half of it when a task lets go; a look
/// takes about 10 us of another core. Who has held it for long will mostly hold it on.
const LOOKS: [(u64, u64); 3] = [(100_000, 1_000_000), (500_000, 8_000_000), (2_000_000, u64::MAX)];

/// Why a watcher has stopped watching.
enum Watched {
    /// It helps to take a task.
    Go,
    /// There is none.
    Empty,
    /// Another worker is coming, which can watch as well.
    Company,
}

/// What a worker keeps in order to see, between two tasks, whether to let others have the GIL.
#[derive(Debug, Default)]
pub(super) struct Stride {
    /// How often the GIL had changed hands when it last looked.
    switches: u64,
    /// What it had computed by then.
    cpu_ns: u64,
    /// When it last looked whether it mostly computes, and what it had computed by then.
    begun_ns: u64,
    begun_cpu_ns: u64,
}

impl Stride {
    /// Whether the worker, between two tasks, is to let others have the GIL: there is a crowd, or it computes, and so may
    /// others.
    pub(super) fn is_over(&mut self, crew: &Crew) -> bool {
        let Some(gil) = crew.gil() else { return false };
        // While nobody has taken the GIL from it, nobody has wanted it for long.
        let switches = gil.switches();
        if switches == self.switches {
            return false;
        }
        let busy = crew.roster.busy();
        if busy < 2 {
            return false;
        }
        let (now_ns, cpu_ns) = (monotonic_ns(), thread_cpu_ns().unwrap_or(0));
        let used_ns = cpu_ns.saturating_sub(self.cpu_ns);
        (self.switches, self.cpu_ns) = (switches, cpu_ns);
        crew.crowd.look(used_ns, thread_cpu_ns_of);
        let waiters = gil.waiters();
        let rivals = waiters.map_or(busy, |waiters| waiters as usize + 1);
        let is_over = waiters.is_some_and(|waiters| crew.crowd.is_there(waiters))
            || (self.computes(now_ns, cpu_ns, rivals) && crew.crowd.mostly_computes());
        if !is_over {
            crew.crowd.take(thread_id(), cpu_ns);
        }
        is_over
    }

    /// Whether it has computed lately whenever it could, as one of `rivals` for the GIL. Looks now and then.
    fn computes(&mut self, now_ns: u64, cpu_ns: u64, rivals: usize) -> bool {
        let elapsed_ns = now_ns.saturating_sub(self.begun_ns);
        if elapsed_ns < ASIDE_EVERY_NS {
            return false;
        }
        let used_ns = cpu_ns.saturating_sub(self.begun_cpu_ns);
        (self.begun_ns, self.begun_cpu_ns) = (now_ns, cpu_ns);
        rivals > 1 && computes(used_ns, elapsed_ns, rivals)
    }

    /// The worker, which was coming, takes a task.
    pub(super) fn begin(&mut self, crew: &Crew) {
        let Some(gil) = crew.gil() else { return };
        if crew.roster.busy() > 1 {
            self.switches = gil.switches();
            self.cpu_ns = thread_cpu_ns().unwrap_or(0);
            crew.crowd.look(0, thread_cpu_ns_of);
            crew.crowd.take(thread_id(), self.cpu_ns);
        }
    }
}

impl Crew {
    /// Wait, detached, until it helps that the caller, who counts as coming, takes a task. False when none is left.
    ///
    /// `steps_aside` says that it has just let go of the GIL, which others may be waking up for.
    pub(super) fn await_turn(&self, seat: &Arc<Seat>, steps_aside: bool) -> bool {
        if !self.has_gil() {
            return true;
        }
        if steps_aside {
            self.wait_aside();
        } else {
            self.wait_at_gate();
        }
        while self.is_held_back() {
            self.roster.be_calm(true);
            self.patience.begin(self.look());
            let watched = self.watch_gil();
            self.roster.be_calm(false);
            match watched {
                Watched::Go => return true,
                Watched::Empty => return false,
                Watched::Company => {
                    if self.roster.step_down(seat) {
                        self.wait_at_gate();
                    }
                }
            }
        }
        true
    }

    fn watch_gil(&self) -> Watched {
        let own = (thread_id(), thread_cpu_ns().unwrap_or(0));
        let (begun_ns, mut is_counted) = (monotonic_ns(), false);
        loop {
            if self.queue.is_empty() {
                return Watched::Empty;
            }
            if self.roster.coming() > 1 {
                return Watched::Company;
            }
            let now_ns = monotonic_ns();
            sleep_until(now_ns + until_next_look_ns(now_ns.saturating_sub(begun_ns)));
            if !self.is_held_back() || self.patience.lets_through(self.look(), own, thread_cpu_ns_of) {
                return Watched::Go;
            }
            if !std::mem::replace(&mut is_counted, true) {
                self.patience.count();
            }
        }
    }

    fn look(&self) -> Look {
        let taken = self.queue.pushed().saturating_sub(self.queue.len());
        Look { now_ns: monotonic_ns(), taken, busy: self.roster.busy() }
    }

    /// Whether one who asks for the GIL now could only queue behind tasks of this pool that compute.
    fn is_held_back(&self) -> bool {
        let Some(gil) = self.gil() else { return false };
        let waiters = gil.waiters();
        if waiters.is_some_and(|waiters| self.crowd.is_there(waiters)) {
            return true;
        }
        // The next task will mostly be one that waits: it is through between two turns of the one that has the GIL.
        let is_worth_it = waiters == Some(0) && !self.crowd.mostly_computes();
        !is_worth_it && gil.holder().is_some_and(|holder| self.is_ours(holder))
    }

    /// Wait, detached, for a submitter that is about to let go of the GIL.
    fn wait_at_gate(&self) {
        let end_ns = monotonic_ns() + GATE_NS;
        // Where the GIL cannot be seen, a caller that sleeps is the sign that it is free.
        let is_open = || if self.gil().is_some() { self.gil_holder().is_none() } else { self.callers() > 0 };
        while !is_open() && monotonic_ns() < end_ns {
            std::thread::yield_now(); // who holds it may have been put off for us
        }
    }

    /// Wait for a moment, detached, for somebody to take the GIL.
    fn wait_aside(&self) {
        let end_ns = monotonic_ns() + ASIDE_NS;
        while self.gil_holder().is_none() && monotonic_ns() < end_ns {
            std::hint::spin_loop();
        }
    }
}

/// How long a watcher sleeps that has watched for so long.
fn until_next_look_ns(watched_ns: u64) -> u64 {
    LOOKS.iter().find(|(_, until_ns)| watched_ns < *until_ns).map_or(0, |(apart_ns, _)| *apart_ns)
}

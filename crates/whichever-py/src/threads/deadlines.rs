//! What becomes of tasks that run past their time: a thread cannot be stopped, so its task is given up.
//!
//! The future fails at once, and the worker's place goes to another thread, so that the pool keeps its strength. What the
//! task leaves in the end is dropped, and its thread ends, or takes over the place of one that is stuck as it was. As many
//! threads may run so beside the pool as it has workers; when there are that many, those that follow keep
//! their places, and the pool is weaker until they end. Should all of them be stuck, the tasks that wait are given up as
//! well once they have waited for as long as each may run.
//!
//! The timekeeper is a thread of Python's that is there while tasks with a limit run (`executors/_thread_pool.py`). It
//! sleeps until the earliest limit that it knows; a task with a later one that begins meanwhile does not wake it.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::prelude::*;
use whichever_sys::monotonic_ns;

use super::crew::Crew;
use super::station::{Part, Station, Timed};
use crate::future::Outcome;
use crate::lasting::name;

/// There is no timekeeper.
const NOBODY: u64 = 0;
/// The timekeeper looks, and has not said yet until when it sleeps.
const LOOKING: u64 = u64::MAX;
/// Its longest sleep: clocks of Python take no larger numbers than some.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// See the module.
pub(super) struct Deadlines {
    /// Those of all workers. Locked while their parts change.
    stations: Mutex<Vec<Arc<Station>>>,
    /// When the timekeeper looks next, by the monotonic clock; or `NOBODY`, or `LOOKING`.
    next_look_ns: AtomicU64,
    /// The `threading.Event` that the timekeeper sleeps on.
    alarm: OnceLock<Py<PyAny>>,
    /// Since when all workers are stuck; 0 when they are not.
    stuck_since_ns: AtomicU64,
    /// Tasks given up.
    timed_out: AtomicU64,
}

impl Deadlines {
    pub(super) const fn new() -> Self {
        Self {
            stations: Mutex::new(Vec::new()),
            next_look_ns: AtomicU64::new(NOBODY),
            alarm: OnceLock::new(),
            stuck_since_ns: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
        }
    }

    pub(super) fn stations(&self) -> MutexGuard<'_, Vec<Arc<Station>>> {
        self.stations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has gone.
    pub(super) fn remove(&self, station: &Arc<Station>) {
        self.stations().retain(|other| !Arc::ptr_eq(other, station));
    }

    pub(super) fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// How many threads run tasks that were given up.
    pub(super) fn overdue(&self) -> usize {
        self.stations().iter().filter(|station| station.part() != Part::Whole).count()
    }

    /// Whether all workers are stuck.
    pub(super) fn are_all_stuck(&self) -> bool {
        self.stuck_since_ns.load(Ordering::Relaxed) != 0
    }
}

impl Crew {
    /// See to it that somebody looks at `deadline_ns`, which a station shows already.
    ///
    /// # Errors
    /// There is no timekeeper, and none could be started.
    pub(super) fn watch(self: &Arc<Self>, py: Python<'_>, deadline_ns: u64) -> PyResult<()> {
        let next_look = &self.deadlines.next_look_ns;
        // The timekeeper says that it looks, then looks at the stations: it sees this one's deadline, or we see that.
        fence(Ordering::SeqCst);
        let mut next_ns = next_look.load(Ordering::SeqCst);
        loop {
            if next_ns != NOBODY && next_ns <= deadline_ns {
                return Ok(());
            }
            match next_look.compare_exchange(next_ns, deadline_ns, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(NOBODY) => break,
                Ok(_) => return self.alarm(py)?.call_method0(name!(py, "set")).map(drop),
                Err(other) => next_ns = other,
            }
        }
        let started = self.alarm(py).and_then(|alarm| {
            let keeper = Timekeeper { crew: Arc::clone(self) };
            self.host.bind(py).call_method1(name!(py, "keep_time"), (keeper, alarm))
        });
        if started.is_err() {
            next_look.store(NOBODY, Ordering::SeqCst);
        }
        started.map(drop)
    }

    fn alarm<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(alarm) = self.deadlines.alarm.get() {
            return Ok(alarm.bind(py).clone());
        }
        let alarm = py.import(name!(py, "threading"))?.call_method0(name!(py, "Event"))?.unbind();
        Ok(self.deadlines.alarm.get_or_init(|| alarm).bind(py).clone())
    }

    /// The worker of `station` is back from a task that was given up. False when its place is another's: it is to end.
    pub(super) fn take_back(&self, station: &Station) -> TakenBack {
        let stations = self.deadlines.stations();
        let was = station.part();
        self.deadlines.stuck_since_ns.store(0, Ordering::Relaxed);
        // One that is stuck gives its place to another.
        let stuck = stations.iter().find(|other| other.part() == Part::Stuck);
        let taken_back = if was == Part::Stuck {
            TakenBack::Kept
        } else if let Some(stuck) = stuck {
            stuck.set_part(Part::Replaced);
            stuck.leave();
            TakenBack::Kept
        } else if (!self.roster.is_closed() || !self.queue.is_empty()) && self.roster.rejoin() {
            TakenBack::Coming
        } else {
            return TakenBack::Gone;
        };
        station.come_back();
        taken_back
    }

    /// Give up the task of `station` if it is past its time.
    fn give_up(self: &Arc<Self>, py: Python<'_>, station: &Station) {
        let Some(timed) = station.give_up(monotonic_ns()) else { return };
        self.deadlines.timed_out.fetch_add(1, Ordering::Relaxed);
        let is_replaced = {
            let stations = self.deadlines.stations();
            let count = |part| stations.iter().filter(|other| other.part() == part).count();
            let is_replaced = count(Part::Replaced) < self.most_workers();
            station.set_part(if is_replaced { Part::Replaced } else { Part::Stuck });
            if is_replaced {
                self.roster.lose(false);
            } else if count(Part::Stuck) >= self.most_workers() {
                self.deadlines.stuck_since_ns.store(monotonic_ns(), Ordering::Relaxed);
            }
            is_replaced
        };
        self.fail(py, &timed, name!(py, "ran_too_long"));
        if !is_replaced {
            return;
        }
        if !self.queue.is_empty()
            && let Err(error) = self.call(py, 1)
        {
            error.write_unraisable(py, None); // no thread: a worker that is left will come for what waits
        }
        station.leave();
    }

    fn fail(&self, py: Python<'_>, timed: &Timed, why: &Bound<'_, pyo3::types::PyString>) {
        let seconds = timed.timeout_ns as f64 * 1e-9;
        let error = self.host.bind(py).call_method1(why, (seconds,));
        let error = error.map_or_else(|error| error.into_value(py).into_any(), Bound::unbind);
        timed.target.end(py, Outcome::Error(error));
    }

    /// While all workers are stuck: give up what has waited for as long as it may run. When to look again, if it is to be.
    fn give_up_waiting(&self, py: Python<'_>) -> Option<u64> {
        let since_ns = self.deadlines.stuck_since_ns.load(Ordering::Relaxed);
        if since_ns == 0 {
            return None;
        }
        // Pairs with the fence in `Roster::call`: we see a task, or who hands it in sees that all are stuck.
        fence(Ordering::SeqCst);
        let (now_ns, mut next_ns) = (monotonic_ns(), None::<u64>);
        let jobs = self.queue.extract(|job| {
            if job.timeout_ns == 0 {
                return false;
            }
            let deadline_ns = since_ns.saturating_add(job.timeout_ns);
            if deadline_ns > now_ns {
                next_ns = Some(next_ns.map_or(deadline_ns, |next| next.min(deadline_ns)));
            }
            deadline_ns <= now_ns
        });
        for job in jobs {
            self.deadlines.timed_out.fetch_add(1, Ordering::Relaxed);
            let timed = Timed { target: job.target, timeout_ns: job.timeout_ns };
            self.fail(py, &timed, name!(py, "waited_too_long"));
        }
        next_ns
    }
}

/// What a worker is whose task was given up, when that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenBack {
    /// A worker that has just ended a task, as any other.
    Kept,
    /// A worker that is coming.
    Coming,
    /// None.
    Gone,
}

/// Private: what the timekeeper's thread asks.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct Timekeeper {
    crew: Arc<Crew>,
}

#[pymethods]
impl Timekeeper {
    /// Give up what is past its time; return the seconds until the next look. None when there is nothing to wait for:
    /// then the thread is to end.
    fn look(&self, py: Python<'_>) -> Option<f64> {
        let deadlines = &self.crew.deadlines;
        deadlines.next_look_ns.store(LOOKING, Ordering::SeqCst);
        fence(Ordering::SeqCst); // see `watch`
        let stations = deadlines.stations().clone();
        let mut next_ns = LOOKING;
        for station in stations {
            match station.deadline_ns() {
                Some(deadline_ns) if deadline_ns <= monotonic_ns() => self.crew.give_up(py, &station),
                Some(deadline_ns) => next_ns = next_ns.min(deadline_ns),
                None => {}
            }
        }
        if let Some(waiting_ns) = self.crew.give_up_waiting(py) {
            next_ns = next_ns.min(waiting_ns);
        }
        let next_look = &deadlines.next_look_ns;
        if next_ns == LOOKING {
            let ends =
                next_look.compare_exchange(LOOKING, NOBODY, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            return (!ends).then_some(0.0); // else a task has begun meanwhile
        }
        let next_ns = next_look.fetch_min(next_ns, Ordering::SeqCst).min(next_ns);
        Some(next_ns.saturating_sub(monotonic_ns()).min(LONGEST_NS) as f64 * 1e-9)
    }
}

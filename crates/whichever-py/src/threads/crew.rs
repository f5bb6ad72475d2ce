//! A thread pool as its futures and workers share it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use whichever_sync::{Call, Roster, RunQueue};
use whichever_sys::{monotonic_ns, usable_cores};

use super::crowd::Crowd;
use super::deadlines::Deadlines;
use super::helm::Helm;
use super::inner::Inner;
use super::job::Job;
use super::patience::Patience;
use super::station::Station;
use super::worker::ThreadWorker;
use crate::gil::{Gil, has_gil};
use crate::lasting::name;
use crate::outside;
use crate::pool::forks;

/// Workers that may be on their way together: with a GIL only one can run, and the next should be ready when it waits.
const MOST_COMING_WITH_GIL: usize = 2;
const MOST_COMING: usize = 8;

/// What one worker has done. It alone writes.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) returned: AtomicU64,
    pub(super) raised: AtomicU64,
}

/// What all have done.
#[derive(Default)]
pub(super) struct Tallies {
    /// Those of the workers there are.
    workers: Vec<Arc<Tally>>,
    /// How many there ever were.
    hired: usize,
    /// What those that have left had done: returned, and raised.
    gone: (u64, u64),
}

impl Tallies {
    /// Tasks that returned, and tasks that raised.
    pub(super) fn sum(&self) -> (u64, u64) {
        self.workers.iter().fold(self.gone, |(returned, raised), tally| {
            let [more_returned, more_raised] = [&tally.returned, &tally.raised];
            (returned + more_returned.load(Ordering::Relaxed), raised + more_raised.load(Ordering::Relaxed))
        })
    }
}

/// See the module.
pub(crate) struct Crew {
    pub(super) roster: Roster,
    pub(super) queue: RunQueue<Job>,
    pub(super) patience: Patience,
    pub(super) crowd: Crowd,
    pub(super) deadlines: Deadlines,
    pub(super) inner: Inner,
    pub(super) helm: Helm,
    /// Starts threads.
    pub(super) host: Py<PyAny>,
    has_gil: bool,
    gil: Option<&'static Gil>,
    /// Callers that sleep until a task ends.
    callers: AtomicUsize,
    cancelled: AtomicU64,
    tallies: Mutex<Tallies>,
    /// Why it takes no more tasks, when its initializer failed.
    broken: OnceLock<String>,
    born: u32,
}

thread_local! {
    /// Tasks that this thread has handed in: the next one goes to the next shard.
    static TURN: Cell<usize> = const { Cell::new(0) };
}

impl Crew {
    pub(super) fn new(py: Python<'_>, host: Py<PyAny>, workers: usize) -> PyResult<Arc<Self>> {
        let has_gil = has_gil(py)?;
        let shards = if has_gil { 1 } else { workers.min(cores()) };
        let most_coming = if has_gil { MOST_COMING_WITH_GIL } else { MOST_COMING };
        Ok(Arc::new(Self {
            roster: Roster::new(workers, most_coming),
            queue: RunQueue::new(shards),
            patience: Patience::new(),
            crowd: Crowd::new(),
            deadlines: Deadlines::new(),
            helm: Helm::new(),
            inner: Inner::of(host.bind(py))?,
            host,
            has_gil,
            gil: if has_gil { Gil::find(py) } else { None },
            callers: AtomicUsize::new(0),
            cancelled: AtomicU64::new(0),
            tallies: Mutex::default(),
            broken: OnceLock::new(),
            born: forks(),
        }))
    }

    pub(super) fn most_workers(&self) -> usize {
        self.roster.most()
    }

    /// Whether this process only inherited it.
    pub(crate) fn is_foreign(&self) -> bool {
        self.born != forks()
    }

    pub(super) fn has_gil(&self) -> bool {
        self.has_gil
    }

    /// The exception of a task that the broken pool does not run.
    pub(super) fn broken_error(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let reason = self.broken.get().map_or("", String::as_str);
        Ok(self.host.bind(py).call_method1(name!(py, "broken"), (reason,))?.unbind())
    }

    pub(super) fn broken(&self) -> &OnceLock<String> {
        &self.broken
    }

    /// A caller goes to sleep until a task has ended: it holds the GIL no longer.
    pub(crate) fn caller_sleeps(&self) {
        if self.has_gil {
            self.callers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A caller is back, attached.
    pub(crate) fn caller_is_back(&self) {
        if self.has_gil {
            self.callers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Callers that sleep, or are waking and want the GIL.
    pub(super) fn callers(&self) -> usize {
        self.callers.load(Ordering::Relaxed)
    }

    pub(crate) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The number and the tally of a new worker.
    pub(super) fn add_tally(&self) -> (usize, Arc<Tally>) {
        let mut tallies = self.tallies();
        let tally = Arc::<Tally>::default();
        tallies.workers.push(Arc::clone(&tally));
        tallies.hired += 1;
        (tallies.hired - 1, tally)
    }

    /// A worker has gone.
    pub(super) fn remove(&self, tally: &Arc<Tally>, station: &Arc<Station>) {
        self.deadlines.remove(station);
        let mut tallies = self.tallies();
        if let Some(place) = tallies.workers.iter().position(|other| Arc::ptr_eq(other, tally)) {
            let tally = tallies.workers.swap_remove(place);
            tallies.gone.0 += tally.returned.load(Ordering::Relaxed);
            tallies.gone.1 += tally.raised.load(Ordering::Relaxed);
        }
    }

    pub(super) fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Put a task in, and see to it that somebody comes for it.
    pub(super) fn submit(self: &Arc<Self>, py: Python<'_>, job: Job) -> PyResult<()> {
        let turn = TURN.get();
        TURN.set(turn.wrapping_add(1));
        let timeout_ns = job.timeout_ns;
        self.queue.push(turn, job);
        self.call(py, 1)?;
        if timeout_ns != 0 && self.deadlines.are_all_stuck() {
            return self.watch(py, monotonic_ns().saturating_add(timeout_ns));
        }
        Ok(())
    }

    /// See to it that somebody comes for what waits, `at_least` so many tasks.
    ///
    /// # Errors
    /// No thread could be started, and there is none; or a signal handler has raised.
    pub(super) fn call(self: &Arc<Self>, py: Python<'_>, at_least: usize) -> PyResult<()> {
        if self.roster.call(self.queue.len().max(at_least)) == Call::Done {
            return Ok(());
        }
        let worker = Bound::new(py, ThreadWorker::new(Arc::clone(self)))?;
        let Err(error) = outside::call_method(self.host.bind(py), name!(py, "hire"), (&worker,)) else {
            return Ok(());
        };
        if !worker.get().give_up() {
            return Err(error); // what a signal handler raised while the thread was being waited for
        }
        self.roster.unhire();
        self.roster.call_another(self.queue.len()); // somebody may have counted on it, and sleep
        // No thread could be started. Those that are there will do; there are only fewer of them.
        let is_refused = error.is_instance_of::<PyRuntimeError>(py);
        if is_refused && self.roster.workers() > 0 { Ok(()) } else { Err(error) }
    }

    /// Let there be as many as `most` workers, and have those come that waiting tasks need.
    ///
    /// # Errors
    /// As `call`.
    pub(super) fn raise(self: &Arc<Self>, py: Python<'_>, most: usize) -> PyResult<()> {
        self.roster.raise(most);
        self.call_for_waiting(py)
    }

    /// See to it that somebody comes for what waits, if anything does.
    ///
    /// # Errors
    /// As `call`.
    pub(super) fn call_for_waiting(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.queue.is_empty() { Ok(()) } else { self.call(py, 1) }
    }

    /// Cancel what waits.
    pub(super) fn drop_waiting(&self, py: Python<'_>) {
        for job in self.queue.drain() {
            if job.target.cancel(py) {
                self.count_cancelled();
            }
        }
    }

    /// Whether the thread with this thread state is a worker.
    pub(super) fn is_ours(&self, thread_state: u64) -> bool {
        self.deadlines.stations().iter().any(|station| station.thread_state() == thread_state)
    }

    /// The GIL, where there is one whose holder can be seen.
    pub(super) fn gil(&self) -> Option<&'static Gil> {
        self.gil
    }

    /// The thread state of whoever holds the GIL, where that can be seen.
    pub(super) fn gil_holder(&self) -> Option<u64> {
        self.gil.and_then(Gil::holder)
    }
}

/// Whole cores that may be used, at least one.
fn cores() -> usize {
    let cores = usable_cores().cores.ceil().clamp(1.0, 65_536.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let cores = cores as usize;
    cores
}

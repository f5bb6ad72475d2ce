//! `_core.ThreadWorker`: a worker's hand on its pool. Its thread is Python's; between two tasks it is here.
//!
//! The task itself is called by Python code (`executors/_thread_pool.py`), so that no frame of ours lies below it: an
//! interpreter that ends takes threads down wherever they are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use whichever_sync::{Next, Seat, Spin};
use whichever_sys::monotonic_ns;

use super::crew::{Crew, Tally};
use super::deadlines::TakenBack;
use super::inner::QUIET;
use super::job::{Job, Target, tell};
use super::run::Run;
use super::station::{Station, Timed};
use super::turn::Stride;
use crate::future::{Outcome, Promise};
use crate::gil::thread_state;

/// How long tasks go on after one has ended that somebody waits for: then he gets the GIL.
const WAITED_FOR_NS: u64 = 250_000;
/// The same after callbacks, which mostly mean that some other thread has something to do now.
const CALLED_BACK_NS: u64 = 1_000_000;
/// A thread that took longer to come had to take the GIL from somebody.
const SLOW_START_NS: u64 = 2_000_000;
/// How long a worker that gives way leaves the GIL to others.
const GIVE_WAY_NS: u64 = 50_000;

/// What the worker's own thread keeps from task to task; nobody else locks it.
struct Own {
    /// Whether the roster counts it as coming.
    coming: bool,
    /// Whether its thread has been here.
    known: bool,
    /// Whether its place is another's: it is to end.
    dismissed: bool,
    turn: usize,
    spin: Spin,
    /// The task that runs.
    running: Option<Target>,
    /// Whether that may run for a limited time only.
    is_timed: bool,
    /// The task that has ended, until it is shown to have.
    ended: Option<Ended>,
    /// When it is to give way; 0 for never.
    give_way_ns: u64,
    stride: Stride,
    /// How many modules there were when it last limited BLAS and OpenMP for itself.
    modules: usize,
    /// Whether it has looked, since its last task, if that is to be lifted.
    has_dozed: bool,
}

/// A task that has ended, which nobody has been shown yet.
enum Ended {
    /// It has its outcome.
    Future(Arc<Promise>),
    Item(Arc<Run>, u64, Outcome),
}

/// Private: see `whichever.ThreadPool`.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct ThreadWorker {
    crew: Arc<Crew>,
    /// Which it is of its pool's workers.
    number: usize,
    seat: Arc<Seat>,
    tally: Arc<Tally>,
    station: Arc<Station>,
    /// Whether it was decided if there is a thread: by the thread itself, or by whoever gave up starting it.
    decided: AtomicBool,
    hired_ns: u64,
    own: Mutex<Own>,
}

#[pymethods]
impl ThreadWorker {
    /// The thread is there. False when nobody counts on it any more: then it is to end at once.
    fn start(&self) -> bool {
        !self.crew.is_foreign() && self.decide()
    }

    /// The next task: what to call, with which arguments and keywords (or None). None when the worker is to end.
    fn begin<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if self.crew.is_foreign() {
            return Ok(None);
        }
        let task = if self.lock().dismissed { None } else { self.next(py)? };
        if task.is_none() {
            self.crew.remove(&self.tally, &self.station);
            self.crew.lift_if_quiet(py);
        }
        Ok(task)
    }

    /// The task has returned.
    fn end(&self, py: Python<'_>, result: Py<PyAny>) {
        if self.is_in_time() {
            count(&self.tally.returned);
            self.crew.steer();
            self.keep(py, Outcome::Value(result));
        }
    }

    /// The task has raised.
    fn fail(&self, py: Python<'_>, error: Py<PyAny>) {
        if self.is_in_time() {
            count(&self.tally.raised);
            self.crew.steer();
            self.keep(py, Outcome::Error(error));
        }
    }

    /// Whether its task was given up and its place is another's: nobody waits for this thread.
    fn is_overdue(&self) -> bool {
        self.station.is_left()
    }

    /// Take no more tasks; the workers leave when none is left. With `cancel_futures`, drop what waits.
    fn close(&self, py: Python<'_>, cancel_futures: bool) {
        if self.crew.is_foreign() {
            return;
        }
        if cancel_futures {
            self.crew.drop_waiting(py);
        }
        self.crew.roster.close();
    }

    /// The worker cannot work: its initializer failed. With it ends the pool, for `reason`.
    fn break_down(&self, py: Python<'_>, reason: String) -> PyResult<()> {
        self.quit();
        let _first = self.crew.broken().set(reason);
        for job in self.crew.queue.drain() {
            job.target.end(py, Outcome::Error(self.crew.broken_error(py)?));
        }
        Ok(())
    }

    /// Workers that its pool has in this process: those that are being started too, but none that leave.
    fn fellows(&self) -> usize {
        if self.crew.is_foreign() { 0 } else { self.crew.roster.workers() }
    }

    /// The worker ends although nobody told it to.
    fn quit(&self) {
        let coming = std::mem::take(&mut self.lock().coming);
        self.crew.remove(&self.tally, &self.station);
        self.crew.roster.lose(coming);
        self.crew.roster.call_another(self.crew.queue.len()); // somebody may have counted on it, and sleep
    }
}

impl ThreadWorker {
    pub(super) fn new(crew: Arc<Crew>) -> Self {
        let (number, tally) = crew.add_tally();
        let own = Own {
            coming: true,
            known: false,
            dismissed: false,
            turn: 0,
            spin: Spin::new(),
            running: None,
            is_timed: false,
            ended: None,
            give_way_ns: 0,
            stride: Stride::default(),
            modules: 0,
            has_dozed: false,
        };
        let station = Arc::new(Station::new());
        Self {
            crew,
            number,
            seat: Arc::new(Seat::default()),
            tally,
            station,
            decided: AtomicBool::new(false),
            hired_ns: monotonic_ns(),
            own: Mutex::new(own),
        }
    }

    /// Do without the thread, which may not have started. False when it has.
    pub(super) fn give_up(&self) -> bool {
        self.decide()
    }

    fn decide(&self) -> bool {
        self.decided.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task, or None when the worker is to end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if !std::mem::replace(&mut self.lock().known, true) {
            self.crew.deadlines.stations().push(Arc::clone(&self.station));
            self.station.come(thread_state(py));
            let was_slow = monotonic_ns().saturating_sub(self.hired_ns) > SLOW_START_NS;
            // From whom, can only be seen by who does not hold it.
            if was_slow && self.crew.roster.busy() > 0 && self.rest(py, true)? == Next::Leave {
                return Ok(None);
            }
        }
        self.give_way(py);
        if self.crew.roster.is_crowded() && self.rest(py, false)? == Next::Leave {
            return Ok(None);
        }
        let steps_aside = !self.crew.queue.is_empty() && self.lock().stride.is_over(&self.crew);
        if steps_aside && self.rest(py, true)? == Next::Leave {
            return Ok(None);
        }
        loop {
            if let Some(task) = self.take(py)? {
                return Ok(Some(task));
            }
            if self.rest(py, false)? == Next::Leave {
                return Ok(None);
            }
        }
    }

    /// Take a task that is to run, and call somebody for what is left.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let crew = &self.crew;
        loop {
            let job = {
                let mut own = self.lock();
                own.turn = own.turn.wrapping_add(1);
                crew.queue.pop(self.number, own.turn)
            };
            let Some(job) = job else { return Ok(None) };
            self.show(py);
            if !job.target.start() {
                continue; // cancelled; what it holds is dropped here, attached
            }
            let was_coming = std::mem::take(&mut self.lock().coming);
            if was_coming {
                crew.roster.found();
                self.lock().stride.begin(crew);
            }
            if job.timeout_ns != 0
                && let Err(error) = self.limit(py, &job)
            {
                job.target.end(py, Outcome::Error(error.into_value(py).into_any()));
                continue;
            }
            {
                let mut own = self.lock();
                own.running = Some(job.target);
                own.has_dozed = false;
                let mut modules = own.modules;
                drop(own);
                crew.inner.limit(py, &mut modules);
                self.lock().modules = modules;
            }
            if !crew.queue.is_empty()
                && let Err(error) = crew.call(py, 1)
            {
                error.write_unraisable(py, None); // no reason to lose the task that we have
            }
            return PyTuple::new(
                py,
                [
                    job.call.into_bound(py),
                    job.args.into_bound(py).into_any(),
                    job.kwargs
                        .map_or_else(|| py.None().into_bound(py), |kwargs| kwargs.into_bound(py).into_any()),
                ],
            )
            .map(Some);
        }
    }

    /// The task that begins may run for a limited time only.
    fn limit(&self, py: Python<'_>, job: &Job) -> PyResult<()> {
        let timed = Timed { target: job.target.clone(), timeout_ns: job.timeout_ns };
        let deadline_ns = self.station.begin(timed, monotonic_ns());
        let watched = self.crew.watch(py, deadline_ns);
        if watched.is_err() {
            self.station.end();
        }
        self.lock().is_timed = watched.is_ok();
        watched
    }

    /// Whether the task has ended before it was given up. Else what it leaves is nobody's.
    fn is_in_time(&self) -> bool {
        if !std::mem::take(&mut self.lock().is_timed) || self.station.end() {
            return true;
        }
        let taken_back = self.crew.take_back(&self.station);
        let mut own = self.lock();
        own.coming = taken_back == TakenBack::Coming;
        own.dismissed = taken_back == TakenBack::Gone;
        let running = own.running.take();
        drop(own);
        drop(running);
        false
    }

    /// Keep how the task ended. It is shown when the next one begins or the GIL is free: whoever waits for it could do
    /// nothing before.
    fn keep(&self, py: Python<'_>, outcome: Outcome) {
        let running = self.lock().running.take();
        let (ended, at_once) = match running {
            Some(Target::Future(promise)) => {
                if !promise.keep(outcome) {
                    return; // somebody else has settled it
                }
                let has_listener = promise.phase().is_listened();
                (Ended::Future(promise), has_listener)
            }
            // What nobody wants any more is dropped while we are attached.
            Some(Target::Item(run, index)) => {
                let at_once = run.is_unwanted();
                (Ended::Item(run, index, outcome), at_once)
            }
            None => return,
        };
        self.lock().ended = Some(ended);
        if at_once {
            self.show(py);
        }
    }

    /// Show, attached, that the last task has ended.
    fn show(&self, py: Python<'_>) {
        let ended = self.lock().ended.take();
        match ended {
            Some(Ended::Future(promise)) => {
                let Ok(marks) = promise.finish() else { return };
                if marks.watched {
                    self.owe(WAITED_FOR_NS);
                }
                if marks.listened {
                    tell(py, &promise);
                    self.owe(CALLED_BACK_NS);
                }
            }
            Some(Ended::Item(run, index, outcome)) => match run.settle(index, outcome) {
                Ok(true) => self.owe(WAITED_FOR_NS),
                Ok(false) => {}
                Err(unwanted) => drop(unwanted),
            },
            None => {}
        }
    }

    /// Give way so long from now, if not before.
    fn owe(&self, delay_ns: u64) {
        if self.crew.has_gil() {
            let due_ns = monotonic_ns() + delay_ns;
            let mut own = self.lock();
            own.give_way_ns = if own.give_way_ns == 0 { due_ns } else { own.give_way_ns.min(due_ns) };
        }
    }

    /// Leave the GIL for a moment to those who want it, if that is due.
    fn give_way(&self, py: Python<'_>) {
        let due_ns = self.lock().give_way_ns;
        if due_ns == 0 || monotonic_ns() < due_ns || self.crew.queue.is_empty() {
            return;
        }
        self.show(py);
        self.lock().give_way_ns = 0;
        py.detach(|| {
            let (before, end_ns) = (self.crew.callers(), monotonic_ns() + GIVE_WAY_NS);
            while monotonic_ns() < end_ns && (before == 0 || self.crew.callers() >= before) {
                std::thread::yield_now();
            }
        });
    }

    /// Wait, detached, until there may be a task that it helps to take.
    ///
    /// `steps_aside` says that others may want the GIL that it lets go.
    fn rest(&self, py: Python<'_>, steps_aside: bool) -> PyResult<Next> {
        let ended = {
            let mut own = self.lock();
            if !std::mem::replace(&mut own.coming, true) {
                self.crew.roster.come();
            }
            own.ended.take()
        };
        let ended = ended.filter(|ended| match ended {
            // Nobody holds the future any more: what the task returned goes now, attached.
            Ended::Future(promise) if Arc::strong_count(promise) == 1 => promise.finish().is_err(),
            _ => true,
        });
        let next = match py.detach(move || self.rest_detached(ended, steps_aside)) {
            Rested::Next(next) => next,
            Rested::Tell(promise) => {
                tell(py, &promise);
                return Ok(Next::Look);
            }
            Rested::Drop(leftover) => {
                match leftover {
                    Leftover::Promise(promise) => drop(promise),
                    Leftover::Outcome(outcome) => drop(outcome),
                    Leftover::Run(run) => drop(run),
                }
                return Ok(Next::Look);
            }
        };
        if next == Next::Quiet {
            self.lock().has_dozed = true;
            self.crew.lift_if_quiet(py);
        }
        let mut own = self.lock();
        own.coming = next != Next::Leave;
        own.give_way_ns = 0;
        Ok(next)
    }

    fn rest_detached(&self, ended: Option<Ended>, mut steps_aside: bool) -> Rested {
        let leftover = match ended {
            Some(Ended::Future(promise)) => {
                if promise.finish().is_ok_and(|marks| marks.listened) {
                    return Rested::Tell(promise);
                }
                // Its caller may have dropped the future just now: then we hold the last of it.
                Arc::into_inner(promise).map(|promise| Leftover::Promise(Box::new(promise)))
            }
            Some(Ended::Item(run, index, outcome)) => {
                let unwanted = run.settle(index, outcome).err().map(Leftover::Outcome);
                unwanted.or_else(|| Arc::into_inner(run).map(Leftover::Run))
            }
            None => None,
        };
        if let Some(leftover) = leftover {
            return Rested::Drop(leftover);
        }
        let crew = &self.crew;
        let mut own = self.lock();
        let mut coming = own.coming;
        let dozes = !own.has_dozed && crew.inner.is_to_lift();
        self.seat.doze(dozes.then_some(QUIET));
        loop {
            if coming && crew.roster.is_crowded() && crew.roster.park(&self.seat) {
                continue;
            }
            let mut has_tasks = || !crew.queue.is_empty();
            let next = crew.roster.await_task(&self.seat, coming, &mut has_tasks, &mut own.spin);
            if next != Next::Look {
                return Rested::Next(next);
            }
            coming = true;
            // While we wait for the GIL, the next one wakes up.
            crew.roster.call_another(crew.queue.len());
            if crew.await_turn(&self.seat, std::mem::take(&mut steps_aside)) {
                return Rested::Next(Next::Look);
            }
        }
    }
}

/// How a rest ended.
enum Rested {
    Next(Next),
    /// At once: somebody began to listen to this future just as it ended.
    Tell(Arc<Promise>),
    /// At once: this must be dropped by somebody attached, or it would stay until somebody is.
    Drop(Leftover),
}

/// What holds Python objects and is nobody else's any more.
enum Leftover {
    Promise(Box<Promise>),
    Outcome(Outcome),
    Run(Run),
}

/// Count one up. One thread writes it.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

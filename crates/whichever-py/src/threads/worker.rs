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
use super::job::{Target, tell};
use super::patience::Arrival;
use super::run::Run;
use crate::future::{Outcome, Promise};
use crate::gil::thread_state;

/// How long tasks go on after one has ended that somebody waits for: then he gets the GIL.
const WAITED_FOR_NS: u64 = 250_000;
/// The same after callbacks, which mostly mean that some other thread has something to do now.
const CALLED_BACK_NS: u64 = 1_000_000;
/// How long a worker that gives way leaves the GIL to others.
const GIVE_WAY_NS: u64 = 50_000;
/// Waits for the GIL that are shorter than this were not ended by force, whatever the switch interval.
const SHORT_WAIT_NS: u64 = 100_000;

/// What the worker's own thread keeps from task to task; nobody else locks it.
struct Own {
    /// Whether the roster counts it as coming.
    coming: bool,
    /// Whether its thread has been here.
    known: bool,
    turn: usize,
    spin: Spin,
    /// The task that runs.
    running: Option<Target>,
    /// The task that has ended, until it is shown to have.
    ended: Option<Ended>,
    /// When it is to give way; 0 for never.
    give_way_ns: u64,
    /// How it came by the GIL the last time, if that was taken by force from a task of ours.
    arrival: Option<Arrival>,
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
        if !std::mem::replace(&mut self.lock().known, true) {
            self.crew.add_thread(thread_state(py));
            // To see who has the GIL.
            if forced(py, self.hired_ns)?.is_some() && self.rest(py)? == Next::Leave {
                return Ok(None);
            }
        }
        self.give_way(py);
        loop {
            if !self.is_held_back()
                && let Some(task) = self.take(py)?
            {
                return Ok(Some(task));
            }
            if self.rest(py)? == Next::Leave {
                return Ok(None);
            }
        }
    }

    /// The task has returned.
    fn end(&self, py: Python<'_>, result: Py<PyAny>) {
        count(&self.tally.returned);
        self.keep(py, Outcome::Value(result));
    }

    /// The task has raised.
    fn fail(&self, py: Python<'_>, error: Py<PyAny>) {
        count(&self.tally.raised);
        self.keep(py, Outcome::Error(error));
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
        self.crew.roster.lose(coming);
    }
}

impl ThreadWorker {
    pub(super) fn new(crew: Arc<Crew>) -> Self {
        let (number, tally) = crew.add_tally();
        let own = Own {
            coming: true,
            known: false,
            turn: 0,
            spin: Spin::new(),
            running: None,
            ended: None,
            give_way_ns: 0,
            arrival: None,
        };
        Self {
            crew,
            number,
            seat: Arc::new(Seat::default()),
            tally,
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
            let was_coming = {
                let mut own = self.lock();
                own.running = Some(job.target);
                std::mem::take(&mut own.coming)
            };
            if was_coming {
                crew.roster.found();
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

    /// Wait, detached, until there may be a task.
    fn rest(&self, py: Python<'_>) -> PyResult<Next> {
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
        let (rested, asked_ns, holder) = py.detach(move || {
            let rested = self.rest_detached(ended);
            self.crew.wait_at_gate();
            (rested, monotonic_ns(), self.crew.gil_holder())
        });
        let next = match rested {
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
        let arrival = match holder {
            Some(holder) if self.crew.is_ours(holder) => {
                forced(py, asked_ns)?.map(|now_ns| Arrival { holder, now_ns })
            }
            _ => None,
        };
        let mut own = self.lock();
        own.coming = next == Next::Look;
        own.give_way_ns = 0;
        own.arrival = arrival;
        Ok(next)
    }

    fn rest_detached(&self, ended: Option<Ended>) -> Rested {
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
        let coming = own.coming;
        let next = crew.roster.await_task(&self.seat, coming, &mut || !crew.queue.is_empty(), &mut own.spin);
        if next == Next::Look {
            // While we wait for the GIL, the next one wakes up.
            crew.roster.call_another(crew.queue.len());
        }
        Rested::Next(next)
    }

    /// Whether it had better not take a task now.
    fn is_held_back(&self) -> bool {
        let arrival = self.lock().arrival.take();
        arrival.is_some_and(|arrival| self.crew.roster.busy() >= 2 && self.crew.patience.holds_back(arrival))
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

/// Now, if the GIL had to be taken from its holder: it came only after about a switch interval.
fn forced(py: Python<'_>, asked_ns: u64) -> PyResult<Option<u64>> {
    let now_ns = monotonic_ns();
    let waited_ns = now_ns.saturating_sub(asked_ns);
    if waited_ns < SHORT_WAIT_NS {
        return Ok(None);
    }
    let interval_s: f64 = py.import("sys")?.call_method0("getswitchinterval")?.extract()?;
    Ok((waited_ns as f64 * 1e-9 >= 0.8 * interval_s).then_some(now_ns))
}

/// Count one up. One thread writes it.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

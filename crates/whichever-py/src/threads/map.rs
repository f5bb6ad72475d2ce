//! `_core.ThreadMap`: the results of one call of `map`, taken while the items are still being handed in.
//!
//! Items are taken from their iterator in the caller's thread, when results are asked for, and a bounded number ahead of
//! them: an endless generator is as good as a list. There is no future for each. Who drops the iterator in the middle
//! wants no more tasks to be run; who drops it unread (`pool.map(save, items)`, and no more) wants the tasks and no
//! results.

use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::{PyRuntimeWarning, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use whichever_sys::monotonic_ns;

use super::crew::Crew;
use super::job::{Job, Target};
use super::run::Run;
use crate::ctrl_c;
use crate::future::{Limit, Outcome, park};
use crate::lasting::name;
use crate::outside;
use crate::pool::UNREAD;
use crate::raised::by_iterator;

/// Items that are taken from a collection without waiting for results, at most.
const EAGER_TASKS: usize = 100_000;
/// Tasks for each worker that are taken from a generator ahead of their results, at first.
const AHEAD_LEAST: usize = 4;
/// And at most: items and results take memory.
const AHEAD_MOST: usize = 16_384;
/// Refills that come sooner after one another are for too few tasks: each costs a wake-up, and the GIL.
const SOON_NS: u64 = 5_000_000;
/// Time for taking items while a result is there: then that goes first.
const SLOW_NS: u64 = 1_000_000;
/// Items between two looks at the clock.
const CLOCK_EVERY: usize = 16;

/// What `map` was asked for.
pub(super) struct Plan {
    pub(super) function: Py<PyAny>,
    /// Whether an item is a tuple of arguments.
    pub(super) star: bool,
    pub(super) eager: bool,
    /// Most tasks whose results have not been taken; 0 to find it out.
    pub(super) ahead: usize,
    /// Most tasks that are open at first, if more than the workers need, while that is being found out.
    pub(super) first: usize,
    pub(super) ordered: bool,
    /// The context that each task runs in a copy of.
    pub(super) context: Option<Py<PyAny>>,
    pub(super) limit: Limit,
    /// How long each task may run; 0 for as long as it likes.
    pub(super) task_ns: u64,
}

struct Source {
    items: Option<Py<PyIterator>>,
    next_index: u64,
    /// Most tasks to be ahead.
    most: usize,
    /// The taker had to wait since the last refill.
    has_waited: bool,
    /// When that was.
    refilled_ns: u64,
    /// Whether a result was ever asked for.
    is_read: bool,
}

/// See the module. Private: `ThreadPool.map` makes it.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct ThreadMap {
    crew: Arc<Crew>,
    run: Arc<Run>,
    plan: Plan,
    source: Mutex<Source>,
}

#[pymethods]
impl ThreadMap {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut source = self.lock()?;
        source.is_read = true;
        loop {
            if self.run.is_given_up() {
                return Ok(None);
            }
            self.refill(py, &mut source)?;
            match self.run.take() {
                Some(Outcome::Value(value)) => return Ok(Some(value)),
                Some(Outcome::Error(error)) => {
                    return self.fail(&mut source, by_iterator(py, error));
                }
                None if self.is_done(&source) => {
                    self.give_up(&mut source);
                    return Ok(None);
                }
                None => self.await_next(py, &mut source)?,
            }
        }
    }

    /// Wait up to so many seconds for the next result. False when `__next__` would still have to.
    fn wait(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let mut source = self.lock()?;
        let limit = Limit::from_seconds(Some(seconds))?;
        loop {
            self.refill(py, &mut source)?;
            if self.run.has_next() || self.run.is_given_up() || self.is_done(&source) {
                return Ok(true);
            }
            if !self.await_until(py, &mut source, limit).or_else(|error| self.fail(&mut source, error))? {
                return Ok(self.plan.limit.is_over());
            }
        }
    }

    /// Let the garbage collector see what is run, and the items that are to come: either may lead back here.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.plan.function)?;
        // Locked by a thread that advances it: then it is alive.
        let Ok(source) = self.source.try_lock() else { return Ok(()) };
        source.items.as_ref().map_or(Ok(()), |items| visit.call(items))
    }

    /// Take back the items behind the last whose task has begun, and take no more: their tasks never run.
    ///
    /// Returns the number of results that there will be, taken ones included. Any thread may call it, while another one
    /// waits for a result too; the iterator over the items must end then.
    fn recall(&self) -> u64 {
        self.run.recall()
    }

    /// Take all items now, however many, and hand them in.
    fn hand_in_all(&self, py: Python<'_>) -> PyResult<()> {
        let mut source = self.lock()?;
        let most = std::mem::replace(&mut source.most, usize::MAX);
        while source.items.is_some() && !self.run.is_given_up() {
            self.refill(py, &mut source)?;
        }
        source.most = most;
        Ok(())
    }

    /// Take no more items; those that were are run, and nobody will read what they give.
    fn leave(&self) -> PyResult<()> {
        let mut source = self.lock()?;
        (source.items, source.is_read) = (None, false);
        self.run.leave();
        Ok(())
    }

    /// Give up what has not been taken: tasks that have not started never will.
    fn close(&self) -> PyResult<()> {
        let mut source = self.lock()?;
        source.is_read = true;
        self.give_up(&mut source);
        Ok(())
    }
}

impl ThreadMap {
    pub(super) fn start(
        py: Python<'_>,
        crew: &Arc<Crew>,
        items: Bound<'_, PyIterator>,
        plan: Plan,
    ) -> PyResult<Self> {
        let most = match (plan.ahead, plan.eager) {
            (0, true) => EAGER_TASKS,
            (0, false) => (AHEAD_LEAST * crew.most_workers()).max(plan.first).min(AHEAD_MOST),
            (ahead, _) => ahead,
        };
        let source = Source {
            items: Some(items.unbind()),
            next_index: 0,
            most,
            has_waited: false,
            refilled_ns: 0,
            is_read: false,
        };
        let map = Self {
            crew: Arc::clone(crew),
            run: Arc::new(Run::new(plan.ordered)),
            plan,
            source: Mutex::new(source),
        };
        let mut source = map.lock()?;
        let started = map.refill(py, &mut source);
        source.is_read = started.is_err(); // nobody gets it who could read it
        drop(source);
        started.map(|()| map)
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, Source>> {
        // Like a generator: two threads cannot advance it at once, and an item's own code cannot either.
        self.source.try_lock().map_err(|_| PyValueError::new_err("map iterator already executing"))
    }

    /// Take items and hand them in until enough are ahead.
    fn refill(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        let Some(items) = source.items.as_ref().map(|items| items.clone_ref(py)) else { return Ok(()) };
        let items = items.into_bound(py);
        if self.ahead() > source.most / 2 {
            return Ok(());
        }
        let begun_ns = monotonic_ns();
        self.grow(source, begun_ns);
        let mut room = source.most.saturating_sub(self.ahead());
        let mut taken = 0;
        while room > 0 {
            let item = match outside::next(&items) {
                Ok(None) => {
                    source.items = None;
                    break;
                }
                Err(error) => return self.fail(source, error),
                Ok(Some(item)) => item,
            };
            self.hand_in(py, source, &item)?;
            (room, taken) = (room - 1, taken + 1);
            if !self.plan.eager
                && taken % CLOCK_EVERY == 0
                && monotonic_ns() - begun_ns > SLOW_NS
                && self.run.has_next()
            {
                break;
            }
        }
        Ok(())
    }

    fn hand_in(&self, py: Python<'_>, source: &mut Source, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let function = self.plan.function.bind(py);
        let (call, before) = match &self.plan.context {
            None => (function.clone(), None),
            Some(context) => {
                let copy = context.bind(py).call_method0(name!(py, "copy"))?;
                (copy.getattr(name!(py, "run"))?, Some(function))
            }
        };
        let args = match (before, item.cast::<PyTuple>()) {
            (None, Ok(tuple)) if self.plan.star => tuple.clone(),
            (Some(before), Ok(tuple)) if self.plan.star => {
                PyTuple::new(py, std::iter::once(before.clone()).chain(tuple.iter()).collect::<Vec<_>>())?
            }
            (None, _) => PyTuple::new(py, [item])?,
            (Some(before), _) => PyTuple::new(py, [before, item])?,
        };
        self.run.open();
        let target = Target::Item(Arc::clone(&self.run), source.next_index);
        source.next_index += 1;
        let timeout_ns = self.plan.task_ns;
        let job = Job { target, call: call.unbind(), args: args.unbind(), kwargs: None, timeout_ns };
        self.crew.submit(py, job)
    }

    /// How many tasks count as ahead: what has ended and waits for its turn keeps no worker busy.
    fn ahead(&self) -> usize {
        let (open, outstanding) = self.run.load();
        // What waits for the taker must not pile up.
        if self.finds_out() && outstanding < AHEAD_MOST && !self.run.has_next() { open } else { outstanding }
    }

    /// Whether there is nothing more to take.
    fn is_done(&self, source: &Source) -> bool {
        self.run.is_recalled_and_taken() || (self.run.load().1 == 0 && source.items.is_none())
    }

    fn finds_out(&self) -> bool {
        self.plan.ahead == 0 && !self.plan.eager
    }

    /// Take more ahead if the taker had to wait and yet is back so soon: these tasks are short.
    fn grow(&self, source: &mut Source, now_ns: u64) {
        if self.finds_out() && source.has_waited && now_ns - source.refilled_ns < SOON_NS {
            source.most = (source.most * 2).min(AHEAD_MOST);
        }
        (source.has_waited, source.refilled_ns) = (false, now_ns);
    }

    fn await_next(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        match self.await_until(py, source, self.plan.limit) {
            Ok(true) => Ok(()),
            Ok(false) => self.fail(source, PyTimeoutError::new_err(())),
            Err(error) => self.fail(source, error),
        }
    }

    /// Wait for a result, or for room for more items. False when it was time first.
    fn await_until(&self, py: Python<'_>, source: &mut Source, limit: Limit) -> PyResult<bool> {
        source.has_waited = true;
        // While one task takes long, others end: their places are filled without waiting for their turn.
        let low = (self.finds_out() && source.items.is_some() && self.run.load().1 < AHEAD_MOST)
            .then_some(source.most / 2);
        if !self.run.begin_wait(low) {
            return Ok(true);
        }
        let sleep = |slice, spin: &mut _| self.run.await_arrival(slice, spin);
        park(py, Some(&self.crew), limit, &sleep)
    }

    fn fail<R>(&self, source: &mut Source, error: PyErr) -> PyResult<R> {
        self.give_up(source);
        Err(error)
    }

    /// Nobody wants what is still to come.
    fn give_up(&self, source: &mut Source) {
        source.items = None;
        self.run.give_up();
    }

    /// The iterator is dropped before a result was asked for: what is there already is run.
    fn leave_unread(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        if self.plan.eager && source.items.is_some() {
            source.most = usize::MAX;
            self.refill(py, source)?;
        }
        self.run.leave();
        if source.items.take().is_some() {
            return PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), UNREAD, 1);
        }
        Ok(())
    }
}

impl Drop for ThreadMap {
    fn drop(&mut self) {
        if self.run.is_given_up() || self.crew.is_foreign() {
            return;
        }
        Python::attach(|py| {
            // Only a drop in the middle of its own advance finds it locked: then that one gives up.
            let Ok(mut source) = self.lock() else { return };
            if source.is_read {
                self.give_up(&mut source);
            } else if let Err(error) = self.leave_unread(py, &mut source) {
                ctrl_c::report(py, error, None);
            }
        });
    }
}

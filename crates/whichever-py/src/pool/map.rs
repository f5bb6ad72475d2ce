//! `_core.MapIterator`: the results of one call of `map`, taken while the items are still being handed in.
//!
//! Items are taken from their iterator in the caller's thread, when results are asked for, and never more than `ahead` of
//! them: an endless generator is as good as a list. Results wait here, in their order or in that of their arrival.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyTimeoutError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use whichever_pool::{Ended, Task};
use whichever_sys::monotonic_ns;

use super::core::{Packed, Rules, pack_pickled, pack_scalars, task};
use super::promise::Outcome;
use super::shared::{Shared, Target};
use super::wait::{Limit, Until, wait_for};

/// Tasks handed in with one lock.
const BATCH: usize = 128;
/// A slow iterator's items do not wait longer than this for company.
const BATCH_NS: u64 = 100_000;
/// Items that are taken from a collection without waiting for results, at most.
const EAGER_TASKS: usize = 100_000;
/// Payload bytes of these, at most.
const EAGER_BYTES: usize = 32 << 20;
/// Work that is taken from a generator ahead of its results, for each worker.
const AHEAD_NS: u64 = 20_000_000;
/// Tasks that are taken from a generator ahead of their results, at most.
const AHEAD_TASKS: usize = 16_384;
/// And at least, for each worker, for tasks of unknown length too.
const AHEAD_LEAST: usize = 4;

/// What `map` was asked for.
pub(super) struct Plan {
    pub(super) number: u32,
    pub(super) star: bool,
    pub(super) eager: bool,
    pub(super) ahead: usize,
    pub(super) ordered: bool,
    pub(super) rules: Rules,
    pub(super) context: Arc<[u8]>,
    pub(super) limit: Limit,
}

/// Where results wait.
pub(super) struct Run {
    ordered: bool,
    given_up: AtomicBool,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    /// The index of the first place in `places`.
    first: u64,
    /// In order: a place for each task handed in whose result was not taken.
    places: VecDeque<Option<Ended>>,
    /// In the order of arrival, when that is wanted.
    arrived: VecDeque<Ended>,
    /// Tasks that have not ended.
    open: usize,
}

impl Run {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn settle(&self, index: u64, ended: Ended) {
        let mut inbox = self.lock();
        inbox.open -= 1;
        if self.is_cancelled() {
            return;
        }
        if !self.ordered {
            inbox.arrived.push_back(ended);
            return;
        }
        let at = index.checked_sub(inbox.first).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| inbox.places.get_mut(at)) {
            *place = Some(ended);
        }
    }

    fn has_next(&self) -> bool {
        let inbox = self.lock();
        if self.ordered { matches!(inbox.places.front(), Some(Some(_))) } else { !inbox.arrived.is_empty() }
    }

    /// Move what can be given out next.
    fn take(&self, into: &mut VecDeque<Ended>) {
        let mut inbox = self.lock();
        if !self.ordered {
            into.append(&mut inbox.arrived);
            return;
        }
        while matches!(inbox.places.front(), Some(Some(_))) {
            into.extend(inbox.places.pop_front().flatten());
            inbox.first += 1;
        }
    }

    /// Tasks whose results were not taken.
    fn outstanding(&self) -> usize {
        let inbox = self.lock();
        if self.ordered { inbox.places.len() } else { inbox.open + inbox.arrived.len() }
    }

    /// Make a place for one task more; returns its index.
    fn open_place(&self, next_index: &mut u64) -> u64 {
        let mut inbox = self.lock();
        inbox.open += 1;
        if self.ordered {
            inbox.places.push_back(None);
        }
        *next_index += 1;
        *next_index - 1
    }
}

struct Source {
    items: Option<Py<PyAny>>,
    next_index: u64,
    /// Results that only wait for their turn.
    mine: VecDeque<Ended>,
    given: u64,
}

/// See the module. Private: `ProcessPool.map` makes it.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct MapIterator {
    shared: Arc<Shared>,
    run: Arc<Run>,
    plan: Plan,
    source: Mutex<Source>,
}

impl MapIterator {
    pub(super) fn new(shared: &Arc<Shared>, items: Py<PyAny>, plan: Plan) -> Self {
        let run = Run { ordered: plan.ordered, given_up: AtomicBool::new(false), inbox: Mutex::default() };
        Self {
            shared: Arc::clone(shared),
            run: Arc::new(run),
            plan,
            source: Mutex::new(Source { items: Some(items), next_index: 0, mine: VecDeque::new(), given: 0 }),
        }
    }

    fn lock(&self) -> PyResult<MutexGuard<'_, Source>> {
        // Like a generator: two threads cannot advance it at once, and an item's own code cannot either.
        self.source
            .try_lock()
            .map_err(|_| pyo3::exceptions::PyValueError::new_err("map iterator already executing"))
    }

    /// Hand in the first items.
    pub(super) fn start(&self, py: Python<'_>) -> PyResult<()> {
        let mut source = self.lock()?;
        self.refill(py, &mut source)
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut source = self.lock()?;
        loop {
            if let Some(outcome) = self.next_here(py, &mut source) {
                return match outcome {
                    Outcome::Value(value) => Ok(Some(value)),
                    Outcome::Error(error) => {
                        self.give_up(py, &mut source);
                        Err(PyErr::from_value(error.into_bound(py)))
                    }
                };
            }
            self.refill(py, &mut source)?;
            self.run.take(&mut source.mine);
            if !source.mine.is_empty() {
                continue;
            }
            if self.run.outstanding() == 0 {
                self.give_up(py, &mut source);
                return Ok(None);
            }
            let waited =
                wait_for(py, Some(&self.shared), &Until::Flag(&|| self.run.has_next()), self.plan.limit);
            match waited {
                Ok(true) => {}
                Ok(false) => {
                    self.give_up(py, &mut source);
                    return Err(PyTimeoutError::new_err(()));
                }
                Err(error) => {
                    self.give_up(py, &mut source);
                    return Err(error);
                }
            }
        }
    }

    /// The next outcome that needs no waiting.
    fn next_here(&self, py: Python<'_>, source: &mut Source) -> Option<Outcome> {
        let ended = source.mine.pop_front()?;
        source.given += 1;
        Some(self.shared.decode(py, ended))
    }

    /// Take items and hand them in until enough are ahead.
    fn refill(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        let Some(items) = source.items.as_ref().map(|items| items.clone_ref(py)) else { return Ok(()) };
        let items = items.into_bound(py);
        let (mut most, mut most_bytes) = self.room();
        let mut outstanding = self.run.outstanding() + source.mine.len();
        if outstanding > most / 2 && outstanding > 0 {
            return Ok(());
        }
        let mut batch = Vec::new();
        let mut begun_ns = monotonic_ns();
        while outstanding < most && most_bytes > 0 {
            let packed = match next_item(&items, self.plan.star) {
                None => {
                    source.items = None;
                    break;
                }
                Some(Err(error)) => {
                    self.send(py, &mut batch);
                    self.give_up(py, source);
                    return Err(error);
                }
                Some(Ok(args)) => self.pack(py, &args),
            };
            outstanding += 1;
            let index = self.run.open_place(&mut source.next_index);
            match packed {
                Ok(packed) => {
                    most_bytes = most_bytes.saturating_sub(packed.body.len());
                    let target = Target::Item(Arc::clone(&self.run), index);
                    batch.push(task(
                        target,
                        self.plan.number,
                        packed,
                        self.plan.rules,
                        Arc::clone(&self.plan.context),
                    ));
                }
                Err(error) => {
                    self.run.settle(index, Ended::Unsent(Box::new(error.into_value(py).into_any())))
                }
            }
            if batch.len() >= BATCH || monotonic_ns().saturating_sub(begun_ns) > BATCH_NS {
                self.send(py, &mut batch);
                begun_ns = monotonic_ns();
                if !self.plan.eager {
                    most = self.room().0;
                }
            }
        }
        self.send(py, &mut batch);
        Ok(())
    }

    /// Most tasks, and most payload bytes, to be ahead.
    fn room(&self) -> (usize, usize) {
        if self.plan.ahead > 0 {
            return (self.plan.ahead, usize::MAX);
        }
        if self.plan.eager {
            return (EAGER_TASKS, EAGER_BYTES);
        }
        let (average_ns, workers) = self.shared.hub().look(|crew| crew.pace(self.plan.number));
        let least = AHEAD_LEAST * workers.max(1);
        let most = match average_ns {
            0 => least,
            length => usize::try_from(AHEAD_NS / length).unwrap_or(AHEAD_TASKS) * workers,
        };
        (most.clamp(least, AHEAD_TASKS), EAGER_BYTES)
    }

    fn pack(&self, py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<Packed> {
        if let Some(packed) = pack_scalars(args.as_any()) {
            return Ok(packed);
        }
        let dumped =
            self.shared.host(py).call_method1(intern!(py, "dump_call"), (py.None(), args, py.None()))?;
        pack_pickled(&dumped)
    }

    fn send(&self, py: Python<'_>, batch: &mut Vec<Task<Target>>) {
        if batch.is_empty() {
            return;
        }
        let tasks = std::mem::take(batch);
        let is_heavy = tasks.iter().any(|task| !task.parcels.is_empty());
        let effects = if is_heavy {
            py.detach(|| self.shared.hub().submit(tasks))
        } else {
            self.shared.hub().submit(tasks)
        };
        if !effects.is_empty() {
            self.shared.act(py, effects);
        }
    }

    /// Nobody wants what is still to come.
    fn give_up(&self, py: Python<'_>, source: &mut Source) {
        source.items = None;
        source.mine.clear();
        if self.run.given_up.swap(true, Ordering::Relaxed) || self.shared.is_foreign() {
            return;
        }
        {
            let mut inbox = self.run.lock();
            inbox.places.clear();
            inbox.arrived.clear();
        }
        let ((), effects) = self.shared.hub().with(|crew| {
            crew.drop_cancelled();
            crew.forget(self.plan.number);
        });
        self.shared.act(py, effects);
    }
}

/// The arguments of the next task.
fn next_item<'py>(items: &Bound<'py, PyAny>, star: bool) -> Option<PyResult<Bound<'py, PyTuple>>> {
    let py = items.py();
    let item = match items.cast::<pyo3::types::PyIterator>() {
        Ok(iterator) => iterator.clone().next()?,
        Err(error) => Err(error.into()),
    };
    Some(item.and_then(|item| if star { Ok(item.cast_into::<PyTuple>()?) } else { PyTuple::new(py, [item]) }))
}

#[pymethods]
impl MapIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next(py)
    }

    /// Give up what has not been taken: tasks that have not started never will.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut source = self.lock()?;
        self.give_up(py, &mut source);
        Ok(())
    }

    /// Results taken so far.
    #[getter]
    fn taken(&self) -> PyResult<u64> {
        Ok(self.lock()?.given)
    }
}

impl Drop for MapIterator {
    fn drop(&mut self) {
        if !self.run.is_cancelled() {
            Python::attach(|py| {
                // Only a drop in the middle of its own advance finds it locked: then that one gives up.
                if let Ok(mut source) = self.lock() {
                    self.give_up(py, &mut source);
                }
            });
        }
    }
}

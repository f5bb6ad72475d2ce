//! `_core.MapIterator`: the results of one call of `map`, taken while the items are still being handed in.
//!
//! Items are taken from their iterator in the caller's thread, when results are asked for, and never more than `ahead` of
//! them: an endless generator is as good as a list. Results wait here, in their order or in that of their arrival.
//! Who drops the iterator in the middle wants no more tasks to be run; who drops it unread (`pool.map(save, items)`, and no
//! more) wants the tasks and no results.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyRuntimeWarning, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use whichever_pool::{Batch, Ended, Task};

use super::block::{Block, Clock};
use super::codec::{Decoder, encode_pickle};
use super::core::{Packed, Rules, pack_pickled, pack_scalars, task};
use super::function::Number;
use super::rescued::Rescued;
use super::shared::{Shared, Target};
use super::wait::{Until, wait_for};
use crate::ctrl_c::{self, in_spite_of_ctrl_c};
use crate::future::{Limit, Outcome};
use crate::lasting::name;
use crate::outside;
use crate::raised::by_iterator;

/// A slow iterator's items do not wait longer than this for company.
const BLOCK_NS: u64 = 100_000;
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
/// What users hear whose tasks would be lost in silence.
pub(crate) const UNREAD: &CStr =
    c"map() was dropped before its results were read, and its items are taken as results are: the \
rest of them is not run; read the results, or pass a list";

/// What `map` was asked for.
pub(super) struct Plan {
    pub(super) number: Arc<Number>,
    pub(super) star: bool,
    pub(super) eager: bool,
    pub(super) ahead: usize,
    pub(super) ordered: bool,
    /// Whether to give pairs of value and error, and to go on after an error.
    pub(super) outcomes: bool,
    /// Gives the future of a task whose item does not pickle.
    pub(super) rescue: Option<Py<PyAny>>,
    pub(super) rules: Rules,
    pub(super) context: Arc<[u8]>,
    pub(super) limit: Limit,
}

/// Where results wait.
pub(crate) struct Run {
    ordered: bool,
    given_up: AtomicBool,
    inbox: Mutex<Inbox>,
}

/// What tasks that follow one another left.
struct Parcel {
    count: u32,
    ended: Ended,
}

#[derive(Default)]
struct Inbox {
    /// The index whose result is given out next, when they go in order.
    next: u64,
    /// What arrived, by the index of the first task.
    waiting: BTreeMap<u64, Parcel>,
    /// What arrived, when its order is no matter.
    arrived: VecDeque<Parcel>,
    /// Tasks that have not ended.
    open: u64,
    /// Tasks that have ended and whose results were not taken.
    ready: u64,
}

impl Run {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn settle(&self, first: u64, count: u32, ended: Ended) {
        let mut inbox = self.lock();
        inbox.open -= u64::from(count);
        if self.is_cancelled() {
            return;
        }
        inbox.ready += u64::from(count);
        if self.ordered {
            inbox.waiting.insert(first, Parcel { count, ended });
        } else {
            inbox.arrived.push_back(Parcel { count, ended });
        }
    }

    fn has_next(&self) -> bool {
        let inbox = self.lock();
        if self.ordered { inbox.waiting.contains_key(&inbox.next) } else { !inbox.arrived.is_empty() }
    }

    /// The parcel whose results are given out next.
    fn take(&self) -> Option<Parcel> {
        let mut inbox = self.lock();
        let parcel = if self.ordered {
            let next = inbox.next;
            inbox.waiting.remove(&next)?
        } else {
            inbox.arrived.pop_front()?
        };
        inbox.next += u64::from(parcel.count);
        inbox.ready -= u64::from(parcel.count);
        Some(parcel)
    }

    /// Everything that arrived and was not taken.
    fn clear(&self) -> (BTreeMap<u64, Parcel>, VecDeque<Parcel>) {
        let mut inbox = self.lock();
        inbox.ready = 0;
        (std::mem::take(&mut inbox.waiting), std::mem::take(&mut inbox.arrived))
    }

    /// Tasks that have not ended, and tasks whose results were not taken.
    fn load(&self) -> (usize, usize) {
        let inbox = self.lock();
        let count = |tasks: u64| usize::try_from(tasks).unwrap_or(usize::MAX);
        (count(inbox.open), count(inbox.open + inbox.ready))
    }

    /// Tasks whose results were not taken.
    fn outstanding(&self) -> usize {
        let inbox = self.lock();
        usize::try_from(inbox.open + inbox.ready).unwrap_or(usize::MAX)
    }

    /// Expect `count` tasks more.
    fn open(&self, count: u32) {
        self.lock().open += u64::from(count);
    }
}

struct Source {
    items: Option<Py<PyIterator>>,
    next_index: u64,
    /// The results of a batch that are given out now; what does not load is the last one, and `rest` lies behind it.
    loaded: std::vec::IntoIter<Py<PyAny>>,
    failed: Option<PyErr>,
    rest: Rest,
    /// Whether a result was ever asked for.
    is_read: bool,
    /// Whether nobody will: then all items are taken at once.
    is_left: bool,
}

/// Results of a batch that have not been loaded.
#[derive(Default)]
struct Rest {
    codes: Vec<u8>,
    taken_bytes: usize,
    left: u32,
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
    pub(super) fn new(shared: &Arc<Shared>, items: Py<PyIterator>, plan: Plan) -> Self {
        let run = Run { ordered: plan.ordered, given_up: AtomicBool::new(false), inbox: Mutex::default() };
        Self {
            shared: Arc::clone(shared),
            run: Arc::new(run),
            plan,
            source: Mutex::new(Source {
                items: Some(items),
                next_index: 0,
                loaded: Vec::new().into_iter(),
                failed: None,
                rest: Rest::default(),
                is_read: false,
                is_left: false,
            }),
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
        let started = self.refill(py, &mut source);
        source.is_read = started.is_err(); // nobody gets it who could read it
        started
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut source = self.lock()?;
        source.is_read = true;
        loop {
            if self.run.is_cancelled() {
                return Ok(None);
            }
            if let Some(value) = source.loaded.next() {
                return self.give_out(py, &mut source, Outcome::Value(value)).map(Some);
            }
            if let Some(error) = source.failed.take() {
                return self.give_out_failure(py, &mut source, error).map(Some);
            }
            if source.rest.left > 0 {
                self.load(py, &mut source);
                continue;
            }
            self.refill(py, &mut source)?;
            match self.run.take() {
                Some(Parcel { count, ended: Ended::Items(codes) }) => {
                    source.rest = Rest { codes, taken_bytes: 0, left: count };
                }
                Some(Parcel { ended, .. }) => {
                    let outcome = match Rescued::of(ended) {
                        Ok(rescued) => match rescued.wait(py) {
                            Ok(outcome) => outcome,
                            Err(error) => return self.fail(py, &mut source, error),
                        },
                        Err(ended) => self.shared.decode(py, ended),
                    };
                    return self.give_out(py, &mut source, outcome).map(Some);
                }
                None if self.run.outstanding() == 0 => {
                    self.give_up(py, &mut source);
                    return Ok(None);
                }
                None => self.await_next(py, &mut source)?,
            }
        }
    }

    /// Load the results of the batch at hand, up to the first that does not load.
    fn load(&self, py: Python<'_>, source: &mut Source) {
        let Rest { codes, taken_bytes, left } = &mut source.rest;
        let mut decoder = Decoder::new(codes.get(*taken_bytes..).unwrap_or_default());
        let mut loaded = Vec::with_capacity(*left as usize);
        while *left > 0 && source.failed.is_none() {
            *left -= 1;
            match self.shared.decode_item(py, &mut decoder) {
                Ok(value) => loaded.push(value.unbind()),
                Err(error) => source.failed = Some(error),
            }
        }
        *taken_bytes = codes.len() - decoder.rest().len();
        source.loaded = loaded.into_iter();
    }

    fn give_out_failure(&self, py: Python<'_>, source: &mut Source, error: PyErr) -> PyResult<Py<PyAny>> {
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return self.fail(py, source, error);
        }
        self.give_out(py, source, Outcome::Error(error.into_value(py).into_any()))
    }

    /// What the caller gets for a task that ended so.
    fn give_out(&self, py: Python<'_>, source: &mut Source, outcome: Outcome) -> PyResult<Py<PyAny>> {
        if self.plan.outcomes {
            let (value, error) = match outcome {
                Outcome::Value(value) => (value, py.None()),
                Outcome::Error(error) => (py.None(), error),
            };
            return Ok(PyTuple::new(py, [value, error])?.into_any().unbind());
        }
        match outcome {
            Outcome::Value(value) => Ok(value),
            Outcome::Error(error) => self.fail(py, source, by_iterator(py, error)),
        }
    }

    fn fail<R>(&self, py: Python<'_>, source: &mut Source, error: PyErr) -> PyResult<R> {
        self.give_up(py, source);
        Err(error)
    }

    fn await_next(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        // While one task takes long, others end: their places are filled without waiting for their turn.
        let low = if self.plan.ahead == 0 && !self.plan.eager && source.items.is_some() {
            Some(self.room().0 / 2)
        } else {
            None
        };
        let until = || {
            self.run.has_next() || {
                let (open, outstanding) = self.run.load();
                low.is_some_and(|low| open <= low && outstanding < AHEAD_TASKS)
            }
        };
        match wait_for(py, &self.shared, &Until::Flag(&until), self.plan.limit) {
            Ok(true) => Ok(()),
            Ok(false) => self.fail(py, source, PyTimeoutError::new_err(())),
            Err(error) => self.fail(py, source, error),
        }
    }

    /// Take items and hand them in until enough are ahead.
    fn refill(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        let Some(items) = source.items.as_ref().map(|items| items.bind(py).clone()) else {
            return Ok(());
        };
        let (mut most, mut most_bytes) = if source.is_left { (usize::MAX, usize::MAX) } else { self.room() };
        let mut outstanding = self.run.outstanding();
        if self.plan.ahead == 0 && !self.plan.eager && outstanding < AHEAD_TASKS && !self.run.has_next() {
            // What has ended and waits for its turn keeps nobody busy. What waits for the reader must not pile up.
            outstanding = self.run.load().0;
        }
        if outstanding > most / 2 {
            return Ok(());
        }
        // Collections count as handed in.
        if !self.plan.eager && self.shared.hub().look(|crew| crew.is_closing()) {
            let reason = self.shared.host(py).call_method0(name!(py, "closed_reason"))?;
            return self.fail(py, source, PyRuntimeError::new_err(reason.unbind()));
        }
        let mut block = Block::new(source.next_index);
        let mut clock = Clock::start();
        while outstanding < most && most_bytes > 0 {
            let item = match outside::next(&items) {
                Ok(None) => {
                    source.items = None;
                    break;
                }
                Err(error) => {
                    self.send(py, block);
                    return self.fail(py, source, error);
                }
                Ok(Some(item)) => item,
            };
            outstanding += 1;
            source.next_index += 1;
            let before = block.body.len();
            if !block.add(&item) {
                self.add_packed(py, &item, &mut block, source.next_index);
            }
            most_bytes = most_bytes.saturating_sub(block.body.len().saturating_sub(before));
            if block.is_full() || clock.is_over(BLOCK_NS) {
                self.send(py, block);
                clock = Clock::start();
                block = Block::new(source.next_index);
                most = if self.plan.eager { most } else { self.room().0 };
            }
        }
        self.send(py, block);
        Ok(())
    }

    /// Put what is no scalar into the block, or send it by itself; `next_index` is that of the item after it.
    fn add_packed(&self, py: Python<'_>, item: &Bound<'_, PyAny>, block: &mut Block, next_index: u64) {
        let packed = self.pack(py, item);
        if let Ok(packed) = &packed
            && packed.parcels.is_empty()
            && !packed.coded
        {
            encode_pickle(&packed.body, &mut block.body);
            if block.close_item() {
                return;
            }
        }
        self.send(py, std::mem::replace(block, Block::new(next_index)));
        match (packed, &self.plan.rescue) {
            (Err(error), Some(rescue)) => {
                self.run.open(1);
                let ended = Rescued::by(py, rescue, item, error);
                self.run.settle(next_index - 1, 1, ended);
            }
            (packed, _) => self.send_alone(py, next_index - 1, packed),
        }
    }

    fn send_alone(&self, py: Python<'_>, index: u64, packed: PyResult<Packed>) {
        self.run.open(1);
        match packed {
            Err(error) => {
                ctrl_c::remember(py, &error);
                self.run.settle(index, 1, Ended::Unsent(Box::new(error.into_value(py).into_any())));
            }
            Ok(packed) => {
                let target = Target::Items(Arc::clone(&self.run), index);
                let context = Arc::clone(&self.plan.context);
                let task = task(target, self.plan.number.value(), packed, self.plan.rules, context);
                let effects = py.detach(|| self.shared.hub().submit([task]));
                self.shared.act(py, effects);
            }
        }
    }

    /// Most tasks, and most payload bytes, to be ahead.
    fn room(&self) -> (usize, usize) {
        if self.plan.ahead > 0 {
            return (self.plan.ahead, usize::MAX);
        }
        if self.plan.eager {
            return (EAGER_TASKS, EAGER_BYTES);
        }
        let (average_ns, workers) = self.shared.hub().look(|crew| crew.pace(self.plan.number.value()));
        let least = AHEAD_LEAST * workers.max(1);
        let most = match average_ns {
            0 => least,
            length => usize::try_from(AHEAD_NS / length).unwrap_or(AHEAD_TASKS) * workers,
        };
        (most.clamp(least, AHEAD_TASKS), EAGER_BYTES)
    }

    fn pack(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<Packed> {
        let args = if self.plan.star { item.cast::<PyTuple>()?.clone() } else { PyTuple::new(py, [item])? };
        if let Some(packed) = pack_scalars(args.as_any()) {
            return Ok(packed);
        }
        let dump =
            || self.shared.host(py).call_method1(name!(py, "dump_call"), (py.None(), &args, py.None()));
        let dumped = in_spite_of_ctrl_c(py, dump)?;
        pack_pickled(&dumped)
    }

    fn send(&self, py: Python<'_>, block: Block) {
        let Ok(count) = u32::try_from(block.count()) else { return };
        if count == 0 {
            return;
        }
        self.run.open(count);
        let target = Target::Items(Arc::clone(&self.run), block.first);
        let packed = Packed { coded: false, body: Arc::from(block.body), parcels: Vec::new() };
        let batch = Batch { starts: Arc::from(block.starts), items: 0..count, single: !self.plan.star };
        let context = Arc::clone(&self.plan.context);
        let plain = task(target, self.plan.number.value(), packed, self.plan.rules, context);
        let effects = self.shared.hub().submit([Task { batch: Some(batch), ..plain }]);
        if !effects.is_empty() {
            self.shared.act(py, effects);
        }
    }

    /// The iterator is dropped before a result was asked for.
    fn leave_unread(&self, py: Python<'_>, source: &mut Source) -> PyResult<()> {
        if self.plan.eager {
            source.is_left = true;
            self.refill(py, source)?;
        }
        // What was handed in is run; its results go nowhere, and with the last of them the function is forgotten.
        if source.items.take().is_some() {
            return PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), UNREAD, 1);
        }
        Ok(())
    }

    /// Nobody wants what is still to come.
    fn give_up(&self, py: Python<'_>, source: &mut Source) {
        source.items = None;
        (source.loaded, source.failed, source.rest) = (Vec::new().into_iter(), None, Rest::default());
        if self.run.given_up.swap(true, Ordering::Relaxed) || self.shared.is_foreign() {
            return;
        }
        let unwanted = self.run.clear();
        drop(unwanted); // not under the lock: the end of an error may run Python code
        let ((), effects) = self.shared.hub().with(|crew| crew.drop_cancelled());
        self.shared.act(py, effects);
    }
}

#[pymethods]
impl MapIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next(py)
    }

    /// Take all items now, however many, and hand them in.
    fn hand_in_all(&self, py: Python<'_>) -> PyResult<()> {
        let mut source = self.lock()?;
        source.is_left = true;
        let handed_in = self.refill(py, &mut source);
        source.is_left = false;
        handed_in
    }

    /// Let the garbage collector see the items that are to come and whom to ask for help: either may lead back here.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(rescue) = &self.plan.rescue {
            visit.call(rescue)?;
        }
        // Locked by a thread that advances it: then it is alive.
        let Ok(source) = self.source.try_lock() else { return Ok(()) };
        if let Some(items) = &source.items {
            visit.call(items)?;
        }
        source.loaded.as_slice().iter().try_for_each(|value| visit.call(value))
    }

    /// Take no more items; those that were are run, and nobody will read what they give.
    fn leave(&self) -> PyResult<()> {
        let mut source = self.lock()?;
        (source.items, source.is_read) = (None, false);
        Ok(())
    }

    /// Give up what has not been taken: tasks that have not started never will.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut source = self.lock()?;
        source.is_read = true;
        self.give_up(py, &mut source);
        Ok(())
    }
}

impl Drop for MapIterator {
    fn drop(&mut self) {
        if !self.run.is_cancelled() {
            Python::attach(|py| {
                // Only a drop in the middle of its own advance finds it locked: then that one gives up.
                let Ok(mut source) = self.lock() else { return };
                if source.is_read || self.shared.is_foreign() {
                    self.give_up(py, &mut source);
                } else if let Err(error) = self.leave_unread(py, &mut source) {
                    ctrl_c::report(py, error, None);
                }
            });
        }
    }
}

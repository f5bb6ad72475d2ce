//! `_core.PoolCore`: a pool of worker processes as a Python class. Packs tasks, hands them to the hub, waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use whichever_pool::wire::INLINE_BYTES;
use whichever_pool::{Broken, Limits, Parcel, Task};

use super::codec::encode;
use super::function::{Functions, Number, number_once};
use super::map::MapIterator;
use super::memory::Exported;
use super::share::{find_shared, shared_memory};
use super::shared::{Shared, Target};
use super::wait::{Until, wait_for};
use crate::ctrl_c::is_ctrl_c;
use crate::future::{FutureCell, Home, Limit, Outcome};
use crate::lasting::name;

/// How a call is to be run.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) timeout_ns: u64,
    pub(super) retries: u32,
}

/// A call's arguments, ready to cross.
pub(super) struct Packed {
    pub(super) coded: bool,
    pub(super) body: Arc<[u8]>,
    pub(super) parcels: Vec<Parcel>,
}

/// A call, ready to be handed in.
struct Call {
    /// Held until it is; None when the function travels along.
    number: Option<Arc<Number>>,
    packed: Packed,
    /// Pickled context variables.
    context: Arc<[u8]>,
}

/// The native half of a process pool. Private: see `whichever.ProcessPool`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct PoolCore {
    shared: Arc<Shared>,
    new_future: Py<PyAny>,
    copy_context: Py<PyAny>,
    functions: Functions,
    closed: AtomicBool,
    none: Arc<[u8]>,
}

#[pymethods]
impl PoolCore {
    #[new]
    #[pyo3(signature = (host, new_future, workers, tasks_per_worker = None))]
    fn new(
        py: Python<'_>,
        host: Py<PyAny>,
        new_future: Py<PyAny>,
        workers: usize,
        tasks_per_worker: Option<u64>,
    ) -> PyResult<Self> {
        let shared = Shared::new(py, host, Limits { workers, tasks_per_worker })?;
        let copy_context = py.import("contextvars")?.getattr("copy_context")?.unbind();
        Ok(Self {
            shared,
            new_future,
            copy_context,
            functions: Functions::default(),
            closed: AtomicBool::new(false),
            none: Arc::from([]),
        })
    }

    /// Hand in `fn(*args, **kwargs)` under the given rules; return its future.
    ///
    /// What keeps it from being pickled is raised with `raises`, else it is the future's exception.
    #[pyo3(signature = (rules, r#fn, args, kwargs, *, raises = false))]
    #[expect(clippy::too_many_arguments, reason = "one private call")]
    fn submit_call<'py>(
        &self,
        rules: (Option<f64>, u32),
        r#fn: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        raises: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = r#fn.py();
        self.refuse_closed(py)?;
        let rules = Rules::new(rules.0, rules.1)?;
        let future = self.new_future.bind(py).call0()?;
        let promise = Arc::clone(future.cast::<FutureCell>()?.get().promise());
        promise.belong(Home::Processes(Arc::clone(&self.shared)));
        match self.pack_call(r#fn, args, kwargs) {
            Ok(Call { number, packed, context }) => {
                let target = Target::Future(promise);
                let value = number.as_ref().map_or(0, |number| number.value());
                self.send(py, task(target, value, packed, rules, context));
            }
            // A Ctrl-C is not the task's outcome: the task was not handed in, and its caller is told.
            Err(error) if raises || is_ctrl_c(py, &error) => {
                let _new = promise.cancel();
                return Err(error);
            }
            Err(error) => {
                promise.keep(Outcome::Error(error.into_value(py).into_any()));
                let _new = promise.finish();
            }
        }
        Ok(future)
    }

    /// Hand in `fn(item)` for each of `items` (or `fn(*item)` with `star`), lazily; return an iterator over the results.
    ///
    /// `eager` says that the items are there already, so that all may be taken at once; `ahead` is the most tasks
    /// whose results have not been taken (0: find it out). With `outcomes` each result is a pair of value and error, one
    /// of them None, and a task that fails ends nothing. `rescue`, called with an item that does not pickle and the error,
    /// gives a future in place of the task.
    #[pyo3(signature = (r#fn, items, *, star, eager, ahead, chunksize, ordered, timeout, rules, outcomes = false, rescue = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of one private call")]
    fn map_items<'py>(
        &self,
        r#fn: &Bound<'py, PyAny>,
        items: &Bound<'py, PyAny>,
        star: bool,
        eager: bool,
        ahead: usize,
        chunksize: usize,
        ordered: bool,
        timeout: Option<f64>,
        rules: (Option<f64>, u32),
        outcomes: bool,
        rescue: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, MapIterator>> {
        let py = r#fn.py();
        self.refuse_closed(py)?;
        let plan = super::map::Plan {
            number: number_once(&self.shared, r#fn, chunksize)?,
            star,
            eager,
            ahead,
            ordered,
            outcomes,
            rescue,
            rules: Rules::new(rules.0, rules.1)?,
            context: self.context(py)?,
            limit: Limit::from_seconds(timeout)?,
        };
        let iterator = Bound::new(py, MapIterator::new(&self.shared, items.try_iter()?.unbind(), plan))?;
        iterator.get().start(py)?;
        Ok(iterator)
    }

    /// Wait until no worker is left. False when the timeout came first.
    #[pyo3(signature = (timeout = None))]
    fn wait_gone(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait_for(py, &self.shared, &Until::Crew(|crew| !crew.has_workers()), Limit::from_seconds(timeout)?)
    }

    /// Take no tasks any more; the workers leave when there are none left. With `cancel_futures`, drop what waits.
    fn close(&self, py: Python<'_>, cancel_futures: bool) {
        self.closed.store(true, Ordering::Release);
        let ((), effects) = self.shared.hub().with(|crew| {
            if cancel_futures {
                crew.drop_pending();
            }
            crew.close();
        });
        self.shared.act(py, effects);
    }

    /// Kill every worker; with them ends what has not ended.
    fn kill(&self, py: Python<'_>, reason: String) {
        let ((), effects) = self.shared.hub().with(|crew| crew.break_down(Broken { reason, error: None }));
        self.shared.act(py, effects);
    }

    /// Stop the pool's thread and wait for its end. What is still under way is not looked after any more.
    fn end(&self, py: Python<'_>) {
        self.shared.join_pump(py);
    }

    /// Start all workers now.
    fn warm_up(&self, py: Python<'_>) {
        let ((), effects) = self.shared.hub().with(|crew| crew.hire_all());
        self.shared.act(py, effects);
    }

    /// Whether this process only inherited the pool by a fork.
    fn is_foreign(&self) -> bool {
        self.shared.is_foreign()
    }

    /// Process ids of the workers.
    fn pids(&self) -> Vec<u32> {
        self.shared.hub().look(|crew| crew.pids())
    }

    /// What the pool has done and holds, by name.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (counts, (waiting, under_way), workers) =
            self.shared.hub().look(|crew| (crew.counts(), crew.depth(), crew.pids().len()));
        let arena = self.shared.hub().arena().statistics();
        let answer = PyDict::new(py);
        for (name, number) in [
            ("submitted", counts.submitted),
            ("returned", counts.returned),
            ("raised", counts.raised),
            ("cancelled", counts.cancelled),
            ("timed_out", counts.timed_out),
            ("lost", counts.lost),
            ("retried", counts.retried),
            ("moved", counts.moved),
            ("workers_started", counts.hired),
            ("workers_died", counts.died),
            ("workers_recycled", counts.recycled),
            ("waiting", waiting as u64),
            ("under_way", under_way as u64),
            ("workers", workers as u64),
            ("shared_bytes_used", arena.used_bytes),
            ("shared_bytes_warm", arena.warm_bytes),
        ] {
            answer.set_item(name, number)?;
        }
        answer.set_item("busy_seconds", counts.busy_ns as f64 * 1e-9)?;
        Ok(answer)
    }
}

impl Rules {
    fn new(timeout: Option<f64>, retries: u32) -> PyResult<Self> {
        let timeout_ns = match timeout {
            None => 0,
            Some(seconds) if seconds > 0.0 => std::time::Duration::try_from_secs_f64(seconds)
                .map_or(0, |length| u64::try_from(length.as_nanos()).unwrap_or(0))
                .max(1),
            Some(_) => {
                return Err(pyo3::exceptions::PyValueError::new_err(
                    "timeout must be above 0 seconds, or None",
                ));
            }
        };
        Ok(Self { timeout_ns, retries })
    }
}

/// A task for `target`.
pub(super) fn task(
    target: Target,
    number: u32,
    packed: Packed,
    rules: Rules,
    context: Arc<[u8]>,
) -> Task<Target> {
    Task {
        context,
        parcels: packed.parcels,
        timeout_ns: rules.timeout_ns,
        retries: rules.retries,
        ..Task::new(target, number, packed.coded, packed.body)
    }
}

/// Scalars as they are: no pickle. None when `args` holds something else.
pub(super) fn pack_scalars(args: &Bound<'_, PyAny>) -> Option<Packed> {
    let (mut code, mut large) = (Vec::with_capacity(64), Vec::new());
    if !encode(args, &mut code, &mut large) {
        return None;
    }
    let parcels = large.iter().map(|bytes| Parcel::Copied(Arc::new(Exported::bytes(bytes)))).collect();
    Some(Packed { coded: true, body: Arc::from(code), parcels })
}

/// The pickle and the buffers that the host's `dump_call` answered.
pub(super) fn pack_pickled(dumped: &Bound<'_, PyAny>) -> PyResult<Packed> {
    let (blob, buffers): (Bound<'_, PyBytes>, Vec<Bound<'_, PyAny>>) = dumped.extract()?;
    let parcels = buffers.iter().map(parcel).collect::<PyResult<Vec<_>>>()?;
    Ok(Packed { coded: false, body: Arc::from(blob.as_bytes()), parcels })
}

/// A buffer that stays where it is when it lies in shared memory, and is copied when it does not.
fn parcel(buffer: &Bound<'_, PyAny>) -> PyResult<Parcel> {
    let exported = Exported::view(buffer)?;
    Ok(match find_shared(&exported) {
        Some((span, owner)) => Parcel::Shared(span, owner),
        None => Parcel::Copied(Arc::new(exported)),
    })
}

impl PoolCore {
    fn refuse_closed(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.refuse_foreign()?;
        if self.closed.load(Ordering::Acquire) {
            let message = self.shared.host(py).call_method0(name!(py, "closed_reason"))?;
            return Err(PyRuntimeError::new_err(message.unbind()));
        }
        Ok(())
    }

    fn send(&self, py: Python<'_>, task: Task<Target>) {
        let effects = if !task.parcels.is_empty() || task.body.len() > INLINE_BYTES {
            py.detach(|| self.shared.hub().submit([task])) // it copies much memory
        } else {
            self.shared.hub().submit([task])
        };
        if !effects.is_empty() {
            self.shared.act(py, effects);
        }
    }

    fn pack_call<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Call> {
        let py = function.py();
        let context = self.context(py)?;
        let number = self.functions.number_of(&self.shared, function)?;
        let plain = kwargs.is_none_or(|kwargs| kwargs.is_empty());
        if number.is_some()
            && plain
            && let Some(packed) = pack_scalars(args.as_any())
        {
            return Ok(Call { number, packed, context });
        }
        let carried = if number.is_none() { Some(function) } else { None };
        let dumped = self.shared.host(py).call_method1(name!(py, "dump_call"), (carried, args, kwargs))?;
        Ok(Call { number, packed: pack_pickled(&dumped)?, context })
    }

    /// The caller's context variables, pickled; mostly there are none.
    fn context(&self, py: Python<'_>) -> PyResult<Arc<[u8]>> {
        let context = self.copy_context.bind(py).call0()?;
        if context.len()? == 0 {
            return Ok(Arc::clone(&self.none));
        }
        let blob = self.shared.host(py).call_method1(name!(py, "dump_context"), (context,))?;
        let blob = blob.cast::<PyBytes>()?.as_bytes();
        Ok(if blob.is_empty() { Arc::clone(&self.none) } else { Arc::from(blob) })
    }
}

/// Keep `object`'s bytes in shared memory; see `share`.
#[pyfunction]
pub(crate) fn share_buffer(py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let exported = Exported::view(buffer)?;
    shared_memory(py, &exported)
}

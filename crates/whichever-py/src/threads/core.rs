//! `_core.ThreadPoolCore`: a pool of threads as a Python class. Takes tasks in; its workers are `ThreadWorker`s.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::crew::Crew;
use super::job::{Job, Target};
use super::map::{Plan as MapPlan, ThreadMap};
use crate::future::{FutureCell, Home, Limit};
use crate::lasting::name;

/// The interpreter is ending: no pool takes tasks any more.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The native half of a thread pool. Private: see `whichever.ThreadPool`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct ThreadPoolCore {
    plan: OnceLock<Plan>,
    closed: AtomicBool,
}

/// What a pool is made of.
struct Plan {
    host: Py<PyAny>,
    new_future: Py<PyAny>,
    /// `contextvars.copy_context`, if context variables travel with tasks.
    copy_context: Option<Py<PyAny>>,
    workers: AtomicUsize,
    /// To how many they may grow where that is found out; 0 where it is not.
    governed: AtomicUsize,
    /// How long a task may run; 0 for as long as it likes.
    timeout_ns: u64,
    era: Era,
}

/// The pool's workers in one process: a forked child has none of its parent's threads, and begins anew.
struct Era {
    crew: Arc<Crew>,
    /// That of a child.
    next: OnceLock<Box<Era>>,
}

#[pymethods]
impl ThreadPoolCore {
    /// Takes what a subclass's `__init__` takes, which must call `open`.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { plan: OnceLock::new(), closed: AtomicBool::new(false) }
    }

    /// Be a pool of so many `workers` at most, whose threads `host` starts.
    #[pyo3(signature = (host, new_future, workers, copy_context = None, timeout = None))]
    #[expect(clippy::too_many_arguments, reason = "one private call")]
    fn open(
        &self,
        py: Python<'_>,
        host: Py<PyAny>,
        new_future: Py<PyAny>,
        workers: usize,
        copy_context: Option<Py<PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let crew = Crew::new(py, host.clone_ref(py), workers)?;
        let era = Era { crew, next: OnceLock::new() };
        let (workers, governed, timeout_ns) =
            (AtomicUsize::new(workers), AtomicUsize::new(0), in_ns(timeout));
        let plan = Plan { host, new_future, copy_context, workers, governed, timeout_ns, era };
        self.plan.set(plan).map_err(|_| PyRuntimeError::new_err("this pool is open already"))
    }

    /// Hand in a task: ``fn(*args, **kwargs)``.
    #[pyo3(signature = (*args, **kwargs), text_signature = "($self, fn, /, *args, **kwargs)")]
    fn submit<'py>(
        &self,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let timeout_ns = self.plan()?.timeout_ns;
        self.take_in(timeout_ns, args, kwargs)
    }

    /// Hand in a task that may run for so many seconds; None for as long as it likes.
    #[pyo3(signature = (timeout, args, kwargs))]
    fn submit_within<'py>(
        &self,
        timeout: Option<f64>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.take_in(in_ns(timeout), args, kwargs)
    }

    /// Hand in `fn(item)` for each of `items` (or `fn(*item)` with `star`), lazily; return an iterator over the results.
    ///
    /// `eager` says that the items are there already, so that many may be taken at once; `ahead` is the most tasks
    /// whose results have not been taken (0: find it out, beginning with `first` or more).
    #[pyo3(signature = (r#fn, items, *, star, eager, ahead, ordered, timeout, task_timeout = None, first = 0))]
    #[expect(clippy::too_many_arguments, reason = "keywords of one private call")]
    fn map_items(
        &self,
        r#fn: &Bound<'_, PyAny>,
        items: &Bound<'_, PyAny>,
        star: bool,
        eager: bool,
        ahead: usize,
        ordered: bool,
        timeout: Option<f64>,
        task_timeout: Option<f64>,
        first: usize,
    ) -> PyResult<ThreadMap> {
        let (py, plan) = (r#fn.py(), self.plan()?);
        let crew = plan.crew(py)?;
        self.refuse(py, crew)?;
        let copy_context = plan.copy_context.as_ref();
        let context = copy_context.map(|copy_context| copy_context.call0(py)).transpose()?;
        let limit = Limit::from_seconds(timeout)?;
        let function = r#fn.clone().unbind();
        let task_ns = in_ns(task_timeout);
        let plan = MapPlan { function, star, eager, ahead, first, ordered, context, limit, task_ns };
        ThreadMap::start(py, crew, items.try_iter()?, plan)
    }

    /// Take no tasks any more; the workers leave when there are none left. With `cancel_futures`, drop what waits.
    fn close(&self, py: Python<'_>, cancel_futures: bool) -> PyResult<()> {
        self.closed.store(true, Ordering::SeqCst);
        let crew = self.plan()?.crew(py)?;
        if cancel_futures {
            crew.drop_waiting(py);
        }
        crew.roster.close();
        Ok(())
    }

    /// Let there be as many as `most` workers from now on, if that is more than before; where it is being found out how
    /// many are of use, unless tasks have told already.
    fn raise_workers(&self, py: Python<'_>, most: usize) -> PyResult<()> {
        let plan = self.plan()?;
        plan.workers.fetch_max(most, Ordering::Relaxed);
        let crew = plan.crew(py)?;
        if crew.expect(most) { crew.call_for_waiting(py) } else { crew.raise(py, most) }
    }

    /// Find out from now on how many workers are of use, up to `most`.
    fn govern(&self, py: Python<'_>, most: usize) -> PyResult<()> {
        let plan = self.plan()?;
        plan.governed.store(most, Ordering::Relaxed);
        plan.crew(py)?.govern(most);
        Ok(())
    }

    /// Forget what was found out: other tasks will come.
    fn govern_anew(&self, py: Python<'_>) -> PyResult<()> {
        self.plan()?.crew(py)?.govern_anew();
        Ok(())
    }

    /// The program waits. True when more workers come, or may come soon.
    fn program_waits(&self, py: Python<'_>) -> PyResult<bool> {
        self.plan()?.crew(py)?.program_waits(py)
    }

    /// What the pool has done and holds, by name.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let crew = self.plan()?.crew(py)?;
        let (returned, raised) = crew.tallies().sum();
        let answer = PyDict::new(py);
        for (name, number) in [
            ("submitted", crew.queue.pushed() as u64),
            ("returned", returned),
            ("raised", raised),
            ("cancelled", crew.cancelled()),
            ("timed_out", crew.deadlines.timed_out()),
            ("waiting", crew.queue.len() as u64),
            ("running", crew.roster.busy() as u64),
            ("workers", crew.roster.workers() as u64),
            ("workers_idle", crew.roster.idle() as u64),
            ("workers_most", crew.roster.limit() as u64),
            ("workers_overdue", crew.deadlines.overdue() as u64),
            ("held_back", crew.patience.held_back()),
        ] {
            answer.set_item(name, number)?;
        }
        Ok(answer)
    }
}

impl Plan {
    /// The workers of this process.
    fn crew(&self, py: Python<'_>) -> PyResult<&Arc<Crew>> {
        let mut era = &self.era;
        while era.crew.is_foreign() {
            era = match era.next.get() {
                Some(next) => next,
                None => {
                    let workers = self.workers.load(Ordering::Relaxed);
                    let crew = Crew::new(py, self.host.clone_ref(py), workers)?;
                    match self.governed.load(Ordering::Relaxed) {
                        0 => {}
                        most => crew.govern(most),
                    }
                    era.next.get_or_init(|| Box::new(Era { crew, next: OnceLock::new() }))
                }
            };
        }
        Ok(&era.crew)
    }
}

impl ThreadPoolCore {
    fn plan(&self) -> PyResult<&Plan> {
        self.plan
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("call the __init__ of whichever.ThreadPool first"))
    }

    fn take_in<'py>(
        &self,
        timeout_ns: u64,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, plan) = (args.py(), self.plan()?);
        if args.is_empty() {
            return Err(PyTypeError::new_err("submit() missing 1 required positional argument: 'fn'"));
        }
        let crew = plan.crew(py)?;
        self.refuse(py, crew)?;
        let future = plan.new_future.bind(py).call0()?;
        let promise = future.cast::<FutureCell>()?.get().promise();
        promise.belong(Home::Threads(Arc::clone(crew)));
        let (call, args) = match &plan.copy_context {
            Some(copy_context) => (copy_context.bind(py).call0()?.getattr(name!(py, "run"))?, args),
            None => (args.get_item(0)?, args.get_slice(1, args.len())),
        };
        let job = Job {
            target: Target::Future(Arc::clone(promise)),
            call: call.unbind(),
            args: args.unbind(),
            kwargs: kwargs.map(Bound::unbind),
            timeout_ns,
        };
        if let Err(error) = crew.submit(py, job) {
            if error.is_instance_of::<PyRuntimeError>(py) {
                let _cancelled = promise.cancel(); // there is nobody to come for it
            }
            return Err(error);
        }
        Ok(future)
    }

    fn refuse(&self, py: Python<'_>, crew: &Crew) -> PyResult<()> {
        if crew.broken().get().is_some() {
            return Err(PyErr::from_value(crew.broken_error(py)?.into_bound(py)));
        }
        if self.closed.load(Ordering::SeqCst) {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
        }
        if ENDING.load(Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after interpreter shutdown"));
        }
        Ok(())
    }
}

impl Drop for ThreadPoolCore {
    /// A pool that nobody holds any more: what was handed in is run.
    fn drop(&mut self) {
        let mut era = self.plan.get().map(|plan| &plan.era);
        while let Some(last) = era {
            if !last.crew.is_foreign() {
                last.crew.roster.close();
            }
            era = last.next.get().map(|next| &**next);
        }
    }
}

/// A length of time that was checked to be above 0, or none; as is one of centuries.
fn in_ns(seconds: Option<f64>) -> u64 {
    let length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    length.map_or(0, |length| u64::try_from(length.as_nanos()).map_or(0, |length_ns| length_ns.max(1)))
}

/// Have every thread pool refuse tasks from now on: the interpreter ends.
#[pyfunction]
pub(crate) fn refuse_tasks() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Whether they do.
#[pyfunction]
pub(crate) fn refuses_tasks() -> bool {
    ENDING.load(Ordering::Relaxed)
}

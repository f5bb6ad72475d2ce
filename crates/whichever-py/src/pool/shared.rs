//! A pool as its futures, iterators and threads share it, and its way into Python.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use whichever_pool::{
    Cargo, Crew, Death, Effect, Ended, Hub, Limits, RingLink, Storage, Task, Ticket, Why, Word, Work,
};
use whichever_ring::{DEFAULT_CAPACITY, create_link, create_page};
use whichever_sys::{SharedFile, monotonic_ns};

use super::codec::Decoder;
use super::map::Run;
use super::memory::{Slab, read_bytes};
use super::process::{arena, forks, warden};
use crate::ctrl_c::{self, in_spite_of_ctrl_c};
use crate::future::{Outcome, Promise};
use crate::gil::visit;
use crate::lasting::name;
use crate::outside;

/// What is left to running tasks after Ctrl-C.
const INTERRUPT_GRACE_NS: u64 = 80_000_000;

/// Who waits for a task.
#[derive(Clone)]
pub(crate) enum Target {
    Future(Arc<Promise>),
    /// The tasks of a call of `map`, from this index on.
    Items(Arc<Run>, u64),
}

impl Ticket for Target {
    fn settle(&self, items: Range<u32>, ended: Ended) -> bool {
        match self {
            Self::Future(promise) => promise.settle(ended),
            Self::Items(run, first) => {
                run.settle(first + u64::from(items.start), items.end - items.start, ended);
                false
            }
        }
    }

    fn drop_runs_code(&self) -> bool {
        match self {
            Self::Future(promise) => promise.has_outcome(),
            Self::Items(..) => false,
        }
    }

    fn is_cancelled(&self) -> bool {
        match self {
            Self::Future(promise) => promise.is_cancelled(),
            Self::Items(run, _) => run.is_cancelled(),
        }
    }

    fn place(&self, at: Option<(u64, u64)>) {
        if let Self::Future(promise) = self {
            promise.place(at);
        }
    }
}

/// See the module.
pub(crate) struct Shared {
    hub: Hub<Target, RingLink>,
    page: SharedFile,
    host: Py<PyAny>,
    born: u32,
    pump: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    pub(super) fn new(py: Python<'_>, host: Py<PyAny>, limits: Limits) -> PyResult<Arc<Self>> {
        let arena = Arc::clone(arena()?);
        let (page, bells) = create_page()?;
        let hub = Hub::new(Crew::new(limits, arena), bells);
        let shared = Arc::new(Self { hub, page, host, born: forks(), pump: Mutex::default() });
        let pump = Arc::clone(&shared);
        let handle = py.detach(|| {
            // Callbacks run in it, and start processes: its signal mask, which they inherit, is that of its maker.
            std::thread::Builder::new().name("whichever-pump".to_owned()).stack_size(512 * 1024).spawn(
                move || {
                    // Nobody is left to be told when the interpreter ends: whoever ends it stops the pump before.
                    pump.hub.pump(&|work| {
                        let _ended = visit(|py| pump.act(py, work));
                    });
                    let _ended = visit(|py| {
                        if let Err(error) = pump.host(py).call_method0(name!(py, "over")) {
                            error.write_unraisable(py, None);
                        }
                    });
                },
            )
        })?;
        *shared.pump.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(shared)
    }

    pub(crate) fn hub(&self) -> &Hub<Target, RingLink> {
        &self.hub
    }

    pub(super) fn host<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.host.bind(py)
    }

    /// Whether this process only inherited the pool.
    pub(super) fn is_foreign(&self) -> bool {
        self.born != forks()
    }

    pub(super) fn refuse_foreign(&self) -> PyResult<()> {
        if self.is_foreign() {
            return Err(PyRuntimeError::new_err(
                "this pool belongs to the process that was forked: make a new one in this process",
            ));
        }
        Ok(())
    }

    /// Stop the pump and wait until its thread has ended, unless that thread asks.
    pub(super) fn join_pump(&self, py: Python<'_>) {
        self.hub.stop_pump();
        let handle = self.pump.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle.filter(|handle| handle.thread().id() != std::thread::current().id()) {
            // A pump that panicked has ended too.
            drop(py.detach(|| handle.join()));
        }
    }

    /// Do what needs Python. Errors of callbacks are nobody's: they are reported and dropped.
    pub(super) fn act(self: &Arc<Self>, py: Python<'_>, work: Work<Target>) {
        for effect in work.effects {
            if let Err(error) = self.act_one(py, effect) {
                ctrl_c::report(py, error, None);
            }
        }
        if !work.words.is_empty() {
            let ends = self.deliver(py, work.words);
            let ((), more) = self.hub.with(|crew| crew.told(ends));
            self.act(py, more);
        }
    }

    /// Deliver what tasks printed and logged; returns the ends that came after it.
    fn deliver(&self, py: Python<'_>, words: VecDeque<Word<Target>>) -> Vec<(Task<Target>, Ended)> {
        let host = self.host(py);
        let mut ends = Vec::new();
        for word in words {
            let done = match word {
                Word::Say(stream, text) => {
                    outside::call_method(host, name!(py, "say"), (stream, PyBytes::new(py, &text)))
                }
                Word::Log(record) => body(py, &record)
                    .and_then(|record| outside::call_method(host, name!(py, "log"), (record,))),
                Word::Settle(task, ended) => {
                    ends.push((task, ended));
                    continue;
                }
            };
            if let Err(error) = done {
                ctrl_c::report(py, error, None);
            }
        }
        ends
    }

    fn act_one(self: &Arc<Self>, py: Python<'_>, effect: Effect<Target>) -> PyResult<()> {
        let host = self.host(py);
        match effect {
            Effect::Hire => {
                if let Err(error) = in_spite_of_ctrl_c(py, || self.hire(py)) {
                    let reason = format!("no worker process could be started: {error}");
                    let ((), effects) = self.hub.with(|crew| crew.hire_failed(&reason));
                    self.act(py, effects);
                }
            }
            Effect::Notify(Target::Future(promise)) => {
                if let Some(future) = promise.take_listener() {
                    in_spite_of_ctrl_c(py, || outside::call_method(future.bind(py), name!(py, "_tell"), ()))?;
                }
            }
            Effect::Notify(Target::Items(..)) => {}
            Effect::Drop(target) => drop(target),
            Effect::Ended(death) => {
                in_spite_of_ctrl_c(py, || host.call_method1(name!(py, "ended"), (death.token,)))?;
            }
            Effect::HangUp(token) => {
                in_spite_of_ctrl_c(py, || host.call_method1(name!(py, "hang_up"), (token,)))?;
            }
        }
        Ok(())
    }

    /// Start one worker.
    fn hire(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let (link_file, end) = create_link(DEFAULT_CAPACITY)?;
        let results = SharedFile::create("whichever-results")?;
        let fds =
            [&link_file, &self.page, self.hub.arena().file(), &results].map(|file| file.as_fd().as_raw_fd());
        let token: u64 = outside::call_method(self.host(py), name!(py, "hire"), (fds,))?.extract()?;
        let storage = Arc::new(Storage::new(results));
        let link = RingLink::new(end, Arc::clone(&storage));
        let ((), effects) = self.hub.with(|crew| crew.seat(token, link, storage));
        let weak: Weak<Self> = Arc::downgrade(self);
        warden()?.expect(
            token,
            Box::new(move |death| {
                if let Some(shared) = weak.upgrade() {
                    shared.hub.report(death);
                }
            }),
        );
        self.act(py, effects);
        Ok(())
    }

    /// A future was cancelled: see to it that its task does not start, or stops.
    pub(crate) fn stop_task(self: &Arc<Self>, py: Python<'_>, promise: &Arc<Promise>) -> PyResult<()> {
        self.refuse_foreign()?;
        let Some((token, position)) = promise.placed() else { return Ok(()) };
        let ((), effects) = self.hub.with(|crew| crew.stop(token, position, Why::Cancelled, monotonic_ns()));
        self.act(py, effects);
        Ok(())
    }

    /// Ctrl-C: nothing that waits starts any more, what runs ends in a moment.
    pub(super) fn interrupt(self: &Arc<Self>, py: Python<'_>) {
        let ((), effects) = self.hub.with(|crew| crew.stop_all(monotonic_ns(), INTERRUPT_GRACE_NS));
        self.act(py, effects);
    }

    /// Make Python objects of a task's end. Whatever goes wrong is the outcome then.
    pub(crate) fn decode(&self, py: Python<'_>, ended: Ended) -> Outcome {
        match self.try_decode(py, ended) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Error(error.into_value(py).into_any()),
        }
    }

    fn try_decode(&self, py: Python<'_>, ended: Ended) -> PyResult<Outcome> {
        let error = match ended {
            Ended::Scalar(code) => {
                let mut nothing = || Err(PyRuntimeError::new_err("a message between processes is broken"));
                return Ok(Outcome::Value(Decoder::new(&code).next(py, &mut nothing)?.unbind()));
            }
            Ended::Items(code) => {
                return Ok(Outcome::Value(self.decode_item(py, &mut Decoder::new(&code))?.unbind()));
            }
            Ended::Value(cargo) => return Ok(Outcome::Value(self.load(py, cargo)?.unbind())),
            Ended::Raised(cargo) => self.ask(py, name!(py, "raised"), (body(py, &cargo)?, false))?,
            Ended::Unloadable(cargo) => self.ask(py, name!(py, "raised"), (body(py, &cargo)?, true))?,
            Ended::TooLarge(reason) => {
                PyMemoryError::new_err(reason).into_value(py).into_bound(py).into_any()
            }
            Ended::Died(death) => self.died(py, &death)?,
            Ended::Unsent(error) => match error.downcast::<Py<PyAny>>() {
                Ok(error) => error.into_bound(py),
                Err(_) => PyRuntimeError::new_err("the task could not be sent")
                    .into_value(py)
                    .into_bound(py)
                    .into_any(),
            },
            Ended::Stopped(_) | Ended::Dropped => self.ask(py, name!(py, "timed_out"), ())?,
            Ended::Broken(broken) => {
                let error = broken.error.as_ref().map(|blob| PyBytes::new(py, blob));
                self.ask(py, name!(py, "broken"), (&broken.reason, error))?
            }
        };
        Ok(Outcome::Error(error.unbind()))
    }

    /// Have the host make what is part of an outcome. A Ctrl-C that breaks it off is the user's, not the task's: nobody
    /// may ever look at the outcome.
    fn ask<'py, A>(
        &self,
        py: Python<'py>,
        what: &Bound<'py, PyString>,
        args: A,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>> + Clone,
        PyErr: From<A::Error>,
    {
        in_spite_of_ctrl_c(py, || outside::call_method(self.host(py), what, args.clone()))
    }

    /// The next result of a batch.
    pub(super) fn decode_item<'py>(
        &self,
        py: Python<'py>,
        codes: &mut Decoder<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match codes.next_pickle()? {
            Some(pickle) => {
                let blob = PyBytes::new(py, pickle);
                self.ask(py, name!(py, "load"), (blob, PyList::empty(py)))
            }
            None => {
                let mut nothing = || Err(PyRuntimeError::new_err("a message between processes is broken"));
                codes.next(py, &mut nothing)
            }
        }
    }

    fn died<'py>(&self, py: Python<'py>, death: &Death) -> PyResult<Bound<'py, PyAny>> {
        let facts = (death.token, death.pid, death.signal, death.exit_code, death.peak_bytes);
        self.ask(py, name!(py, "died"), facts)
    }

    fn load<'py>(&self, py: Python<'py>, cargo: Cargo) -> PyResult<Bound<'py, PyAny>> {
        if cargo.coded {
            let mut large = cargo.buffers.iter();
            let mut next_large = || {
                let loan = large.next().ok_or_else(|| PyRuntimeError::new_err("a message lacks a buffer"))?;
                read_bytes(py, loan.file(), loan.span().offset, loan.span().len)
            };
            let code = body(py, &cargo)?;
            return Decoder::new(code.as_bytes()).next(py, &mut next_large);
        }
        let blob = body(py, &cargo)?;
        let buffers = PyList::empty(py);
        for loan in cargo.buffers {
            buffers.append(Bound::new(py, Slab::of_loan(loan)?)?)?;
        }
        self.ask(py, name!(py, "load"), (blob, buffers))
    }
}

/// The body of a reply as bytes, wherever it lies.
fn body<'py>(py: Python<'py>, cargo: &Cargo) -> PyResult<Bound<'py, PyBytes>> {
    match &cargo.body_loan {
        None => Ok(PyBytes::new(py, &cargo.body)),
        Some(loan) => read_bytes(py, loan.file(), loan.span().offset, loan.span().len),
    }
}

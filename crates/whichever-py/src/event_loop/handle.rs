//! Handles: a callback that is to be run, and may be cancelled until then.
//!
//! They behave as asyncio's and pass for them (`isinstance`), but keep nothing of what has been run, so that they can
//! be no part of a cycle for long, and need no collector.

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::brief::Brief;
use super::call::{self, Args};
use super::core::{LoopCore, this_thread};
use super::schedule::Wanted;
use super::snapshot::Scope;
use super::threadsafe;
use crate::lasting::Lasting;

/// What is to be called, and how.
pub(super) struct Call {
    pub(super) callback: Py<PyAny>,
    pub(super) args: Args,
    pub(super) scope: Scope,
}

impl Call {
    /// A call that is made once, in the given context or in a copy of the caller's.
    pub(super) fn once(owner: &LoopCore, wanted: &Wanted<'_, '_>) -> PyResult<Self> {
        let py = wanted.callback.py();
        let scope = match wanted.context {
            Some(given) if !given.is_none() => Scope::Own(given.to_owned().unbind()),
            _ => owner.snapshot.take(py)?,
        };
        let args = Args::of(py, wanted.args)?;
        Ok(Self { callback: wanted.callback.to_owned().unbind(), args, scope })
    }

    /// A call that is made again and again, each time in the same context.
    pub(super) fn lasting(
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let context = match context {
            Some(given) if !given.is_none() => given.unbind(),
            _ => call::copy_context(callback.py())?,
        };
        let args = if args.is_empty() { Args::None } else { Args::Many(args.unbind()) };
        Ok(Self { callback: callback.unbind(), args, scope: Scope::Own(context) })
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            callback: self.callback.clone_ref(py),
            args: self.args.clone_ref(py),
            scope: self.scope.clone_ref(py),
        }
    }

    /// Make the call; gives it back, in the context that it was made in, with what it raised.
    pub(super) fn run(self, py: Python<'_>) -> Result<(), (PyErr, Option<Self>)> {
        let Self { callback, args, scope } = self;
        let context = scope.into_own(py).map_err(|error| (error, None))?;
        call::within(py, &context, || args.call(callback.bind(py)).map(drop))
            .map_err(|error| (error, Some(Self { callback, args, scope: Scope::Own(context) })))
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callback)?;
        self.args.visit(visit)?;
        self.scope.visit(visit)
    }
}

/// What debugging adds to a handle.
#[derive(Default)]
struct Notes {
    /// Where it was made.
    traceback: Option<Py<PyAny>>,
    /// What it looked like before it was cancelled.
    looks: Option<Py<PyAny>>,
}

struct State {
    /// Until it has been run or cancelled.
    call: Option<Call>,
    is_cancelled: bool,
    /// Whether it is a timer that has not fallen due.
    is_ahead: bool,
    /// Whether another thread may wait for its end.
    is_shared: bool,
    /// The thread that runs it now, if it is shared; 0 while none does.
    runs_in: usize,
    notes: Option<Box<Notes>>,
}

/// A callback that is to be run soon, or whenever a descriptor is ready.
#[pyclass(frozen, subclass, weakref, module = "whichever._core")]
pub(crate) struct Handle {
    state: Brief<State>,
}

/// Take a handle off the collector's lists, on which PyO3 puts all objects: whoever looks for garbage would look at
/// every callback that waits, time and again.
fn hide_from_collector<T: pyo3::PyClass>(handle: &Py<T>) {
    // SAFETY: 1. the thread is attached: it has just made the object, whose class has room for the collector's words.
    //         2. an object that is in no cycle for good may be on no list (see the module).
    unsafe { pyo3::ffi::PyObject_GC_UnTrack(handle.as_ptr().cast()) };
}

impl Handle {
    /// Make one for a call that is made once.
    pub(super) fn make(py: Python<'_>, call: Call) -> PyResult<Py<Self>> {
        let handle = Py::new(py, Self::of(call, false))?;
        hide_from_collector(&handle);
        Ok(handle)
    }

    pub(super) fn of(call: Call, is_ahead: bool) -> Self {
        Self {
            state: Brief::new(State {
                call: Some(call),
                is_cancelled: false,
                is_ahead,
                is_shared: false,
                runs_in: 0,
                notes: None,
            }),
        }
    }

    /// Have other threads that cancel it wait while it runs.
    pub(super) fn share(&self, py: Python<'_>) {
        self.state.with(py, |state| state.is_shared = true);
    }

    /// What is to be called, once or each time it is asked for, and whether others may wait for its end.
    pub(super) fn begin(&self, py: Python<'_>, keeps: bool) -> Option<(Call, bool)> {
        self.state.with(py, |state| {
            let call =
                if keeps { state.call.as_ref().map(|call| call.clone_ref(py)) } else { state.call.take() };
            if state.is_shared && call.is_some() {
                state.runs_in = this_thread();
            }
            call.map(|call| (call, state.is_shared))
        })
    }

    /// Say that it runs no more.
    pub(super) fn end(&self, py: Python<'_>) {
        self.state.with(py, |state| state.runs_in = 0);
        threadsafe::tell();
    }

    /// Whether a thread other than `own` runs it.
    pub(super) fn runs_elsewhere(&self, py: Python<'_>, own: usize) -> bool {
        self.state.with(py, |state| state.runs_in != 0 && state.runs_in != own)
    }

    /// What is to be called, now for good; None when it has been cancelled.
    pub(super) fn take(&self, py: Python<'_>) -> Option<Call> {
        self.state.with(py, |state| state.call.take())
    }

    /// What is to be called, this time.
    pub(super) fn copy(&self, py: Python<'_>) -> Option<Call> {
        self.state.with(py, |state| state.call.as_ref().map(|call| call.clone_ref(py)))
    }

    /// Give what is to be called the context that it will run in, if it shares one yet; says which it is.
    pub(super) fn settle(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(call) = self.copy(py) else { return Ok(None) };
        let own = call.scope.into_own(py)?;
        let (context, before) =
            self.state.with(py, |state| match state.call.as_mut().map(|call| &mut call.scope) {
                Some(Scope::Own(context)) => (context.clone_ref(py), None),
                Some(shared) => {
                    (own.clone_ref(py), Some(std::mem::replace(shared, Scope::Own(own.clone_ref(py)))))
                }
                None => (own.clone_ref(py), None),
            });
        drop(before);
        Ok(Some(context))
    }

    /// Keep what was taken, for whoever looks at the handle.
    pub(super) fn put_back(&self, py: Python<'_>, call: Call) {
        let other = self.state.with(py, |state| state.call.replace(call));
        drop(other);
    }

    pub(super) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_cancelled)
    }

    /// Cancel it; says whether that took a timer off those to come.
    pub(super) fn annul(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        let handle = slf.get();
        let is_noted = handle.state.with(py, |state| {
            let is_first = !std::mem::replace(&mut state.is_cancelled, true);
            is_first && state.notes.is_some()
        });
        let looks = if is_noted { Some(slf.repr()?.into_any().unbind()) } else { None };
        let (call, was_ahead) = handle.state.with(py, |state| {
            if let Some((notes, looks)) = state.notes.as_mut().zip(looks) {
                notes.looks.get_or_insert(looks);
            }
            (state.call.take(), std::mem::take(&mut state.is_ahead))
        });
        drop(call);
        Ok(was_ahead)
    }

    /// Note that a timer has fallen due.
    pub(super) fn fall_due(&self, py: Python<'_>) {
        self.state.with(py, |state| state.is_ahead = false);
    }

    pub(super) fn note_traceback(&self, py: Python<'_>, traceback: Py<PyAny>) {
        let notes = Box::new(Notes { traceback: Some(traceback), looks: None });
        let other = self.state.with(py, |state| state.notes.replace(notes));
        drop(other);
    }

    /// Show a collector what it holds, if whoever holds it is the only one.
    pub(super) fn visit(handle: &Py<Self>, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: reads a count of an object that we hold a reference to.
        if unsafe { pyo3::ffi::Py_REFCNT(handle.as_ptr()) } > 1 {
            return Ok(());
        }
        let seen = handle.get().state.peek(|state| state.call.as_ref().map(|call| call.visit(visit)));
        seen.flatten().unwrap_or(Ok(()))
    }
}

#[pymethods]
impl Handle {
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        threadsafe::wait_until_over(slf.py(), slf.get())?;
        Self::annul(slf).map(drop)
    }

    fn cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        threadsafe::wait_until_over(py, self)?;
        Ok(self.is_cancelled(py))
    }

    fn get_context(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.settle(py)
    }

    #[getter(_cancelled)]
    fn cancelled_now(&self, py: Python<'_>) -> bool {
        self.is_cancelled(py)
    }

    #[getter(_callback)]
    fn callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.copy(py).map(|call| call.callback)
    }

    #[getter(_args)]
    fn args<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.copy(py).map(|call| call.args.tuple(py)).transpose()
    }

    #[getter(_source_traceback)]
    fn traceback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.notes.as_ref().and_then(|notes| notes.traceback.as_ref().map(|own| own.clone_ref(py)))
        })
    }

    #[getter(_repr)]
    fn looks(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.notes.as_ref().and_then(|notes| notes.looks.as_ref().map(|own| own.clone_ref(py)))
        })
    }

    #[getter(__class__)]
    fn class(slf: &Bound<'_, Self>) -> PyResult<Py<PyType>> {
        static PLAIN: Lasting<PyType> = Lasting::new();
        static SHARED: Lasting<PyType> = Lasting::new();
        static TIMER: Lasting<PyType> = Lasting::new();
        let py = slf.py();
        let class = if slf.cast::<TimerHandle>().is_ok() {
            TIMER.import(py, "asyncio", "TimerHandle")?
        } else if slf.get().state.with(py, |state| state.is_shared) {
            SHARED.import(py, "asyncio.events", "_ThreadSafeHandle")?
        } else {
            PLAIN.import(py, "asyncio", "Handle")?
        };
        Ok(class.clone().unbind())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let describe = slf.py().import("whichever.loop._handles")?.getattr("describe")?;
        describe.call1((slf,)).map(Bound::unbind)
    }
}

/// A callback that is to be run at a time.
#[pyclass(frozen, extends = Handle, weakref, module = "whichever._core")]
pub(crate) struct TimerHandle {
    /// When, in seconds of the loop's clock.
    when: f64,
    /// Whose timer it is, to be told when it is cancelled.
    owner: Py<LoopCore>,
}

impl TimerHandle {
    pub(super) fn make(owner: &Bound<'_, LoopCore>, when: f64, call: Call) -> PyResult<Py<Self>> {
        let own = Self { when, owner: owner.clone().unbind() };
        let timer = Py::new(owner.py(), PyClassInitializer::from(Handle::of(call, true)).add_subclass(own))?;
        hide_from_collector(&timer);
        Ok(timer)
    }
}

#[pymethods]
impl TimerHandle {
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        if Handle::annul(slf.as_super())? {
            slf.get().owner.get().timer_lapsed(slf.py());
        }
        Ok(())
    }

    fn when(&self) -> f64 {
        self.when
    }

    #[getter(_when)]
    fn due(&self) -> f64 {
        self.when
    }

    #[getter(_scheduled)]
    fn is_scheduled(slf: &Bound<'_, Self>) -> bool {
        slf.as_super().get().state.with(slf.py(), |state| state.is_ahead)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.when.into_pyobject(py)?.hash()
    }

    fn __richcmp__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
        let (own, its) = (slf.get().when, other.get().when);
        let is_same = own.total_cmp(&its).is_eq() && same_call(slf.as_super(), other.as_super())?;
        let answer = match op {
            CompareOp::Lt => own < its,
            CompareOp::Le => own < its || is_same,
            CompareOp::Gt => own > its,
            CompareOp::Ge => own > its || is_same,
            CompareOp::Eq => is_same,
            CompareOp::Ne => !is_same,
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }
}

fn same_call(one: &Bound<'_, Handle>, other: &Bound<'_, Handle>) -> PyResult<bool> {
    let py = one.py();
    if one.is(other) {
        return Ok(true);
    }
    let cancelled = (one.get().is_cancelled(py), other.get().is_cancelled(py));
    match (one.get().copy(py), other.get().copy(py)) {
        (Some(own), Some(its)) => {
            Ok(own.callback.bind(py).eq(&its.callback)? && own.args.tuple(py)?.eq(its.args.tuple(py)?)?)
        }
        (None, None) => Ok(cancelled.0 == cancelled.1),
        _ => Ok(false),
    }
}

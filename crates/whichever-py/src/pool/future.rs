//! `_core.FutureCell`: the native half of `Future`, which also is a `concurrent.futures.Future`.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use pyo3::{import_exception, intern};

use super::promise::{Heard, Outcome, Promise};
use super::wait::{Limit, Until, wait_for};

import_exception!(concurrent.futures, CancelledError);
import_exception!(concurrent.futures, InvalidStateError);

/// The native half of a future. Private: see `whichever.Future`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct FutureCell {
    promise: Arc<Promise>,
    callbacks: Mutex<Vec<Py<PyAny>>>,
}

impl FutureCell {
    pub(super) fn promise(&self) -> &Arc<Promise> {
        &self.promise
    }

    fn settled<'a>(&'a self, py: Python<'_>, timeout: Option<f64>) -> PyResult<&'a Outcome> {
        if !self.promise.is_settled() {
            let limit = Limit::from_seconds(timeout)?;
            let is_settled = || self.promise.is_settled();
            if !wait_for(py, self.promise.shared(), &Until::Flag(&is_settled), limit)? {
                return Err(PyTimeoutError::new_err(()));
            }
        }
        if self.promise.is_cancelled() {
            return Err(CancelledError::new_err(()));
        }
        Ok(self.promise.outcome(py))
    }
}

#[pymethods]
impl FutureCell {
    #[new]
    #[pyo3(signature = (*_args))]
    fn new(_args: &Bound<'_, PyTuple>) -> Self {
        Self { promise: Arc::new(Promise::new()), callbacks: Mutex::default() }
    }

    /// Return what the task returned, or raise what it raised; wait for it first.
    #[pyo3(signature = (timeout = None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        match self.settled(py, timeout)? {
            Outcome::Value(value) => Ok(value.clone_ref(py)),
            Outcome::Error(error) => Err(PyErr::from_value(error.bind(py).clone())),
        }
    }

    /// Return what the task raised, or None; wait for its end first.
    #[pyo3(signature = (timeout = None))]
    fn exception(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.settled(py, timeout)? {
            Outcome::Value(_) => None,
            Outcome::Error(error) => Some(error.clone_ref(py)),
        })
    }

    /// Whether the task has ended or was cancelled.
    fn done(&self) -> bool {
        self.promise.is_settled()
    }

    /// Whether the task was cancelled.
    fn cancelled(&self) -> bool {
        self.promise.is_cancelled()
    }

    /// Whether a worker runs the task now.
    fn running(&self) -> bool {
        let place = self.promise.placed();
        match (self.promise.shared(), place) {
            (Some(shared), Some((token, position))) => {
                !self.promise.is_settled() && shared.hub().look(|crew| crew.runs(token, position))
            }
            _ => false,
        }
    }

    /// Cancel the task, running or not. False when it has ended already.
    fn cancel(slf: Bound<'_, Self>) -> PyResult<bool> {
        let cell = slf.get();
        if !cell.promise.cancel() {
            return Ok(cell.promise.is_cancelled());
        }
        if let Some(shared) = cell.promise.shared() {
            shared.stop_task(slf.py(), &cell.promise)?;
        }
        Self::tell(&slf)?;
        Ok(true)
    }

    /// Call `fn(self)` when the task has ended; now, if it has.
    fn add_done_callback(slf: Bound<'_, Self>, r#fn: Bound<'_, PyAny>) -> PyResult<()> {
        let cell = slf.get();
        let py = slf.py();
        if !cell.promise.is_settled() {
            cell.lock_callbacks().push(r#fn.clone().unbind());
            if cell.promise.listen(slf.as_any()) != Heard::Ended {
                return Ok(());
            }
            let mut callbacks = cell.lock_callbacks();
            match callbacks.iter().position(|callback| callback.is(&r#fn)) {
                Some(index) => drop(callbacks.remove(index)),
                None => return Ok(()),
            }
        }
        slf.call_method1(intern!(py, "_call_back"), (r#fn,))?;
        Ok(())
    }

    /// Settle the future by hand, for those who made it by hand.
    fn set_result(slf: Bound<'_, Self>, result: Py<PyAny>) -> PyResult<()> {
        Self::complete(&slf, Outcome::Value(result))
    }

    /// Settle the future by hand, for those who made it by hand.
    fn set_exception(slf: Bound<'_, Self>, exception: Py<PyAny>) -> PyResult<()> {
        Self::complete(&slf, Outcome::Error(exception))
    }

    /// False when the future was cancelled; true when its task may start.
    fn set_running_or_notify_cancel(&self) -> bool {
        !self.promise.is_cancelled()
    }

    /// Let the garbage collector see what the future holds: a task's error leads back to it through its traceback.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(outcome) = self.promise.known_outcome() {
            visit.call(outcome)?;
        }
        // Locked by a thread that adds a callback: then the future is alive.
        if let Ok(callbacks) = self.callbacks.try_lock() {
            for callback in &*callbacks {
                visit.call(callback)?;
            }
        }
        Ok(())
    }

    /// Have `_tell` called when the task ends: 0; 1 when it has ended and nobody will call, 2 when somebody will.
    fn _listen(slf: Bound<'_, Self>) -> u8 {
        match slf.get().promise.listen(slf.as_any()) {
            Heard::Later => 0,
            Heard::Ended => 1,
            Heard::Soon => 2,
        }
    }

    /// The callbacks, which are the caller's to call from now on.
    fn _take_callbacks(&self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut *self.lock_callbacks())
    }

    /// Whether the task ended with an exception, without making it.
    fn _has_failed(&self, py: Python<'_>) -> bool {
        self.promise.is_settled()
            && !self.promise.is_cancelled()
            && matches!(self.promise.outcome(py), Outcome::Error(_))
    }
}

impl FutureCell {
    fn lock_callbacks(&self) -> std::sync::MutexGuard<'_, Vec<Py<PyAny>>> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(slf: &Bound<'_, Self>, outcome: Outcome) -> PyResult<()> {
        let cell = slf.get();
        if !cell.promise.complete(outcome) {
            return Err(InvalidStateError::new_err("the future has ended already"));
        }
        if let Some(shared) = cell.promise.shared() {
            shared.hub().nudge();
        }
        Self::tell(slf)
    }

    /// Tell whoever listens of an end that the pool has not seen and will not tell of.
    fn tell(slf: &Bound<'_, Self>) -> PyResult<()> {
        let promise = &slf.get().promise;
        if promise.take_listener().is_some()
            && let Some(shared) = promise.shared()
        {
            shared.hub().drop_listener();
        }
        slf.call_method0(intern!(slf.py(), "_tell"))?;
        Ok(())
    }
}

/// A flag that threads wait for while they drain pools: what `wait` and `as_completed` sleep on.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct DrainingEvent {
    flag: std::sync::atomic::AtomicBool,
    shared: Mutex<Option<Arc<super::shared::Shared>>>,
}

#[pymethods]
impl DrainingEvent {
    #[new]
    fn new() -> Self {
        Self { flag: std::sync::atomic::AtomicBool::new(false), shared: Mutex::default() }
    }

    /// Drain the pool of this future while waiting. The first one stays.
    fn drain(&self, future: &Bound<'_, FutureCell>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            *shared = future.get().promise.shared().cloned();
        }
    }

    fn is_set(&self) -> bool {
        self.flag.load(std::sync::atomic::Ordering::Acquire)
    }

    fn set(&self) {
        self.flag.store(true, std::sync::atomic::Ordering::Release);
        if let Some(shared) = &*self.shared.lock().unwrap_or_else(PoisonError::into_inner) {
            shared.hub().nudge();
        }
    }

    fn clear(&self) {
        self.flag.store(false, std::sync::atomic::Ordering::Release);
    }

    #[pyo3(signature = (timeout = None))]
    fn wait<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Borrowed<'py, 'py, PyBool>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = Limit::from_seconds(timeout)?;
        let done = wait_for(py, shared.as_ref(), &Until::Flag(&|| self.is_set()), limit)?;
        Ok(PyBool::new(py, done))
    }
}

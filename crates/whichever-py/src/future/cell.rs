//! `_core.FutureCell`: the native half of `Future`, which also is a `concurrent.futures.Future`.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use whichever_sync::State;

use super::park::{Limit, park};
use super::promise::{Heard, Home, Outcome, Promise};
use crate::lasting::{exception, name};
use crate::outside;
use crate::pool::{Until, wait_for};

exception!("concurrent.futures", CancelledError);
exception!("concurrent.futures", InvalidStateError);

/// The native half of a future. Private: see `whichever.Future`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct FutureCell {
    promise: Arc<Promise>,
    callbacks: Mutex<Vec<Py<PyAny>>>,
}

#[pymethods]
impl FutureCell {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
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
        self.promise.phase().is_settled()
    }

    /// Whether the task was cancelled.
    fn cancelled(&self) -> bool {
        self.promise.is_cancelled()
    }

    /// Whether a worker runs the task now.
    fn running(&self) -> bool {
        match (self.promise.phase().state(), self.promise.home()) {
            (State::Pending, Some(Home::Processes(pool))) => self
                .promise
                .placed()
                .is_some_and(|(token, position)| pool.hub().look(|crew| crew.runs(token, position))),
            (state, _) => state == State::Running,
        }
    }

    /// Cancel the task; also one that runs, in a process pool. False when it goes on or has ended.
    fn cancel(slf: Bound<'_, Self>) -> PyResult<bool> {
        let promise = &slf.get().promise;
        let marks = match promise.cancel() {
            Ok(marks) => marks,
            Err(state) => return Ok(matches!(state, State::Cancelled | State::Notified)),
        };
        match promise.home() {
            Some(Home::Processes(pool)) => {
                pool.stop_task(slf.py(), promise)?;
                Self::tell(&slf)?;
            }
            Some(Home::Threads(crew)) => {
                crew.count_cancelled();
                Self::tell(&slf)?;
            }
            None if marks.listened => {
                outside::call_method(&slf, name!(slf.py(), "_call_all_back"), ())?;
            }
            None => {}
        }
        Ok(true)
    }

    /// Call `fn(self)` when the task has ended; now, if it has.
    fn add_done_callback(slf: Bound<'_, Self>, r#fn: Bound<'_, PyAny>) -> PyResult<()> {
        let cell = slf.get();
        let py = slf.py();
        if !cell.done() {
            cell.lock_callbacks().push(r#fn.clone().unbind());
            if cell.promise.listen(slf.as_any()) != Heard::Ended && !cell.was_called_back() {
                return Ok(());
            }
            let mut callbacks = cell.lock_callbacks();
            match callbacks.iter().position(|callback| callback.is(&r#fn)) {
                Some(index) => drop(callbacks.remove(index)),
                None => return Ok(()),
            }
        }
        outside::call_method(&slf, name!(py, "_call_back"), (r#fn,))?;
        Ok(())
    }

    /// Say that the task returned `result`, for those who made the future by hand.
    fn set_result(slf: Bound<'_, Self>, result: Py<PyAny>) -> PyResult<()> {
        Self::complete(&slf, Outcome::Value(result))
    }

    /// Say that the task raised `exception`, for those who made the future by hand.
    fn set_exception(slf: Bound<'_, Self>, exception: Py<PyAny>) -> PyResult<()> {
        Self::complete(&slf, Outcome::Error(exception))
    }

    /// True when its task may start, and counts as running then; false when the future was cancelled.
    fn set_running_or_notify_cancel(slf: Bound<'_, Self>) -> PyResult<bool> {
        let promise = &slf.get().promise;
        if promise.home().is_some() {
            return Ok(!promise.is_cancelled()); // its pool tells who is to be told
        }
        match promise.phase().start() {
            Ok(_) => Ok(true),
            Err(State::Cancelled) => {
                if promise.phase().notify().is_ok_and(|marks| marks.listened) {
                    slf.call_method0(name!(slf.py(), "_tell_waiters"))?;
                }
                Ok(false)
            }
            Err(_) => {
                slf.call_method0(name!(slf.py(), "_refuse_state"))?;
                Ok(false)
            }
        }
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

    /// Let go of the callbacks of a future that nobody can reach any more.
    fn __clear__(&self) {
        let callbacks = std::mem::take(&mut *self.lock_callbacks());
        drop(callbacks); // not under the lock: their end may run Python code
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

    /// The state's place in the standard library's order: pending, running, cancelled, notified, finished.
    fn _phase(&self) -> u8 {
        match self.promise.phase().state() {
            State::Pending if self.running() => 1,
            state => state as u8,
        }
    }

    /// Whether the task ended with an exception. It must have ended.
    fn _has_failed(&self, py: Python<'_>) -> bool {
        self.promise.phase().state() == State::Finished
            && matches!(self.promise.outcome(py), Outcome::Error(_))
    }

    /// Give the future a state and an outcome whatever it had, as the standard library's tests do.
    #[pyo3(signature = (phase, result, exception))]
    fn _force(&self, phase: u8, result: Py<PyAny>, exception: Option<Py<PyAny>>) {
        let state = match phase {
            0 => State::Pending,
            1 => State::Running,
            2 => State::Cancelled,
            3 => State::Notified,
            _ => {
                self.promise.keep(exception.map_or(Outcome::Value(result), Outcome::Error));
                State::Finished
            }
        };
        let marks = self.promise.phase().force(state);
        self.promise.wake(marks);
    }
}

impl FutureCell {
    pub(crate) fn promise(&self) -> &Arc<Promise> {
        &self.promise
    }

    fn settled<'a>(&'a self, py: Python<'_>, timeout: Option<f64>) -> PyResult<&'a Outcome> {
        let phase = self.promise.phase();
        if !phase.is_settled() && !self.wait(py, Limit::from_seconds(timeout)?)? {
            return Err(PyTimeoutError::new_err(()));
        }
        if self.promise.is_cancelled() {
            return Err(CancelledError::new_err(py, ()));
        }
        Ok(self.promise.outcome(py))
    }

    fn wait(&self, py: Python<'_>, limit: Limit) -> PyResult<bool> {
        let phase = self.promise.phase();
        let crew = match self.promise.home() {
            Some(Home::Processes(pool)) => {
                return wait_for(py, pool, &Until::Flag(&|| phase.is_settled()), limit);
            }
            Some(Home::Threads(crew)) => {
                if crew.is_foreign() {
                    return Err(PyRuntimeError::new_err(
                        "this task stayed in the process that was forked: its result never comes here",
                    ));
                }
                Some(&**crew)
            }
            None => None,
        };
        park(py, crew, limit, &|slice, spin| phase.wait(slice, spin))
    }

    fn lock_callbacks(&self) -> std::sync::MutexGuard<'_, Vec<Py<PyAny>>> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a future made by hand was cancelled: its callbacks are called then, before its waiters are told.
    fn was_called_back(&self) -> bool {
        self.promise.home().is_none() && self.done()
    }

    fn complete(slf: &Bound<'_, Self>, outcome: Outcome) -> PyResult<()> {
        let promise = &slf.get().promise;
        let may = !promise.phase().is_settled() && promise.keep(outcome);
        let Some(marks) = may.then(|| promise.finish().ok()).flatten() else {
            let state = slf.getattr(name!(slf.py(), "_state"))?;
            return Err(InvalidStateError::new_err(slf.py(), format!("{state}: {}", slf.repr()?)));
        };
        match promise.home() {
            Some(Home::Processes(pool)) => pool.hub().nudge(),
            Some(Home::Threads(_)) => {}
            None if marks.listened => {
                outside::call_method(slf, name!(slf.py(), "_tell"), ())?;
                return Ok(());
            }
            None => return Ok(()),
        }
        Self::tell(slf)
    }

    /// Tell whoever listens of an end that the pool has not seen and will not tell of.
    fn tell(slf: &Bound<'_, Self>) -> PyResult<()> {
        let promise = &slf.get().promise;
        if promise.take_listener().is_some()
            && let Some(Home::Processes(pool)) = promise.home()
        {
            pool.hub().drop_listener();
        }
        outside::call_method(slf, name!(slf.py(), "_tell"), ())?;
        Ok(())
    }
}

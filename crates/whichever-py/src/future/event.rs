//! `_core.DrainingEvent`: what `wait` and `as_completed` sleep on.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBool;
use whichever_sync::Event;

use super::cell::FutureCell;
use super::park::{Limit, park};
use super::promise::Home;
use crate::pool::{Shared, Until, wait_for};

/// A flag that threads wait for; they drain a process pool meanwhile, if one of the futures is such a pool's.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct DrainingEvent {
    event: Event,
    shared: Mutex<Option<Arc<Shared>>>,
}

#[pymethods]
impl DrainingEvent {
    #[new]
    fn new() -> Self {
        Self { event: Event::default(), shared: Mutex::default() }
    }

    /// Drain the process pool of this future, if it has one, while waiting. The first one stays.
    fn drain(&self, future: &Bound<'_, FutureCell>) {
        if let Some(Home::Processes(pool)) = future.get().promise().home() {
            self.lock().get_or_insert_with(|| Arc::clone(pool));
        }
    }

    fn is_set(&self) -> bool {
        self.event.is_set()
    }

    fn set(&self) {
        self.event.set();
        if let Some(shared) = &*self.lock() {
            shared.hub().nudge();
        }
    }

    fn clear(&self) {
        self.event.clear();
    }

    #[pyo3(signature = (timeout = None))]
    fn wait<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Borrowed<'py, 'py, PyBool>> {
        let limit = Limit::from_seconds(timeout)?;
        let shared = self.lock().clone();
        let done = match shared {
            _ if self.is_set() => true,
            Some(shared) => wait_for(py, &shared, &Until::Flag(&|| self.is_set()), limit)?,
            None => park(py, None, limit, &|slice, spin| self.event.wait(slice, spin))?,
        };
        Ok(PyBool::new(py, done))
    }
}

impl DrainingEvent {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Shared>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

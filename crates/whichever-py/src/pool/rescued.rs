//! Tasks of a map whose items do not pickle, and that somebody else runs instead of a worker.

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use whichever_pool::Ended;

use crate::ctrl_c;
use crate::future::Outcome;
use crate::lasting::name;

/// The future of such a task.
pub(super) struct Rescued(Py<PyAny>);

impl Rescued {
    /// Have `rescue` run the task of `item`, which did not pickle for `error`'s reason.
    pub(super) fn by(py: Python<'_>, rescue: &Py<PyAny>, item: &Bound<'_, PyAny>, error: PyErr) -> Ended {
        match rescue.call1(py, (item, error.into_value(py))) {
            Ok(future) => Ended::Unsent(Box::new(Self(future))),
            Err(error) => {
                ctrl_c::remember(py, &error);
                Ended::Unsent(Box::new(error.into_value(py).into_any()))
            }
        }
    }

    /// The task in whose place this is, if it is one.
    pub(super) fn of(ended: Ended) -> Result<Box<Self>, Ended> {
        match ended {
            Ended::Unsent(unsent) => unsent.downcast().map_err(Ended::Unsent),
            ended => Err(ended),
        }
    }

    /// Wait for the task.
    ///
    /// # Errors
    /// Ctrl-C ended the wait.
    pub(super) fn wait(&self, py: Python<'_>) -> PyResult<Outcome> {
        match self.0.call_method0(py, name!(py, "result")) {
            Ok(value) => Ok(Outcome::Value(value)),
            Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => Err(error),
            Err(error) => Ok(Outcome::Error(error.into_value(py).into_any())),
        }
    }
}

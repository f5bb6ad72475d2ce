//! What a task raised, as an iterator over results gives it out.

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;

/// The exception that an iterator is to raise for that of a task: a StopIteration would end it without a word, and
/// results would be missing. What takes its place is what a generator makes of one (PEP 479).
pub(crate) fn by_iterator(py: Python<'_>, error: Py<PyAny>) -> PyErr {
    let error = PyErr::from_value(error.into_bound(py));
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let other = PyRuntimeError::new_err("a task raised StopIteration");
    other.set_cause(py, Some(error));
    other
}

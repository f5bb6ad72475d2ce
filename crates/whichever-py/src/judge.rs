//! The model, asked from Python: a question as JSON in, a judgement as JSON out.

use pyo3::{exceptions::PyValueError, prelude::*};
use whichever_model::{Question, decide};

/// Judge a question (JSON) and return the answer (JSON). Runs detached: other threads go on.
///
/// Raises:
///     ValueError: The text is not a question; the message names the field.
#[pyfunction(name = "decide")]
pub(crate) fn decide_json(py: Python<'_>, question: &str) -> PyResult<String> {
    py.detach(|| {
        let question: Question =
            serde_json::from_str(question).map_err(|error| format!("not a question: {error}"))?;
        serde_json::to_string(&decide(&question)).map_err(|error| format!("no answer: {error}"))
    })
    .map_err(PyValueError::new_err)
}

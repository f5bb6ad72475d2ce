//! The model, asked from Python: a question as JSON in, a judgement as JSON out.

use pyo3::{exceptions::PyValueError, prelude::*};
use whichever_model::{Costs, Question, Window, decide};

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

/// What a machine of so many `cores` costs about, as JSON in the form of a question's ``costs``.
#[pyfunction]
pub(crate) fn typical_costs(cores: f64, gil: bool, switch_interval: f64) -> PyResult<String> {
    serde_json::to_string(&Costs::typical(cores, gil, switch_interval))
        .map_err(|error| PyValueError::new_err(format!("no costs: {error}")))
}

/// Watches a run in windows of time. Private: see `whichever.Pool`.
#[pyclass(module = "whichever._core")]
#[derive(Default)]
pub(crate) struct Pilot(whichever_model::Pilot);

#[pymethods]
impl Pilot {
    /// `cpu` seconds a task took under the meter, if that is known; windows have the CPU of others in them, too, if it
    /// `is_shared`.
    #[new]
    #[pyo3(signature = (cpu = None, *, is_shared = false))]
    fn new(cpu: Option<f64>, is_shared: bool) -> Self {
        Self(cpu.map_or_else(whichever_model::Pilot::new, |cpu| {
            whichever_model::Pilot::of_metered(cpu, is_shared)
        }))
    }

    /// Take in a window in which so many `tasks` ended and other programs took so many cores. True when tasks have changed.
    fn observe(&mut self, tasks: u64, seconds: f64, cpu: f64, others: f64) -> bool {
        self.0.observe(Window { tasks, seconds, cpu, others })
    }
}

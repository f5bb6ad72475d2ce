//! `_core.Meter`: the probe's metering as a Python class. Converts and detaches; decides nothing.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use whichever_model::tally;
use whichever_probe::{Metering, Options};

use crate::gil::{has_gil, thread_state};

/// A span of the timeline: start and length in seconds, the thread's native id, its state.
type SpanRow = (f64, f64, u32, String);

/// Meters tasks of the thread that started it. Private: see `whichever.meter.Meter`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct Meter {
    rate_hz: f64,
    clocks_only: bool,
    running: std::sync::OnceLock<Metering>,
}

#[pymethods]
impl Meter {
    #[new]
    #[pyo3(signature = (*, rate_hz = 1000.0, clocks_only = false))]
    fn new(rate_hz: f64, clocks_only: bool) -> Self {
        Self { rate_hz, clocks_only, running: std::sync::OnceLock::new() }
    }

    /// Start the clocks and the sampler in the calling thread.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let metering = Metering::start(Options {
            rate_hz: self.rate_hz,
            clocks_only: self.clocks_only,
            has_gil: has_gil(py)?,
            thread_state: thread_state(py),
        });
        self.running
            .set(metering)
            .map_err(|_| PyRuntimeError::new_err("a meter is entered once: make another"))
    }

    /// End the sampler. Calling it again does nothing.
    fn stop(&self, py: Python<'_>) {
        if let Some(metering) = self.running.get() {
            py.detach(|| metering.stop());
        }
    }

    /// Run `fn(*args)` as one task and return its result.
    #[pyo3(signature = (r#fn, /, *args))]
    fn call<'py>(&self, r#fn: &Bound<'py, PyAny>, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let metering = self.metering()?;
        metering.begin().map_err(runtime_error)?;
        let result = crate::outside::call(r#fn, args);
        metering.end(result.is_ok()).map_err(runtime_error)?;
        result
    }

    /// A task that is not one call begins.
    fn begin(&self) -> PyResult<()> {
        self.metering()?.begin().map_err(runtime_error)
    }

    /// The task that `begin` began has returned, or raised.
    #[pyo3(signature = (*, returned = true))]
    fn end(&self, returned: bool) -> PyResult<()> {
        self.metering()?.end(returned).map_err(runtime_error)
    }

    /// Wall seconds of each task that returned, in order.
    #[getter]
    fn task_seconds(&self) -> Vec<f64> {
        self.running.get().map(Metering::task_seconds).unwrap_or_default()
    }

    /// The ledger as JSON, under the names of the Rust struct.
    fn ledger_json(&self, py: Python<'_>) -> PyResult<String> {
        let metering = self.metering()?;
        let ledger = py.detach(|| tally(&metering.evidence()));
        serde_json::to_string(&ledger).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// The timeline: rows of start, length, native thread id, state.
    fn spans(&self, py: Python<'_>) -> PyResult<Vec<SpanRow>> {
        let metering = self.metering()?;
        let (started_ns, spans, _) = py.detach(|| metering.timeline());
        let seconds = |nanoseconds: u64| nanoseconds as f64 * 1e-9;
        let row = |span: &whichever_probe::Span| {
            let start = seconds(span.start_ns.saturating_sub(started_ns));
            (start, seconds(span.end_ns - span.start_ns), span.native_id, span.state.name())
        };
        Ok(spans.iter().map(row).collect())
    }

    /// How many spans were merged into others to bound their number.
    #[getter]
    fn merged_spans(&self) -> u64 {
        self.running.get().map_or(0, |metering| metering.timeline().2)
    }

    /// The kind that the metered thread is blocked on now, unless it polls or runs.
    fn blocked_now(&self) -> PyResult<Option<&'static str>> {
        Ok(self.metering()?.blocked_now().map(whichever_model::BlockedKind::name))
    }

    /// Looks in which the GIL changed hands meanwhile.
    #[getter]
    fn raced(&self) -> u64 {
        self.running.get().map_or(0, Metering::raced)
    }
}

impl Meter {
    fn metering(&self) -> PyResult<&Metering> {
        self.running
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("enter the meter first: `with Meter() as meter`"))
    }
}

fn runtime_error(error: whichever_probe::TaskError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// The cores this process may use: affinity, control group quota, and what is left of both.
#[pyfunction]
pub(crate) fn usable_cores(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let usable = whichever_sys::usable_cores();
    let answer = PyDict::new(py);
    answer.set_item("affinity", usable.affinity)?;
    answer.set_item("quota", usable.quota)?;
    answer.set_item("cores", usable.cores)?;
    Ok(answer)
}

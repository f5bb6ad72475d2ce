//! When the BLAS and OpenMP threads of the process are limited: while tasks of the pool run.
//!
//! A worker asks Python to do it (`executors/_inner_threads.py`) before a task, when it is not done, or when modules were
//! imported since, which may have loaded a library. A library that a task loads itself is limited from the next task on.
//! When no task has run for a moment, the last worker that went to sleep gives the process back what it had.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::crew::Crew;
use crate::lasting::name;

/// How long no task runs before the limits are lifted.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Inner {
    /// A `whichever.executors._inner_threads.InnerThreads`, where libraries can be limited at all.
    limits: Option<Py<PyAny>>,
    /// How many modules there were when the process was limited; 0 when it is not.
    limited_at: AtomicUsize,
    /// Whether there was anything to limit.
    has_libraries: AtomicBool,
}

impl Inner {
    pub(super) fn of(host: &Bound<'_, PyAny>) -> PyResult<Self> {
        let limits = host.getattr(name!(host.py(), "inner"))?;
        let limits = (!limits.is_none()).then(|| limits.unbind());
        Ok(Self { limits, limited_at: AtomicUsize::new(0), has_libraries: AtomicBool::new(false) })
    }

    /// Whether somebody is to look when no task has run for a while.
    pub(super) fn is_to_lift(&self) -> bool {
        self.has_libraries.load(Ordering::Relaxed) && self.limited_at.load(Ordering::Relaxed) != 0
    }

    /// Limit what is loaded, before a task. `known` is how many modules there were when this thread last did so.
    pub(super) fn limit(&self, py: Python<'_>, known: &mut usize) {
        let Some(limits) = &self.limits else { return };
        let modules = count_modules(py);
        if *known == modules && self.limited_at.load(Ordering::Relaxed) == modules {
            return;
        }
        let found = limits.bind(py).call_method0(name!(py, "limit")).and_then(|found| found.extract());
        let found = found.unwrap_or_else(|error: PyErr| {
            error.write_unraisable(py, None); // the task can do without
            false
        });
        self.has_libraries.store(found, Ordering::Relaxed);
        self.limited_at.store(modules, Ordering::Relaxed);
        *known = modules;
    }

    /// Give the process back what it had.
    pub(super) fn lift(&self, py: Python<'_>) {
        if !self.is_to_lift() {
            return;
        }
        if let Some(limits) = &self.limits
            && let Err(error) = limits.bind(py).call_method0(name!(py, "lift"))
        {
            error.write_unraisable(py, None);
        }
        // Afterwards: a task that has begun meanwhile found the old number, and the next one sets it right.
        self.limited_at.store(0, Ordering::Relaxed);
    }
}

impl Crew {
    /// Lift the limits if no task runs.
    pub(super) fn lift_if_quiet(&self, py: Python<'_>) {
        if self.roster.busy() == 0 {
            self.inner.lift(py);
        }
    }
}

/// How many modules are imported.
fn count_modules(_attached: Python<'_>) -> usize {
    // SAFETY: the thread is attached, as the token proves. The answer is borrowed: the interpreter keeps it.
    let modules = unsafe { pyo3::ffi::PyImport_GetModuleDict() };
    // SAFETY: it is a dictionary, of this interpreter's, and the thread is attached.
    let count = unsafe { pyo3::ffi::PyDict_Size(modules) };
    usize::try_from(count).unwrap_or(0)
}

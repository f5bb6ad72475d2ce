//! `_core.Finalizer`: what is to be done when its holder is dropped, and Ctrl-C is not lost in it.
//!
//! Python drops what a signal handler raises in `__del__` and in callbacks of weak references. So the holder keeps one of
//! these instead, whose end is native: no Python code runs but the work itself, and that is run again and Ctrl-C comes again
//! after it if it meets it.

use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::ctrl_c;
use crate::outside;

/// Private: see the module. Does its work once: when it is told to, or else when it is dropped.
///
/// The work must bear being broken off and begun again. It must not lead back to the holder, which would never be dropped.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct Finalizer {
    /// What to call, with which arguments. None once that was done, or is not to be done.
    work: Mutex<Option<(Py<PyAny>, Py<PyTuple>)>>,
}

#[pymethods]
impl Finalizer {
    #[new]
    #[pyo3(signature = (work, *args))]
    fn new(work: Py<PyAny>, args: Py<PyTuple>) -> Self {
        Self { work: Mutex::new(Some((work, args))) }
    }

    /// Do it now, unless it was done.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let work = self.lock().take(); // a statement of its own: the lock is not held while Python runs
        work.map_or(Ok(()), |work| run(py, &work))
    }

    /// Leave it undone.
    fn detach(&self) {
        let work = self.lock().take();
        drop(work);
    }
}

impl Finalizer {
    fn lock(&self) -> MutexGuard<'_, Option<(Py<PyAny>, Py<PyTuple>)>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Finalizer {
    fn drop(&mut self) {
        let mut left = self.lock().take();
        if left.is_none() {
            return;
        }
        Python::attach(|py| {
            let _raised = Aside::new(py);
            if !is_finalizing(py)
                && let Err(error) = run_and_drop(py, &mut left)
            {
                ctrl_c::report(py, error, left.as_ref().map(|(work, _)| work.bind(py)));
            }
            left = None;
        });
    }
}

fn run(py: Python<'_>, (work, args): &(Py<PyAny>, Py<PyTuple>)) -> PyResult<()> {
    ctrl_c::in_spite_of_ctrl_c(py, || outside::call(work.bind(py), args.bind(py)).map(drop))
}

/// Drop the work as soon as it is done, before Ctrl-C comes again: with it may go what has a `__del__`, where it would be
/// lost.
fn run_and_drop(py: Python<'_>, left: &mut Option<(Py<PyAny>, Py<PyTuple>)>) -> PyResult<()> {
    ctrl_c::in_spite_of_ctrl_c(py, || {
        if let Some((work, args)) = &*left {
            outside::call(work.bind(py), args.bind(py))?;
        }
        *left = None;
        Ok(())
    })
}

/// Whether the interpreter takes its modules apart: what is still open was ended before, and the work may lack what it needs.
fn is_finalizing(py: Python<'_>) -> bool {
    let asked = py.import("sys").and_then(|sys| sys.call_method0("is_finalizing")?.extract());
    asked.unwrap_or(true)
}

/// The exception that was on its way when the holder was dropped: kept aside, and set again in the end.
struct Aside<'py> {
    _py: Python<'py>,
    parts: [*mut ffi::PyObject; 3],
}

impl<'py> Aside<'py> {
    fn new(py: Python<'py>) -> Self {
        let [mut kind, mut value, mut trace] = [null_mut(); 3];
        // SAFETY: the thread is attached, as `py` proves; the places are our own, and what is in them is ours afterwards.
        unsafe { ffi::PyErr_Fetch(&raw mut kind, &raw mut value, &raw mut trace) };
        Self { _py: py, parts: [kind, value, trace] }
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let [kind, value, trace] = self.parts;
        // SAFETY: 1. the thread is attached, as `_py` proves. 2. the references are those of `PyErr_Fetch`, given back once.
        unsafe { ffi::PyErr_Restore(kind, value, trace) };
    }
}

//! A context of its own for each task: what it sets is gone with it.
//!
//! Entering a copy by the interpreter's own functions costs a third of what `Context.run` does, which counts for tasks
//! of a microsecond. They lie outside the stable ABI, so they are looked up by name; every version so far exports them.

use std::ffi::c_int;

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use whichever_sys::find_symbol;

type Copy = unsafe extern "C" fn(*mut PyObject) -> *mut PyObject;
type Switch = unsafe extern "C" fn(*mut PyObject) -> c_int;

/// Makes contexts in which tasks run.
pub(super) struct Contexts {
    base: Py<PyAny>,
    /// Whether `base` has no variable: then a context that has none after a task is as good as a new one.
    empty: bool,
    functions: Option<Functions>,
}

/// A context that is entered until this is dropped.
pub(super) struct Entered<'py> {
    context: Bound<'py, PyAny>,
    functions: Functions,
}

#[derive(Clone, Copy)]
struct Functions {
    copy: Copy,
    enter: Switch,
    exit: Switch,
}

impl Contexts {
    /// Contexts that begin as the present one is.
    pub(super) fn new(py: Python<'_>) -> PyResult<Self> {
        let base = py.import("contextvars")?.call_method0("copy_context")?;
        let empty = base.len()? == 0;
        Ok(Self { base: base.unbind(), empty, functions: Functions::find() })
    }

    /// Do `run` in a context of its own.
    pub(super) fn within<R>(&self, py: Python<'_>, run: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        let _entered = self.enter(py)?;
        run()
    }

    /// Enter a new context. None where the interpreter does not offer it.
    pub(super) fn enter<'py>(&self, py: Python<'py>) -> PyResult<Option<Entered<'py>>> {
        let Some(functions) = self.functions else { return Ok(None) };
        // SAFETY: 1. the function is `PyContext_Copy`, and `base` is a context.
        //         2. we are attached.
        let copied = unsafe { (functions.copy)(self.base.as_ptr()) };
        // SAFETY: 1. a new reference, or null with an error set.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, copied) }?;
        // SAFETY: 1. the function is `PyContext_Enter`, and this a context that nobody has entered.
        //         2. we are attached.
        if unsafe { (functions.enter)(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Some(Entered { context, functions }))
    }

    /// Have a context that no task has set anything in: this one, or a new one in its place.
    pub(super) fn renew<'py>(
        &self,
        py: Python<'py>,
        entered: Option<Entered<'py>>,
    ) -> PyResult<Option<Entered<'py>>> {
        match entered {
            Some(entered) if self.empty && entered.context.len()? == 0 => Ok(Some(entered)),
            other => {
                drop(other);
                self.enter(py)
            }
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // SAFETY: 1. the function is `PyContext_Exit`, and the context the one that we entered.
        //         2. we are attached.
        if unsafe { (self.functions.exit)(self.context.as_ptr()) } != 0 {
            // The task left another context entered, which is then its own.
            drop(PyErr::take(self.context.py()));
        }
    }
}

impl Functions {
    fn find() -> Option<Self> {
        let [copy, enter, exit] = [c"PyContext_Copy", c"PyContext_Enter", c"PyContext_Exit"].map(find_symbol);
        let (copy, enter, exit) = (copy? as *const (), enter? as *const (), exit? as *const ());
        // SAFETY: 1. the interpreter exports a function of this signature by this name since 3.7.
        let copy = unsafe { std::mem::transmute::<*const (), Copy>(copy) };
        // SAFETY: as above.
        let enter = unsafe { std::mem::transmute::<*const (), Switch>(enter) };
        // SAFETY: as above.
        let exit = unsafe { std::mem::transmute::<*const (), Switch>(exit) };
        Some(Self { copy, enter, exit })
    }
}

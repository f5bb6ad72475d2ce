//! Ending an iterator with a value: `StopIteration(value)`, at the price of a few stores.
//!
//! An `await` takes the value out of the exception at once and drops it. So one exception serves again and again, as long as
//! nobody has kept it. Whoever sees it in Python code leaves a traceback in it, or a reference to it; then it is theirs, and the
//! next one is made anew. So is each where there is no GIL, or where an exception does not have its value in the usual place.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

/// The exception, if there is one, a reference to which is ours. Only touched with the GIL.
static KEPT: AtomicPtr<PyObject> = AtomicPtr::new(null_mut());
/// How far into an exception its value lies; 0 where that is not known, or not to be used.
static VALUE_AT: AtomicUsize = AtomicUsize::new(0);

/// Find out where an exception has its value.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    if cfg!(Py_GIL_DISABLED) {
        return Ok(());
    }
    let class = py.get_type::<PyStopIteration>();
    let probe = class.call0()?;
    let stop = class.call1((&probe,))?;
    let size: usize = class.getattr("__basicsize__")?.extract()?;
    let at = size.saturating_sub(size_of::<*mut PyObject>());
    if at > size_of::<PyObject>() {
        // SAFETY: the word lies inside the exception, which is so large.
        let last = unsafe { stop.as_ptr().wrapping_byte_add(at).cast::<*mut PyObject>().read() };
        if last == probe.as_ptr() {
            VALUE_AT.store(at, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Raise `StopIteration(value)`, for an interpreter that waits for it.
pub(super) fn raise(value: Bound<'_, PyAny>) {
    let py = value.py();
    if VALUE_AT.load(Ordering::Relaxed) == 0 {
        return raise_new(value);
    }
    let class = py.get_type::<PyStopIteration>();
    let stop = match take(py).map_or_else(|| class.call0(), Ok) {
        Ok(stop) => stop,
        Err(error) => return error.restore(py),
    };
    drop(replace_value(&stop, Some(value)));
    // SAFETY: the thread is attached; the two references are given away, and no traceback is.
    unsafe { ffi::PyErr_Restore(class.into_ptr(), stop.clone().into_ptr(), null_mut()) };
    KEPT.store(stop.into_ptr(), Ordering::Relaxed);
}

/// Let go of the value that was raised last, unless somebody has the exception.
pub(super) fn forget(py: Python<'_>) {
    let Some(stop) = take(py) else { return };
    let value = replace_value(&stop, None);
    // SAFETY: an exception; the answer is a new reference, or null.
    let trace = unsafe { ffi::PyException_GetTraceback(stop.as_ptr()) };
    if trace.is_null() {
        KEPT.store(stop.into_ptr(), Ordering::Relaxed);
    } else {
        // SAFETY: it is the new reference.
        drop(unsafe { Bound::from_owned_ptr(py, trace) });
    }
    drop(value); // last: this may run anything
}

/// The exception that is kept, if nobody else has it: then only the caller has.
fn take(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let kept = KEPT.load(Ordering::Relaxed);
    // SAFETY: null, or an object that lives by the reference that is kept.
    if kept.is_null() || unsafe { ffi::Py_REFCNT(kept) } != 1 {
        return None;
    }
    KEPT.store(null_mut(), Ordering::Relaxed);
    // SAFETY: the reference that was kept.
    Some(unsafe { Bound::from_owned_ptr(py, kept) })
}

/// Put another value into an exception that nobody else has; returns the one before.
fn replace_value<'py>(
    stop: &Bound<'py, PyAny>,
    value: Option<Bound<'py, PyAny>>,
) -> Option<Bound<'py, PyAny>> {
    let at = VALUE_AT.load(Ordering::Relaxed);
    let value = value.map_or(null_mut(), Bound::into_ptr);
    // SAFETY: 1. the word is the value of the exception, a reference of its own or null (`prepare` has looked).
    //         2. nobody else has the exception.
    let before = unsafe { stop.as_ptr().wrapping_byte_add(at).cast::<*mut PyObject>().replace(value) };
    // SAFETY: the exception's reference, which it has no more.
    unsafe { Bound::from_owned_ptr_or_opt(stop.py(), before) }
}

fn raise_new(value: Bound<'_, PyAny>) {
    let py = value.py();
    // An instance, never the bare value: a tuple would be taken for several arguments.
    match py.get_type::<PyStopIteration>().call1((value,)) {
        Ok(stop) => PyErr::from_value(stop).restore(py),
        Err(error) => error.restore(py),
    }
}

//! Calls into Python at the lowest price: contexts entered and left, arguments passed without a tuple.
//!
//! The stable ABI that we build for leaves these functions out, some until a later version; every CPython from 3.11 on exports
//! them.

use std::ffi::c_int;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{Borrowed, PyTraverseError, PyVisit};

mod raw {
    use super::{PyObject, c_int, ffi};

    unsafe extern "C" {
        /// A new reference to a copy of the thread's context, or null and an exception.
        pub(super) fn PyContext_CopyCurrent() -> *mut PyObject;
        /// A new reference to a copy of `context`, or null and an exception.
        pub(super) fn PyContext_Copy(context: *mut PyObject) -> *mut PyObject;
        /// Make `context` the thread's; -1 and an exception if it is somebody's already.
        pub(super) fn PyContext_Enter(context: *mut PyObject) -> c_int;
        /// Go back to the context before; -1 and an exception if `context` is not the thread's.
        pub(super) fn PyContext_Exit(context: *mut PyObject) -> c_int;
        /// Call with `args`, so many as `count` says beside its flag.
        pub(super) fn PyObject_Vectorcall(
            callback: *mut PyObject,
            args: *const *mut PyObject,
            count: usize,
            keywords: *mut PyObject,
        ) -> *mut PyObject;
        /// Call a method of the first of `args`, the others being its arguments.
        pub(super) fn PyObject_VectorcallMethod(
            name: *mut PyObject,
            args: *const *mut PyObject,
            count: usize,
            keywords: *mut PyObject,
        ) -> *mut PyObject;
        /// Make bytes that only the caller knows longer or shorter; -1, null and an exception if that fails.
        pub(in crate::event_loop) fn _PyBytes_Resize(
            bytes: *mut *mut PyObject,
            size: ffi::Py_ssize_t,
        ) -> c_int;
    }
}

pub(super) use raw::_PyBytes_Resize as resize_bytes;

/// `PY_VECTORCALL_ARGUMENTS_OFFSET`: the place before the arguments may be written to, during the call.
const OFFSET: usize = 1 << (usize::BITS - 1);

/// A copy of the context that the thread runs in.
pub(super) fn copy_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: the thread is attached.
    let context = unsafe { raw::PyContext_CopyCurrent() };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, context) }.map(Bound::unbind)
}

/// A copy of a context.
pub(super) fn copy_of(py: Python<'_>, context: &Py<PyAny>) -> PyResult<Py<PyAny>> {
    // SAFETY: the thread is attached; an object that is no context is refused with an exception.
    let copy = unsafe { raw::PyContext_Copy(context.as_ptr()) };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, copy) }.map(Bound::unbind)
}

/// Do `work` in a context.
///
/// # Errors
/// What `work` raises; and RuntimeError when the context is entered already.
pub(super) fn within<R>(
    py: Python<'_>,
    context: &Py<PyAny>,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    enter(py, context)?;
    leave_after(py, context, work)
}

/// Do `work` in a context; if that is entered already, here.
///
/// # Errors
/// What `work` raises.
pub(super) fn within_or_here<R>(
    py: Python<'_>,
    context: &Py<PyAny>,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    match enter(py, context) {
        Ok(()) => leave_after(py, context, work),
        Err(error) if error.is_instance_of::<PyRuntimeError>(py) => work(),
        Err(error) => Err(error),
    }
}

fn enter(py: Python<'_>, context: &Py<PyAny>) -> PyResult<()> {
    // SAFETY: the thread is attached; an object that is no context is refused with an exception.
    if unsafe { raw::PyContext_Enter(context.as_ptr()) } < 0 { Err(PyErr::fetch(py)) } else { Ok(()) }
}

/// Do `work` in the context that has just been entered, and leave it.
fn leave_after<R>(py: Python<'_>, context: &Py<PyAny>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    // A panic in `work` ends up as an exception further up, after which the thread goes on: it must not keep the context.
    let left = Leave(context);
    let done = work();
    std::mem::forget(left);
    // SAFETY: the thread is attached, and entered this context above.
    if unsafe { raw::PyContext_Exit(context.as_ptr()) } < 0 {
        let error = PyErr::fetch(py);
        return done.and(Err(error));
    }
    done
}

struct Leave<'a>(&'a Py<PyAny>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        // SAFETY: only a panic comes here, in the thread that entered the context and is still attached.
        unsafe { raw::PyContext_Exit(self.0.as_ptr()) };
        // SAFETY: as above; an exception that nobody looks at must not stay.
        unsafe { ffi::PyErr_Clear() };
    }
}

/// What a callback is called with. One argument needs no tuple, which would be one more object for the collector.
pub(super) enum Args {
    None,
    One(Py<PyAny>),
    Many(Py<PyTuple>),
}

impl Args {
    pub(super) fn of(py: Python<'_>, args: &[Borrowed<'_, '_, PyAny>]) -> PyResult<Self> {
        match args {
            [] => Ok(Self::None),
            [one] => Ok(Self::One((*one).to_owned().unbind())),
            many => PyTuple::new(py, many).map(|many| Self::Many(many.unbind())),
        }
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(one) => Self::One(one.clone_ref(py)),
            Self::Many(many) => Self::Many(many.clone_ref(py)),
        }
    }

    pub(super) fn tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self {
            Self::None => Ok(PyTuple::empty(py)),
            Self::One(one) => PyTuple::new(py, [one]),
            Self::Many(many) => Ok(many.bind(py).clone()),
        }
    }

    pub(super) fn call<'py>(&self, callback: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = callback.py();
        match self {
            Self::None => callback.call0(),
            Self::One(one) => call_with(callback, one.bind(py)),
            Self::Many(many) => callback.call1(many.bind(py)),
        }
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::None => Ok(()),
            Self::One(one) => visit.call(one),
            Self::Many(many) => visit.call(many),
        }
    }
}

/// Call with one argument.
fn call_with<'py>(callback: &Bound<'py, PyAny>, argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // The place before the argument is the callee's, for the object that a bound method puts before it.
    let mut args = [std::ptr::null_mut(), argument.as_ptr()];
    // SAFETY: 1. all are borrowed for the length of the call, by an attached thread.
    //         2. one argument without keywords, with a place before it that may be written to, as the flag says.
    let result = unsafe {
        raw::PyObject_Vectorcall(
            callback.as_ptr(),
            args.as_mut_ptr().wrapping_add(1),
            1 | OFFSET,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callback.py(), result) }
}

/// Call a method with one argument.
pub(super) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let args = [object.as_ptr(), argument.as_ptr()];
    // SAFETY: 1. all are borrowed for the length of the call, by an attached thread.
    //         2. two arguments without keywords, the first of them the object.
    let result = unsafe {
        raw::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), args.len(), std::ptr::null_mut())
    };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), result) }
}

/// Call a method with two arguments.
pub(super) fn call_method_with_two<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
) -> PyResult<Bound<'py, PyAny>> {
    let args = [object.as_ptr(), arguments.0.as_ptr(), arguments.1.as_ptr()];
    // SAFETY: 1. all are borrowed for the length of the call, by an attached thread.
    //         2. three arguments without keywords, the first of them the object.
    let result = unsafe {
        raw::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), args.len(), std::ptr::null_mut())
    };
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), result) }
}

//! Calls of Python code that may run for long or wait, from native code that may be in any thread.
//!
//! An interpreter that ends lets no other thread have the GIL. Before 3.14 it ends such a thread on the spot, by unwinding
//! its stack: native frames would be cut off in the middle and drop what they hold without the GIL, which is the end of
//! the process. Here such a thread stays where it is for the rest of the process instead, as it does from 3.14 on.
//! (PyO3 does the same where a thread attaches.)

use std::hint::black_box;
use std::ptr;
use std::time::Duration;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString, PyTuple};

/// `PyObject_Call` and `PyIter_Next`, which may unwind. PyO3 declares that they do not: with a declaration of our own beside
/// that one the compiler believes whichever it meets first, so it is told nothing about where these point to.
type Call = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject;
type Next = unsafe extern "C-unwind" fn(*mut PyObject) -> *mut PyObject;

/// Call `function(*args)`.
///
/// # Errors
/// What it raises.
pub(crate) fn call<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let known = ffi::PyObject_Call as *const ();
    // SAFETY: it points to that function; unwinding apart, both conventions are one.
    let call = black_box(unsafe { std::mem::transmute::<*const (), Call>(known) });
    let stay = Stay;
    // SAFETY: both are alive and the thread is attached, as the references prove; null stands for no keywords.
    let result = unsafe { call(function.as_ptr(), args.as_ptr(), ptr::null_mut()) };
    std::mem::forget(stay);
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), result) }
}

/// Call `object.name(*args)`.
///
/// # Errors
/// What it raises.
pub(crate) fn call_method<'py, A>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: A,
) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    PyErr: From<A::Error>,
{
    call(&object.getattr(name)?, &args.into_pyobject(object.py())?)
}

/// Take the next item of an iterator; None at its end.
///
/// # Errors
/// What it raises.
pub(crate) fn next<'py>(items: &Bound<'py, PyIterator>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let known = ffi::PyIter_Next as *const ();
    // SAFETY: as in `call`.
    let next = black_box(unsafe { std::mem::transmute::<*const (), Next>(known) });
    let stay = Stay;
    // SAFETY: it is an iterator, alive, and the thread is attached, as the reference proves.
    let item = unsafe { next(items.as_ptr()) };
    std::mem::forget(stay);
    if item.is_null() {
        return PyErr::take(items.py()).map_or(Ok(None), Err);
    }
    // SAFETY: it is a new reference.
    Ok(Some(unsafe { Bound::from_owned_ptr(items.py(), item) }))
}

/// Keeps a thread that is being unwound by the interpreter's end where it is. To be forgotten when all is well.
struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        while !std::thread::panicking() {
            std::thread::sleep(Duration::MAX);
        }
    }
}

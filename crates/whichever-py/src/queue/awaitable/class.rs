//! The class of what is awaited, as the interpreter wants it: slots, methods, and an end.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning};
use pyo3::ffi::{self, PyObject};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyNone, PyString, PyTuple};

use super::{Awaitable, BEGUN, Errand, FRESH, HEAD, OVER, Step, spare, taken};
use crate::finalizer::Aside;
use crate::lasting::name;
use crate::queue::stop;

/// Do what the interpreter asks of one of ours. None when an exception is set.
///
/// # Safety
/// The thread is attached, and `slf` is an object of our class that somebody keeps alive.
#[inline]
unsafe fn enter<R>(
    slf: *mut PyObject,
    work: impl FnOnce(Python<'_>, &Awaitable) -> PyResult<R>,
) -> Option<R> {
    // SAFETY: the caller's duty; the token stays in this call.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the caller's duty. Its places change by atomic operations only.
    let own = unsafe { &*slf.cast::<Awaitable>() };
    let error = match catch_unwind(AssertUnwindSafe(|| work(py, own))) {
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(error)) => error,
        Err(_) => PanicException::new_err("panic in a queue"),
    };
    error.restore(py);
    None
}

/// `am_await` and `tp_iter`: itself.
unsafe extern "C" fn itself(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: the caller holds it.
    unsafe { ffi::Py_NewRef(slf) }
}

/// `tp_iternext`: an answer is a `StopIteration`, or for None nothing at all.
unsafe extern "C" fn next(slf: *mut PyObject) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| {
        Ok(match own.step(py, &PyNone::get(py))? {
            Step::Waits(object) => object.into_ptr(),
            Step::Answered(answer) => {
                let answer = answer.into_bound(py);
                if !answer.is_none() {
                    own.has_raised.store(1, Ordering::Relaxed);
                    stop::raise(answer);
                }
                null_mut()
            }
        })
    };
    // SAFETY: the interpreter calls a slot of the class with one of its objects.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `am_send`.
unsafe extern "C" fn send(slf: *mut PyObject, sent: *mut PyObject, result: *mut *mut PyObject) -> c_int {
    let work = |py: Python<'_>, own: &Awaitable| {
        // SAFETY: the interpreter sends an object that it holds.
        let sent = unsafe { Borrowed::from_ptr(py, sent) };
        Ok(match own.step(py, &sent)? {
            Step::Answered(object) => (ffi::PySendResult::PYGEN_RETURN, object.into_ptr()),
            Step::Waits(object) => (ffi::PySendResult::PYGEN_NEXT, object.into_ptr()),
        })
    };
    // SAFETY: as for `next`.
    let ended = unsafe { enter(slf, work) };
    let (ended, object) = ended.unwrap_or((ffi::PySendResult::PYGEN_ERROR, null_mut()));
    // SAFETY: the place is the caller's, and takes the reference.
    unsafe { result.write(object) };
    ended as c_int
}

/// `send(value)`, for those who drive a coroutine themselves.
unsafe extern "C" fn send_method(slf: *mut PyObject, sent: *mut PyObject) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| {
        // SAFETY: the interpreter calls a method with an object that it holds.
        let sent = unsafe { Borrowed::from_ptr(py, sent) };
        match own.step(py, &sent)? {
            Step::Waits(object) => Ok(object.into_ptr()),
            Step::Answered(answer) => {
                own.has_raised.store(1, Ordering::Relaxed);
                stop::raise(answer.into_bound(py));
                Ok(null_mut())
            }
        }
    };
    // SAFETY: a method of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `throw(type[, value[, traceback]])`.
unsafe extern "C" fn throw(slf: *mut PyObject, args: *mut PyObject) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| {
        if own.pass(FRESH, BEGUN) {
            own.begin(py)?;
        }
        // SAFETY: `METH_VARARGS`: an object that the caller holds.
        let args = unsafe { Borrowed::from_ptr(py, args) }.cast::<PyTuple>()?;
        let thrown = own.inner(py)?.call_method1(name!(py, "throw"), args.to_owned())?;
        Ok(thrown.into_ptr())
    };
    // SAFETY: a method of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `close()`.
unsafe extern "C" fn close(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| {
        if !own.pass(FRESH, OVER)
            && let Ok(inner) = own.inner(py)
        {
            inner.call_method0(name!(py, "close"))?;
        }
        Ok(py.None().into_ptr())
    };
    // SAFETY: a method of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `__name__` and `__qualname__`, which asyncio shows.
unsafe extern "C" fn name_of(slf: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| Ok(PyString::new(py, own.errand().name()).into_ptr());
    // SAFETY: an attribute of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `cr_await`: what it waits for, for those who show where a task stands.
unsafe extern "C" fn waits_for(slf: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| {
        Ok(own.inner(py).map_or_else(|_| py.None().into_ptr(), Bound::into_ptr))
    };
    // SAFETY: an attribute of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

unsafe extern "C" fn traverse(slf: *mut PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a collector shows us one of ours.
    let own = unsafe { &*slf.cast::<Awaitable>() };
    let places = [&own.queue, &own.item, &own.inner].map(|place| place.load(Ordering::Relaxed));
    // SAFETY: the class of an object of ours is alive.
    let class = unsafe { ffi::Py_TYPE(slf) }.cast();
    for object in places.into_iter().chain([class]).filter(|object| !object.is_null()) {
        // SAFETY: the collector's function, with an object that is alive.
        let said = unsafe { visit(object, arg) };
        if said != 0 {
            return said;
        }
    }
    0
}

unsafe extern "C" fn clear(slf: *mut PyObject) -> c_int {
    // SAFETY: the thread is attached; the token stays in this call.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: one of ours, as the interpreter says.
    let own = unsafe { &*slf.cast::<Awaitable>() };
    let _ = own.pass(FRESH, OVER);
    for place in [&own.item, &own.inner, &own.queue] {
        drop(taken(py, place));
    }
    0
}

unsafe extern "C" fn dealloc(slf: *mut PyObject) {
    // SAFETY: the thread is attached; the token stays in this call.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: one of ours, which nobody has any more.
    unsafe { ffi::PyObject_GC_UnTrack(slf.cast()) };
    // SAFETY: its memory is ours until it is freed below.
    let own = unsafe { &*slf.cast::<Awaitable>() };
    if own.state.load(Ordering::Relaxed) == FRESH {
        warn(py, own.errand());
    }
    if own.has_raised.load(Ordering::Relaxed) != 0 {
        stop::forget(py);
    }
    // SAFETY: as it came.
    unsafe { clear(slf) };
    // SAFETY: every object has a class.
    let class = unsafe { ffi::Py_TYPE(slf) };
    if !spare::keep(slf) {
        // SAFETY: it was made with `PyType_GenericAlloc`, and nothing refers to it.
        unsafe { ffi::PyObject_GC_Del(slf.cast()) };
    }
    // SAFETY: each object has a reference to its class.
    unsafe { ffi::Py_DECREF(class.cast()) };
}

/// Say that somebody has forgotten an `await`, as Python does for its own coroutines.
#[cold]
fn warn(py: Python<'_>, errand: Errand) {
    let message: &CStr = match errand {
        Errand::Get => c"coroutine 'Queue.aget' was never awaited",
        Errand::Next => c"coroutine 'Queue.__anext__' was never awaited",
        Errand::Put => c"coroutine 'Queue.aput' was never awaited",
    };
    let _raised = Aside::new(py);
    if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), message, 1) {
        error.write_unraisable(py, None);
    }
}

const fn method(
    name: &'static CStr,
    meth: ffi::PyMethodDefPointer,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth: meth, ml_flags: flags, ml_doc: doc.as_ptr() }
}

const fn attribute(name: &'static CStr, get: ffi::getter, doc: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: doc.as_ptr(),
        closure: null_mut(),
    }
}

/// Make the class.
pub(super) fn make_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // A class refers to these for ever.
    let methods = Box::leak(Box::new([
        method(
            c"send",
            ffi::PyMethodDefPointer { PyCFunction: send_method },
            ffi::METH_O,
            c"send($self, value, /)\n--\n\nTake a step.",
        ),
        method(
            c"throw",
            ffi::PyMethodDefPointer { PyCFunction: throw },
            ffi::METH_VARARGS,
            c"Raise an exception where it waits.",
        ),
        method(
            c"close",
            ffi::PyMethodDefPointer { PyCFunction: close },
            ffi::METH_NOARGS,
            c"close($self, /)\n--\n\nEnd it.",
        ),
        ffi::PyMethodDef::zeroed(),
    ]));
    let attributes = Box::leak(Box::new([
        attribute(c"__name__", name_of, c"The method that made it."),
        attribute(c"__qualname__", name_of, c"The method that made it."),
        attribute(c"cr_await", waits_for, c"What it waits for, or None."),
        ffi::PyGetSetDef::default(),
    ]));
    let slot = |slot, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_doc, c"A get or put of a queue, for a task to await.".as_ptr().cast_mut().cast()),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, send as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(ffi::Py_tp_getset, attributes.as_mut_ptr().cast()),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(0, null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: c"whichever._core.QueueAwaitable".as_ptr(),
        basicsize: size_of::<Awaitable>() as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    let head: usize = py.get_type::<PyAny>().getattr("__basicsize__")?.extract()?;
    if head != HEAD * size_of::<usize>() {
        return Err(PyRuntimeError::new_err("objects of this interpreter begin in an unknown way"));
    }
    // SAFETY: 1. the slots are functions of their signatures, and end with a zero.
    //         2. the methods and attributes live for ever; an `Awaitable` begins with the words of an object.
    let class = unsafe { ffi::PyType_FromSpec(&raw mut spec) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, class) }
}

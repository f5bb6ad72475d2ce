//! Methods of a queue that answer their commonest call themselves, at half the price of PyO3's wrapper: `put(item)` where
//! there is a place, `get()` where there is an item, and their kin.
//!
//! Any other call, and any that cannot be answered at once, goes to the method that PyO3 has made, under the same name. PyO3
//! does not know that it is being called here: a `Py` that is dropped would be let go of later, so it is bound first.

use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::Borrowed;
use pyo3::ffi::{self, PyObject};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::awaitable::{Errand, awaitable};
use super::core::QueueCore;
use super::stop;
use crate::lasting::Lasting;
use crate::raw_method;

type Object<'a, 'py> = Borrowed<'a, 'py, PyAny>;
type Place = Lasting<PyAny>;

/// One method.
trait Shortcut {
    const NAME: &'static CStr;
    /// With how many arguments it answers, none of them by keyword.
    const ARGUMENTS: usize;

    /// Where PyO3's method of this name is kept.
    fn general() -> &'static Place;

    /// The answer; None when it is for the general method, and then nothing has changed.
    fn answer<'py>(queue: &Bound<'py, QueueCore>, args: &[Object<'_, 'py>]) -> Option<Bound<'py, PyAny>>;
}

/// Name a method that gets an item, or puts one.
macro_rules! shortcut {
    ($type:ident, $name:literal, $arguments:literal, |$queue:ident, $args:ident| $answer:expr) => {
        struct $type;

        impl Shortcut for $type {
            const NAME: &'static CStr = $name;
            const ARGUMENTS: usize = $arguments;

            fn general() -> &'static Place {
                static GENERAL: Place = Lasting::new();
                &GENERAL
            }

            #[inline]
            fn answer<'py>(
                $queue: &Bound<'py, QueueCore>,
                $args: &[Object<'_, 'py>],
            ) -> Option<Bound<'py, PyAny>> {
                $answer
            }
        }
    };
}

shortcut!(Put, c"put", 1, |queue, args| put(queue, &args[0]));
shortcut!(PutNowait, c"put_nowait", 1, |queue, args| put(queue, &args[0]));
shortcut!(Get, c"get", 0, |queue, _args| queue.get().get_now(queue.py()));
shortcut!(GetNowait, c"get_nowait", 0, |queue, _args| queue.get().get_now(queue.py()));
shortcut!(Aget, c"aget", 0, |queue, _args| awaitable(queue, Errand::Get, None).ok());
shortcut!(Aput, c"aput", 1, |queue, args| awaitable(queue, Errand::Put, Some(&args[0])).ok());
shortcut!(Take, c"_take", 1, |queue, _args| queue.get().get_now(queue.py()));

#[inline]
fn put<'py>(queue: &Bound<'py, QueueCore>, item: &Object<'_, 'py>) -> Option<Bound<'py, PyAny>> {
    let py = queue.py();
    queue.get().put_now(item).then(|| py.None().into_bound(py))
}

/// Put them in the place of the general methods.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    stop::prepare(py)?;
    replace::<Put>(py)?;
    replace::<PutNowait>(py)?;
    replace::<Get>(py)?;
    replace::<GetNowait>(py)?;
    replace::<Aget>(py)?;
    replace::<Aput>(py)?;
    replace::<Take>(py)
}

fn replace<S: Shortcut>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<QueueCore>();
    let name = PyString::new(py, &S::NAME.to_string_lossy());
    let general = S::general().get_or_make(py, || class.getattr(&name))?;
    let (signature, doc) = (general.getattr("__text_signature__")?, general.getattr("__doc__")?);
    let doc = CString::new(format!("{name}{signature}\n--\n\n{doc}"))?;
    raw_method::set::<QueueCore>(py, S::NAME, Box::leak(doc.into_boxed_c_str()), call::<S>)
}

/// The function of a method.
unsafe extern "C" fn call<S: Shortcut>(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls methods in threads that are attached; the token stays in this call.
    let py = unsafe { Python::assume_attached() };
    if names.is_null() && usize::try_from(count) == Ok(S::ARGUMENTS) {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the caller holds it.
            let slf = unsafe { Borrowed::from_ptr(py, slf) };
            // SAFETY: a method of the class refuses any other object.
            let queue = unsafe { slf.cast_unchecked::<QueueCore>() };
            let args = if S::ARGUMENTS == 0 {
                &[]
            } else {
                // SAFETY: 1. `METH_FASTCALL`: so many objects stand there, all alive for the length of the call.
                //         2. a `Borrowed` is a pointer that is not null, and nothing else.
                unsafe { std::slice::from_raw_parts(args.cast::<Object<'_, '_>>(), S::ARGUMENTS) }
            };
            S::answer(&queue, args)
        }));
        match answer {
            Ok(Some(answer)) => return answer.into_ptr(),
            Ok(None) => {}
            Err(_) => {
                PanicException::new_err("panic in a queue").restore(py);
                return std::ptr::null_mut();
            }
        }
    }
    // SAFETY: as they came.
    unsafe { call_general(S::general(), (slf, args, count, names)) }
}

unsafe extern "C" {
    /// Call with `args`, so many as `count` says beside its flag. The stable ABI has it from 3.12 on; every CPython from 3.11
    /// on exports it.
    fn PyObject_Vectorcall(
        function: *mut PyObject,
        args: *const *mut PyObject,
        count: usize,
        names: *mut PyObject,
    ) -> *mut PyObject;
}

/// Call PyO3's method with the object before the other arguments.
///
/// # Safety
/// The thread is attached, and these are what `METH_FASTCALL | METH_KEYWORDS` promises, alive for the length of the call.
#[cold]
unsafe fn call_general(
    general: &Place,
    called: (*mut PyObject, *const *mut PyObject, ffi::Py_ssize_t, *mut PyObject),
) -> *mut PyObject {
    let (slf, args, count, names) = called;
    // SAFETY: the thread is attached; the token stays in this call.
    let py = unsafe { Python::assume_attached() };
    let named = if names.is_null() {
        0
    } else {
        // SAFETY: the caller's duty: a tuple.
        unsafe { ffi::PyTuple_Size(names) }
    };
    let count = usize::try_from(count).unwrap_or(0);
    let all = count + usize::try_from(named).unwrap_or(0);
    let mut objects = Vec::with_capacity(all + 1);
    objects.push(slf);
    if all > 0 {
        // SAFETY: the caller's duty: so many objects stand there.
        objects.extend_from_slice(unsafe { std::slice::from_raw_parts(args, all) });
    }
    let missing = || Err(pyo3::exceptions::PyRuntimeError::new_err("the queue's methods are not there"));
    match general.get_or_make(py, missing) {
        // SAFETY: the objects and the names are alive, and as many as we say.
        Ok(general) => unsafe { PyObject_Vectorcall(general.as_ptr(), objects.as_ptr(), count + 1, names) },
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

//! `call_soon` and its kin: what a program calls once for each callback.
//!
//! Arguments are read where the interpreter has put them, so that no tuple is made of them. To Python these are methods like any
//! other. PyO3 does not know that it is being called here: a `Py` that is dropped would be let go of later, so it is bound first.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use whichever_reactor::nanoseconds;

use super::core::{LoopCore, Ready, now, sweep};
use super::handle::{Call, Handle, TimerHandle};
use crate::raw_method;

type Object<'a, 'py> = Borrowed<'a, 'py, PyAny>;

/// A call as a program hands it in: what, with what, and in which context.
pub(super) struct Wanted<'a, 'py> {
    pub(super) callback: Object<'a, 'py>,
    pub(super) args: &'a [Object<'a, 'py>],
    pub(super) context: Option<Object<'a, 'py>>,
}

impl LoopCore {
    pub(super) fn soon(
        slf: &Bound<'_, Self>,
        wanted: &Wanted<'_, '_>,
        method: &str,
        push: impl FnOnce(&Self, Python<'_>, Ready),
    ) -> PyResult<Py<Handle>> {
        let py = slf.py();
        let core = slf.get();
        core.check_open()?;
        let traceback = Self::examine(slf, &wanted.callback, method)?;
        let handle = Handle::make(py, Call::once(core, wanted)?)?;
        if let Some(traceback) = traceback {
            handle.get().note_traceback(py, traceback);
        }
        push(core, py, Ready::Handle(handle.clone_ref(py)));
        Ok(handle)
    }

    /// Call with one argument in the next turn, in a context.
    pub(super) fn call_in(
        slf: &Bound<'_, Self>,
        call: (Bound<'_, PyAny>, &Bound<'_, PyAny>),
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let context = context.map(|own| own.into_bound(slf.py()));
        let wanted = Wanted {
            callback: call.0.as_borrowed(),
            args: &[call.1.as_borrowed()],
            context: context.as_ref().map(Bound::as_borrowed),
        };
        Self::soon(slf, &wanted, "call_soon", Self::push).map(drop)
    }

    fn timer(
        slf: &Bound<'_, Self>,
        when: f64,
        wanted: &Wanted<'_, '_>,
        method: &str,
    ) -> PyResult<Py<TimerHandle>> {
        let py = slf.py();
        let core = slf.get();
        core.check_open()?;
        let traceback = Self::examine(slf, &wanted.callback, method)?;
        let timer = TimerHandle::make(slf, when, Call::once(core, wanted)?)?;
        let handle = timer.bind(py).as_super().clone().unbind();
        if let Some(traceback) = traceback {
            handle.get().note_traceback(py, traceback);
        }
        let dead = core.agenda.with(py, |agenda| {
            agenda.timers.push(nanoseconds(when), handle);
            sweep(py, &mut agenda.timers)
        });
        dead.into_iter().for_each(|timer| drop(timer.into_bound(py)));
        Ok(timer)
    }
}

/// A method of the loop's that takes a callback.
trait Method {
    const NAME: &'static CStr;
    const DOC: &'static CStr;
    /// What its first argument is called, if that is a time.
    const TIME: Option<&'static str> = None;
    /// The name, for messages.
    const LABEL: &'static str = match Self::NAME.to_str() {
        Ok(name) => name,
        Err(_) => panic!("a method's name is text"),
    };

    fn call(
        slf: &Bound<'_, LoopCore>,
        time: Option<Object<'_, '_>>,
        wanted: &Wanted<'_, '_>,
    ) -> PyResult<Py<PyAny>>;
}

struct CallSoon;

impl Method for CallSoon {
    const NAME: &'static CStr = c"call_soon";
    const DOC: &'static CStr =
        c"call_soon($self, callback, *args, context=None)\n--\n\nRun a callback in the next turn.";

    fn call(
        slf: &Bound<'_, LoopCore>,
        _time: Option<Object<'_, '_>>,
        wanted: &Wanted<'_, '_>,
    ) -> PyResult<Py<PyAny>> {
        LoopCore::soon(slf, wanted, Self::LABEL, LoopCore::push).map(Py::into_any)
    }
}

struct CallSoonThreadsafe;

impl Method for CallSoonThreadsafe {
    const NAME: &'static CStr = c"call_soon_threadsafe";
    const DOC: &'static CStr = c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nRun a callback in the next turn; may be called by any thread.";

    fn call(
        slf: &Bound<'_, LoopCore>,
        _time: Option<Object<'_, '_>>,
        wanted: &Wanted<'_, '_>,
    ) -> PyResult<Py<PyAny>> {
        LoopCore::soon(slf, wanted, Self::LABEL, LoopCore::push_shared).map(Py::into_any)
    }
}

struct CallLater;

impl Method for CallLater {
    const NAME: &'static CStr = c"call_later";
    const DOC: &'static CStr =
        c"call_later($self, delay, callback, *args, context=None)\n--\n\nRun a callback in `delay` seconds.";
    const TIME: Option<&'static str> = Some("delay");

    fn call(
        slf: &Bound<'_, LoopCore>,
        time: Option<Object<'_, '_>>,
        wanted: &Wanted<'_, '_>,
    ) -> PyResult<Py<PyAny>> {
        let delay = seconds(time, "delay must not be None")?;
        LoopCore::timer(slf, now() + delay, wanted, Self::LABEL).map(Py::into_any)
    }
}

struct CallAt;

impl Method for CallAt {
    const NAME: &'static CStr = c"call_at";
    const DOC: &'static CStr = c"call_at($self, when, callback, *args, context=None)\n--\n\nRun a callback at a time of the loop's clock.";
    const TIME: Option<&'static str> = Some("when");

    fn call(
        slf: &Bound<'_, LoopCore>,
        time: Option<Object<'_, '_>>,
        wanted: &Wanted<'_, '_>,
    ) -> PyResult<Py<PyAny>> {
        let when = seconds(time, "when cannot be None")?;
        LoopCore::timer(slf, when, wanted, Self::LABEL).map(Py::into_any)
    }
}

/// Give the class its methods.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    add::<CallSoon>(py)?;
    add::<CallSoonThreadsafe>(py)?;
    add::<CallLater>(py)?;
    add::<CallAt>(py)
}

fn add<M: Method>(py: Python<'_>) -> PyResult<()> {
    raw_method::set::<LoopCore>(py, M::NAME, M::DOC, enter::<M>)
}

fn seconds(value: Option<Object<'_, '_>>, refusal: &'static str) -> PyResult<f64> {
    let value = value.filter(|value| !value.is_none()).ok_or_else(|| PyTypeError::new_err(refusal))?;
    value.extract()
}

/// Do a method's work, and answer as the interpreter expects it: an object, or null and an exception.
///
/// # Safety
/// 1. The thread is attached, and `slf` is a `LoopCore`.
/// 2. The others are what `METH_FASTCALL | METH_KEYWORDS` promises, alive for the length of the call.
unsafe extern "C" fn enter<M: Method>(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: duty 1; the token stays in this call.
    let py = unsafe { Python::assume_attached() };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: duty 1, and the caller holds it.
        let slf = unsafe { Borrowed::from_ptr(py, slf) };
        // SAFETY: duty 1: a method of the class refuses any other object.
        let slf = unsafe { slf.cast_unchecked::<LoopCore>() };
        // SAFETY: duty 2: a tuple, or null.
        let names = unsafe { Borrowed::from_ptr_or_opt(py, names) };
        // SAFETY: duty 2.
        let names = names.map(|names| unsafe { names.cast_unchecked::<PyTuple>() });
        let positional = usize::try_from(count).unwrap_or(0);
        let length = positional + names.map_or(0, |names| names.len());
        let values = if length == 0 {
            &[]
        } else {
            // SAFETY: 1. duty 2: so many objects stand there, all alive.
            //         2. a `Borrowed` is a pointer that is not null, and nothing else.
            unsafe { std::slice::from_raw_parts(args.cast::<Object<'_, '_>>(), length) }
        };
        let (positional, named) = values.split_at(positional);
        let (time, wanted) = Vector { positional, named, names }.read(M::LABEL, M::TIME)?;
        M::call(&slf, time, &wanted)
    }));
    let error = match answer {
        Ok(Ok(object)) => return object.into_ptr(),
        Ok(Err(error)) => error,
        Err(_) => PanicException::new_err("panic in an event loop"),
    };
    error.restore(py);
    std::ptr::null_mut()
}

/// What a method was called with, where the interpreter keeps it.
struct Vector<'a, 'py> {
    positional: &'a [Object<'a, 'py>],
    /// The values of keywords, in the order of their names.
    named: &'a [Object<'a, 'py>],
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

impl<'a, 'py> Vector<'a, 'py> {
    /// Read `([time,] callback, *args, context=None)`.
    fn read(&self, method: &str, time: Option<&str>) -> PyResult<(Option<Object<'a, 'py>>, Wanted<'a, 'py>)> {
        let before = usize::from(time.is_some());
        let mut given = [None; 2];
        let (leading, args) = self.positional.split_at(self.positional.len().min(before + 1));
        for (place, value) in given.iter_mut().skip(1 - before).zip(leading) {
            *place = Some(*value);
        }
        let mut context = None;
        if let Some(names) = self.names {
            for (name, value) in names.iter_borrowed().zip(self.named) {
                let name = name.cast::<PyString>()?;
                let name = name.to_str()?;
                let place = match name {
                    "context" => &mut context,
                    "callback" => &mut given[1],
                    name if Some(name) == time => &mut given[0],
                    _ => {
                        return Err(refusal(method, &format!("got an unexpected keyword argument '{name}'")));
                    }
                };
                if place.replace(*value).is_some() {
                    return Err(refusal(method, &format!("got multiple values for argument '{name}'")));
                }
            }
        }
        let missing = |name| refusal(method, &format!("missing required argument '{name}'"));
        if let (Some(time), None) = (time, given[0]) {
            return Err(missing(time));
        }
        let callback = given[1].ok_or_else(|| missing("callback"))?;
        Ok((given[0], Wanted { callback, args, context }))
    }
}

fn refusal(method: &str, why: &str) -> PyErr {
    PyTypeError::new_err(format!("{method}() {why}"))
}

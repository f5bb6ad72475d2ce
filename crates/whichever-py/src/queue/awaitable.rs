//! What `aget`, `aput` and `async for` give a task to await: a coroutine that has no frame.
//!
//! Most tasks find an item, or a place, when they look. Then this object answers at the first step and that was all. If it
//! cannot, it begins the coroutine in Python that can wait, and from then on passes everything on to it. Nothing is taken
//! before the first step, so that an object that is never awaited has taken nothing; it warns as a coroutine does.
//!
//! The class is made by hand: PyO3 knows no way to answer an `await` without an exception (`am_send`), and its wrappers would
//! take longer than the queue. PyO3 does not know that it is being called here; what may drop a `Py` attaches first.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyNone, PyString, PyTuple};

use super::core::QueueCore;
use super::stop;
use crate::lasting::{Lasting, name};

/// What a task wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// An item.
    Get,
    /// The next item of an iteration.
    Next,
    /// A place for an item.
    Put,
}

impl Errand {
    /// The method that was called.
    fn name(self) -> &'static str {
        match self {
            Self::Get => "aget",
            Self::Next => "__anext__",
            Self::Put => "aput",
        }
    }
}

/// Nothing was done yet.
const FRESH: u8 = 0;
/// Somebody takes the first step.
const BEGUN: u8 = 1;
/// `inner` does the rest.
const INNER: u8 = 2;
/// Answered, closed, or failed.
const OVER: u8 = 3;

/// Words that every object begins with.
#[cfg(not(Py_GIL_DISABLED))]
const HEAD: usize = 2;
#[cfg(Py_GIL_DISABLED)]
const HEAD: usize = 4;

/// An object of our class.
#[repr(C)]
struct Awaitable {
    /// The interpreter's.
    head: [usize; HEAD],
    /// The queue; a reference of ours, until a collector clears us.
    queue: AtomicPtr<PyObject>,
    /// The item to put, a reference of ours, or null.
    item: AtomicPtr<PyObject>,
    /// The coroutine that waits, a reference of ours, or null.
    inner: AtomicPtr<PyObject>,
    /// One of the above.
    state: AtomicU8,
    errand: Errand,
    /// An item went out by `StopIteration`, which may still have it.
    has_raised: AtomicU8,
}

/// How a step ended.
enum Step {
    /// This is what was awaited.
    Answered(Py<PyAny>),
    /// The task is to wait for this.
    Waits(Py<PyAny>),
}

/// Objects that are over, to be used again: most live only for the length of an `await`. Only touched with the GIL; without
/// one none is kept.
mod spare {
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use pyo3::ffi::{self, PyObject};
    use pyo3::prelude::*;

    use super::{Awaitable, FRESH};

    /// The most that are kept.
    const MOST: usize = 16;
    /// The first; each has the next one in the place of its queue.
    static FIRST: AtomicPtr<PyObject> = AtomicPtr::new(null_mut());
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    /// Make one that is kept as good as new.
    #[inline]
    pub(super) fn take<'py>(class: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let first = FIRST.load(Ordering::Relaxed);
        if first.is_null() {
            return None;
        }
        // SAFETY: what is kept is the memory of one of ours, and nobody else has it.
        let own = unsafe { &*first.cast::<Awaitable>() };
        FIRST.store(own.queue.load(Ordering::Relaxed), Ordering::Relaxed);
        COUNT.store(COUNT.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        own.state.store(FRESH, Ordering::Relaxed);
        own.has_raised.store(0, Ordering::Relaxed);
        // SAFETY: memory of an object of this class, with a collector's words before it.
        unsafe { ffi::PyObject_Init(first, class.as_ptr().cast()) };
        // SAFETY: it is not tracked: it was taken off when it ended.
        unsafe { ffi::PyObject_GC_Track(first.cast()) };
        // SAFETY: the reference that was made with it.
        Some(unsafe { Bound::from_owned_ptr(class.py(), first) })
    }

    /// Keep the memory of one that has ended, its places empty; false when there are enough.
    #[inline]
    pub(super) fn keep(ended: *mut PyObject) -> bool {
        let count = COUNT.load(Ordering::Relaxed);
        if cfg!(Py_GIL_DISABLED) || count == MOST {
            return false;
        }
        // SAFETY: it is one of ours, and nobody else has it.
        let own = unsafe { &*ended.cast::<Awaitable>() };
        own.queue.store(FIRST.load(Ordering::Relaxed), Ordering::Relaxed);
        FIRST.store(ended, Ordering::Relaxed);
        COUNT.store(count + 1, Ordering::Relaxed);
        true
    }
}

static CLASS: Lasting<PyAny> = Lasting::new();

/// Make one. PyO3 need not know that the thread is attached.
#[inline]
pub(super) fn awaitable<'py>(
    queue: &Bound<'py, QueueCore>,
    errand: Errand,
    item: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = queue.py();
    let class = CLASS.get_or_make(py, || make_class(py))?;
    let made = spare::take(class).map_or_else(|| allocate(class), Ok)?;
    let own = made.as_ptr().cast::<Awaitable>();
    // SAFETY: an object of the class has these places, all of them zero, and nobody else has it yet.
    unsafe {
        (&raw mut (*own).errand).write(errand);
        (*own).queue.store(queue.clone().into_ptr(), Ordering::Relaxed);
        (*own).item.store(item.map_or(null_mut(), |item| item.clone().into_ptr()), Ordering::Relaxed);
    }
    Ok(made)
}

fn allocate<'py>(class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a class, which is made with the allocator that fits.
    let made = unsafe { ffi::PyType_GenericAlloc(class.as_ptr().cast(), 0) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(class.py(), made) }
}

impl Awaitable {
    /// Go on with what `sent` says, which is None but for a coroutine that was told otherwise.
    #[inline]
    fn step(&self, py: Python<'_>, sent: &Bound<'_, PyAny>) -> PyResult<Step> {
        if self.state.load(Ordering::Acquire) != FRESH {
            return self.resume(py, sent);
        }
        if !sent.is_none() {
            return Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine"));
        }
        if !self.pass(FRESH, BEGUN) {
            return Err(reused(BEGUN));
        }
        match self.answer(py) {
            Some(answer) => {
                self.state.store(OVER, Ordering::Release);
                Ok(Step::Answered(answer.unbind()))
            }
            None => self.begin().and_then(|()| self.resume(py, sent)),
        }
    }

    /// Do it, if it can be done now.
    #[inline]
    fn answer<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let queue = self.queue.load(Ordering::Relaxed);
        // SAFETY: null, or an object that the reference in its place keeps alive, while nobody clears us: we are being called.
        let queue = unsafe { Borrowed::from_ptr_or_opt(py, queue) }?;
        // SAFETY: `awaitable` has put it there.
        let queue = unsafe { queue.cast_unchecked::<QueueCore>() }.get();
        if self.errand != Errand::Put {
            return queue.get_now(py);
        }
        let item = self.item.load(Ordering::Relaxed);
        // SAFETY: as for the queue.
        let item = unsafe { Borrowed::from_ptr_or_opt(py, item) }?;
        queue.put_now(&item).then(|| py.None().into_bound(py))
    }

    /// Have the coroutine made that can wait.
    #[cold]
    fn begin(&self) -> PyResult<()> {
        Python::attach(|py| {
            let inner = taken(py, &self.queue).map_or_else(
                || Err(reused(OVER)),
                |queue| match (self.errand, taken(py, &self.item)) {
                    (Errand::Get, _) => queue.call_method0(name!(py, "_aget")),
                    (Errand::Next, _) => queue.call_method0(name!(py, "_anext")),
                    (Errand::Put, item) => queue.call_method1(name!(py, "_aput"), (item,)),
                },
            );
            let state = if inner.is_ok() { INNER } else { OVER };
            let inner = inner.map(|inner| self.inner.store(inner.into_ptr(), Ordering::Relaxed));
            self.state.store(state, Ordering::Release); // pairs with the load in `step`
            inner
        })
    }

    fn resume(&self, py: Python<'_>, sent: &Bound<'_, PyAny>) -> PyResult<Step> {
        let inner = self.inner(py)?;
        let mut result = null_mut();
        // SAFETY: the thread is attached; the objects are alive, and the place is ours.
        let ended = unsafe { ffi::PyIter_Send(inner.as_ptr(), sent.as_ptr(), &raw mut result) };
        // SAFETY: a new reference, or null with an exception set.
        let result = unsafe { Bound::from_owned_ptr_or_err(py, result) }?.unbind();
        Ok(match ended {
            ffi::PySendResult::PYGEN_RETURN => Step::Answered(result),
            _ => Step::Waits(result),
        })
    }

    /// The coroutine that waits.
    fn inner<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let state = self.state.load(Ordering::Acquire);
        let inner = self.inner.load(Ordering::Relaxed);
        // SAFETY: null, or an object that the reference in its place keeps alive, while nobody clears us: we are being called.
        let inner = unsafe { Borrowed::from_ptr_or_opt(py, inner) }.filter(|_| state == INNER);
        inner.map(|inner| inner.to_owned()).ok_or_else(|| reused(state))
    }

    /// Go from one state to another, unless somebody else was faster.
    #[inline]
    fn pass(&self, from: u8, to: u8) -> bool {
        if cfg!(Py_GIL_DISABLED) {
            return self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        }
        // The GIL keeps others away.
        let is_so = self.state.load(Ordering::Relaxed) == from;
        if is_so {
            self.state.store(to, Ordering::Relaxed);
        }
        is_so
    }
}

fn reused(state: u8) -> PyErr {
    PyRuntimeError::new_err(match state {
        BEGUN => "coroutine is being awaited already",
        _ => "cannot reuse already awaited coroutine",
    })
}

/// Take what lies in a place.
fn taken<'py>(py: Python<'py>, place: &AtomicPtr<PyObject>) -> Option<Bound<'py, PyAny>> {
    let object = if cfg!(Py_GIL_DISABLED) {
        place.swap(null_mut(), Ordering::Relaxed)
    } else {
        let object = place.load(Ordering::Relaxed); // the GIL keeps others away
        place.store(null_mut(), Ordering::Relaxed);
        object
    };
    // SAFETY: null, or the reference that the place had.
    unsafe { Bound::from_owned_ptr_or_opt(py, object) }
}

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
    let work = |_: Python<'_>, own: &Awaitable| {
        if own.pass(FRESH, BEGUN) {
            own.begin()?;
        }
        Python::attach(|py| {
            // SAFETY: `METH_VARARGS`: a tuple that the caller holds.
            let args = unsafe { Borrowed::from_ptr(py, args).cast_unchecked::<PyTuple>() };
            let thrown = own.inner(py)?.call_method1(name!(py, "throw"), args.to_owned())?;
            Ok(thrown.into_ptr())
        })
    };
    // SAFETY: a method of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `close()`.
unsafe extern "C" fn close(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    let work = |_: Python<'_>, own: &Awaitable| {
        Python::attach(|py| {
            if !own.pass(FRESH, OVER)
                && let Ok(inner) = own.inner(py)
            {
                inner.call_method0(name!(py, "close"))?;
            }
            Ok(py.None().into_ptr())
        })
    };
    // SAFETY: a method of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `__name__` and `__qualname__`, which asyncio shows.
unsafe extern "C" fn name_of(slf: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    let work = |py: Python<'_>, own: &Awaitable| Ok(PyString::new(py, own.errand.name()).into_ptr());
    // SAFETY: an attribute of the class refuses any other object.
    unsafe { enter(slf, work) }.unwrap_or(null_mut())
}

/// `cr_await`: what it waits for, for those who show where a task stands.
unsafe extern "C" fn waits_for(slf: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    let work =
        |py: Python<'_>, own: &Awaitable| Ok(own.inner(py).map_or_else(|_| py.None().into_ptr(), Bound::into_ptr));
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
        warn(py, own.errand);
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
    Python::attach(|_| {
        let raised = PyErr::take(py);
        if let Err(error) = PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyRuntimeWarning>(), message, 1) {
            error.write_unraisable(py, None);
        }
        if let Some(raised) = raised {
            raised.restore(py);
        }
    });
}

const fn method(name: &'static CStr, meth: ffi::PyMethodDefPointer, flags: c_int, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth: meth, ml_flags: flags, ml_doc: doc.as_ptr() }
}

const fn attribute(name: &'static CStr, get: ffi::getter, doc: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), set: None, doc: doc.as_ptr(), closure: null_mut() }
}

fn make_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // A class refers to these for ever.
    let methods = Box::leak(Box::new([
        method(c"send", ffi::PyMethodDefPointer { PyCFunction: send_method }, ffi::METH_O, c"send($self, value, /)\n--\n\nTake a step."),
        method(c"throw", ffi::PyMethodDefPointer { PyCFunction: throw }, ffi::METH_VARARGS, c"Raise an exception where it waits."),
        method(c"close", ffi::PyMethodDefPointer { PyCFunction: close }, ffi::METH_NOARGS, c"close($self, /)\n--\n\nEnd it."),
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

//! What `aget`, `aput` and `async for` give a task to await: a coroutine that has no frame.
//!
//! Most tasks find an item, or a place, when they look. Then this object answers at the first step and that was all. If it
//! cannot, it begins the coroutine in Python that can wait, and from then on passes everything on to it. Nothing is taken
//! before the first step, so that an object that is never awaited has taken nothing; it warns as a coroutine does.
//!
//! The class is made by hand: PyO3 knows no way to answer an `await` without an exception (`am_send`), and its wrappers would
//! take longer than the queue. PyO3 does not know that it is being called here: a `Py` that is dropped would be let go of later,
//! so each is bound first.

mod class;
mod spare;

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::core::QueueCore;
use crate::lasting::{Lasting, name};

/// What a task wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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
    /// An `Errand`.
    errand: AtomicU8,
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

static CLASS: Lasting<PyAny> = Lasting::new();

/// Make one. PyO3 need not know that the thread is attached.
#[inline]
pub(super) fn awaitable<'py>(
    queue: &Bound<'py, QueueCore>,
    errand: Errand,
    item: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = queue.py();
    let class = CLASS.get_or_make(py, || class::make_class(py))?;
    let made = spare::take(class).map_or_else(|| allocate(class), Ok)?;
    let own = made.as_ptr().cast::<Awaitable>();
    // SAFETY: an object of the class has these places, and each is an atomic that is zero.
    let own = unsafe { &*own };
    own.errand.store(errand as u8, Ordering::Relaxed);
    own.queue.store(queue.clone().into_ptr(), Ordering::Relaxed);
    own.item.store(item.map_or(null_mut(), |item| item.clone().into_ptr()), Ordering::Relaxed);
    Ok(made)
}

fn allocate<'py>(class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a class, which is made with the allocator that fits.
    let made = unsafe { ffi::PyType_GenericAlloc(class.as_ptr().cast(), 0) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(class.py(), made) }
}

impl Awaitable {
    fn errand(&self) -> Errand {
        match self.errand.load(Ordering::Relaxed) {
            word if word == Errand::Get as u8 => Errand::Get,
            word if word == Errand::Next as u8 => Errand::Next,
            _ => Errand::Put,
        }
    }

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
            None => self.begin(py).and_then(|()| self.resume(py, sent)),
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
        if self.errand() != Errand::Put {
            return queue.get_now(py);
        }
        let item = self.item.load(Ordering::Relaxed);
        // SAFETY: as for the queue.
        let item = unsafe { Borrowed::from_ptr_or_opt(py, item) }?;
        queue.put_now(&item).then(|| py.None().into_bound(py))
    }

    /// Have the coroutine made that can wait.
    #[cold]
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        let inner = taken(py, &self.queue).map_or_else(
            || Err(reused(OVER)),
            |queue| match (self.errand(), taken(py, &self.item)) {
                (Errand::Get, _) => queue.call_method0(name!(py, "_aget")),
                (Errand::Next, _) => queue.call_method0(name!(py, "_anext")),
                (Errand::Put, item) => queue.call_method1(name!(py, "_aput"), (item,)),
            },
        );
        let state = if inner.is_ok() { INNER } else { OVER };
        let inner = inner.map(|inner| self.inner.store(inner.into_ptr(), Ordering::Relaxed));
        self.state.store(state, Ordering::Release); // pairs with the load in `step`
        inner
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

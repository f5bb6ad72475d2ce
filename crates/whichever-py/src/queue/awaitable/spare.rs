//! Objects that are over, to be used again: most live only for the length of an `await`. Only touched with the GIL; without one
//! none is kept.

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

//! The context that callbacks are to see, kept once for all those that were scheduled in the same circumstances.
//!
//! A callback without a context of its own runs in a copy of the one that its scheduler ran in. A copy costs little while it
//! comes from the interpreter's store of used ones; copies that wait, one in each handle, are new objects that the collector
//! looks at again and again. So handles share one copy that nobody enters, and get a copy of that when they run.
//!
//! Two contexts are the same when they hold the very same map of variables: to set one is to make a new map. Where the map is, the
//! interpreter tells its collector, and so us.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::brief::Brief;
use super::call::{copy_context, copy_of};

/// The context that a call is made in.
pub(super) enum Scope {
    /// This one.
    Own(Py<PyAny>),
    /// A copy of this one, which others share and nobody enters.
    CopyOf(Py<PyAny>),
}

impl Scope {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Own(context) => Self::Own(context.clone_ref(py)),
            Self::CopyOf(context) => Self::CopyOf(context.clone_ref(py)),
        }
    }

    /// A context that may be entered.
    pub(super) fn into_own(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Own(context) => Ok(context),
            Self::CopyOf(context) => copy_of(py, &context),
        }
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let (Self::Own(context) | Self::CopyOf(context)) = self;
        visit.call(context)
    }
}

/// What the last callback saw.
struct Seen {
    context: Py<PyAny>,
    /// The address of its map of variables, which it keeps alive.
    map: usize,
}

/// A loop's memory of what the last callback saw.
pub(super) struct Snapshot(Brief<Option<Seen>>);

impl Snapshot {
    pub(super) fn new() -> Self {
        Self(Brief::new(None))
    }

    /// What a callback is to see that is scheduled now.
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<Scope> {
        let copy = copy_context(py)?.into_bound(py);
        let map = map_of(&copy);
        let known = self.0.with(py, |seen| {
            seen.as_ref().filter(|seen| seen.map == map.addr()).map(|seen| seen.context.clone_ref(py))
        });
        if let Some(context) = known {
            return Ok(Scope::CopyOf(context));
        }
        if !is_map(py, map) {
            return Ok(Scope::Own(copy.unbind()));
        }
        let seen = Seen { context: copy.clone().unbind(), map: map.addr() };
        let before = self.0.with(py, |own| own.replace(seen));
        // Bound, because PyO3 may not know that this thread is attached, and would let go of it later.
        drop(before.map(|seen| seen.context.into_bound(py)));
        Ok(Scope::CopyOf(copy.unbind()))
    }

    /// Forget it, lest a loop that idles keep alive what a program has long let go.
    pub(super) fn forget(&self, py: Python<'_>) {
        let before = self.0.with(py, Option::take);
        drop(before);
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let seen = self.0.peek(|seen| seen.as_ref().map(|seen| visit.call(&seen.context)));
        seen.flatten().unwrap_or(Ok(()))
    }
}

/// The one object that a copy of a context refers to; null if they are more, or none.
fn map_of(copy: &Bound<'_, PyAny>) -> *mut PyObject {
    static TRAVERSE: OnceLock<Option<ffi::traverseproc>> = OnceLock::new();
    let traverse = TRAVERSE.get_or_init(|| {
        // SAFETY: it is the type of a living object, and its slot is read only.
        let slot = unsafe { ffi::PyType_GetSlot(copy.get_type_ptr(), ffi::Py_tp_traverse) };
        // SAFETY: the slot of this number holds null or a function of this type; both fit the option.
        unsafe { std::mem::transmute::<*mut c_void, Option<ffi::traverseproc>>(slot) }
    });
    let mut found = Found { object: null_mut(), count: 0 };
    if let Some(traverse) = traverse {
        // SAFETY: 1. the object is of the type whose slot this is: contexts have no subclasses.
        //         2. nobody else has the copy, so nobody changes it; `note` takes what it is given.
        unsafe { traverse(copy.as_ptr(), note, (&raw mut found).cast()) };
    }
    if found.count == 1 { found.object } else { null_mut() }
}

struct Found {
    object: *mut PyObject,
    count: usize,
}

unsafe extern "C" fn note(object: *mut PyObject, found: *mut c_void) -> c_int {
    // SAFETY: `map_of` passes its own, which outlives the traversal.
    let found = unsafe { &mut *found.cast::<Found>() };
    found.object = object;
    found.count += 1;
    0
}

/// Whether what a copy refers to is a map of variables: a Python that keeps them elsewhere gets no snapshots.
fn is_map(py: Python<'_>, found: *mut PyObject) -> bool {
    // SAFETY: it is null, or kept alive by the copy, which the caller holds.
    let found = unsafe { Bound::from_borrowed_ptr_or_opt(py, found) };
    found.is_some_and(|found| found.get_type().name().is_ok_and(|name| name == "hamt"))
}

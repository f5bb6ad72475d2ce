//! A heap of Python objects, smallest first. A comparison that raises changes nothing.
//!
//! Comparisons run Python code, so they are all made before anything is moved, under a lock that is waited for
//! detached. The objects lie in a list, which the collector of garbage knows how to look into at any moment.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyList;
use whichever_sys::thread_id;

pub(super) struct Heap {
    objects: Py<PyList>,
    lock: Mutex<()>,
    /// The thread that holds the lock; 0 for none.
    owner: AtomicU32,
}

impl Heap {
    pub(super) fn new(py: Python<'_>) -> Self {
        Self { objects: PyList::empty(py).unbind(), lock: Mutex::new(()), owner: AtomicU32::new(0) }
    }

    /// The list, for the collector of garbage.
    pub(super) fn objects(&self) -> &Py<PyList> {
        &self.objects
    }

    /// Add an object.
    ///
    /// # Errors
    /// What comparing it raises.
    pub(super) fn push(&self, py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.locked(py, |list| {
            let mut free = list.len();
            let mut moves = Vec::new();
            while free > 0 {
                let parent = (free - 1) / 2;
                if !object.lt(list.get_item(parent)?)? {
                    break;
                }
                moves.push((free, parent));
                free = parent;
            }
            list.append(object)?;
            apply(list, &moves)?;
            list.set_item(free, object)
        })
    }

    /// Take the smallest out. There must be one.
    ///
    /// # Errors
    /// What comparing the others raises.
    pub(super) fn pop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.locked(py, |list| {
            let end =
                list.len().checked_sub(1).ok_or_else(|| PyRuntimeError::new_err("the heap is empty"))?;
            let last = list.get_item(end)?;
            let mut free = 0;
            let mut moves = Vec::new();
            while let Some(child) = smaller_child(list, free, end)? {
                if !list.get_item(child)?.lt(&last)? {
                    break;
                }
                moves.push((free, child));
                free = child;
            }
            let smallest = list.get_item(0)?;
            apply(list, &moves)?;
            list.set_item(free, last)?;
            list.del_item(end)?;
            Ok(smallest.unbind())
        })
    }

    fn locked<'py, R>(
        &self,
        py: Python<'py>,
        work: impl FnOnce(&Bound<'py, PyList>) -> PyResult<R>,
    ) -> PyResult<R> {
        let me = thread_id();
        if self.owner.load(Ordering::Relaxed) == me {
            let message = "a comparison of two items used the queue that compares them";
            return Err(PyRuntimeError::new_err(message));
        }
        let _held = self.lock.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        self.owner.store(me, Ordering::Relaxed);
        let done = work(self.objects.bind(py));
        self.owner.store(0, Ordering::Relaxed);
        done
    }
}

/// The smaller one of the children of `parent` among the first `end` objects.
fn smaller_child(list: &Bound<'_, PyList>, parent: usize, end: usize) -> PyResult<Option<usize>> {
    let (left, right) = (2 * parent + 1, 2 * parent + 2);
    if left >= end {
        return Ok(None);
    }
    if right >= end || list.get_item(left)?.lt(list.get_item(right)?)? {
        return Ok(Some(left));
    }
    Ok(Some(right))
}

/// Move objects: each pair is where to and where from.
fn apply(list: &Bound<'_, PyList>, moves: &[(usize, usize)]) -> PyResult<()> {
    moves.iter().try_for_each(|(to, from)| list.set_item(*to, list.get_item(*from)?))
}

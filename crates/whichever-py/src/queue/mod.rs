//! The queue's seam: one Python class over the queue inside this process and, once it has crossed, the depot in shared
//! memory.

mod awaitable;
mod core;
mod far;
mod heap;
mod near;
mod patience;
mod record;
mod shortcut;
mod stop;
mod watcher;

use pyo3::{PyErr, Python};

use crate::lasting::exception;

pub(crate) use core::QueueCore;
pub(crate) use shortcut::add_methods;

exception!("whichever.errors", QueueClosed);
exception!("whichever.errors", QueueEmpty);
exception!("whichever.errors", QueueFull);

/// What an attempt came to.
enum Done<T> {
    /// It was done.
    Done(T),
    /// It has to be done on the shared form.
    Moved,
}

fn full(py: Python<'_>) -> PyErr {
    QueueFull::new_err(py, "the queue is full")
}

fn empty(py: Python<'_>) -> PyErr {
    QueueEmpty::new_err(py, "the queue is empty")
}

fn closed_to_put(py: Python<'_>) -> PyErr {
    QueueClosed::new_err(py, "the queue is closed and takes nothing more")
}

fn closed_to_get(py: Python<'_>) -> PyErr {
    QueueClosed::new_err(py, "the queue is closed, and everything was taken out of it")
}

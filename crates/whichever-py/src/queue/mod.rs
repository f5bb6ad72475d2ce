//! The queue's seam: one Python class over the queue inside this process and, once it has crossed, the depot in shared
//! memory.

mod core;
mod far;
mod heap;
mod near;
mod patience;
mod record;
mod watcher;

use pyo3::import_exception;

pub(crate) use core::QueueCore;

import_exception!(whichever.errors, QueueClosed);
import_exception!(whichever.errors, QueueEmpty);
import_exception!(whichever.errors, QueueFull);

/// Find the exceptions while nobody else can: a child forked while another thread does it would wait for that thread.
pub(crate) fn find_exceptions(py: pyo3::Python<'_>) {
    use pyo3::PyTypeInfo;
    QueueClosed::type_object(py);
    QueueEmpty::type_object(py);
    QueueFull::type_object(py);
}

/// What an attempt came to.
enum Done<T> {
    /// It was done.
    Done(T),
    /// It has to be done on the shared form.
    Moved,
}

fn full() -> pyo3::PyErr {
    QueueFull::new_err("the queue is full")
}

fn empty() -> pyo3::PyErr {
    QueueEmpty::new_err("the queue is empty")
}

fn closed_to_put() -> pyo3::PyErr {
    QueueClosed::new_err("the queue is closed and takes nothing more")
}

fn closed_to_get() -> pyo3::PyErr {
    QueueClosed::new_err("the queue is closed, and everything was taken out of it")
}

//! A task of a thread pool: what is called, and where its outcome goes.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::run::Run;
use crate::ctrl_c;
use crate::future::{Outcome, Promise};
use crate::lasting::{exception, name};
use crate::outside;

exception!("concurrent.futures", CancelledError);

/// Where a task's outcome goes.
#[derive(Clone)]
pub(super) enum Target {
    Future(Arc<Promise>),
    /// The task of this index of a call of `map`.
    Item(Arc<Run>, u64),
}

/// A task that waits for a worker.
pub(super) struct Job {
    pub(super) target: Target,
    /// The function, or `run` of the context that it is to run in.
    pub(super) call: Py<PyAny>,
    /// Its arguments; behind the function, when `call` is a context's `run`.
    pub(super) args: Py<PyTuple>,
    pub(super) kwargs: Option<Py<PyDict>>,
    /// How long it may run; 0 for as long as it likes.
    pub(super) timeout_ns: u64,
}

impl Target {
    /// Whether it is to run: nobody has cancelled it. It counts as running then.
    pub(super) fn start(&self) -> bool {
        match self {
            Self::Future(promise) => promise.phase().start().is_ok(),
            Self::Item(run, index) => run.begin(*index),
        }
    }

    /// Cancel it, and tell who wants to know. False when it was cancelled already.
    pub(super) fn cancel(&self, py: Python<'_>) -> bool {
        match self {
            Self::Future(promise) => {
                let cancelled = promise.cancel().is_ok();
                tell(py, promise);
                cancelled
            }
            Self::Item(run, index) => {
                let cancelled = CancelledError::new_err(py, ()).into_value(py).into_any();
                run.settle(*index, Outcome::Error(cancelled)).is_ok()
            }
        }
    }

    /// End it with an outcome that no run of it has made, and tell who wants to know.
    pub(super) fn end(&self, py: Python<'_>, outcome: Outcome) {
        match self {
            Self::Future(promise) => {
                if promise.keep(outcome) && promise.finish().is_ok() {
                    tell(py, promise);
                }
            }
            Self::Item(run, index) => drop(run.settle(*index, outcome)),
        }
    }
}

/// Tell who listens to a future that it has ended. Errors of callbacks are nobody's: they are reported and dropped.
pub(super) fn tell(py: Python<'_>, promise: &Promise) {
    if let Some(future) = promise.take_listener()
        && let Err(error) = outside::call_method(future.bind(py), name!(py, "_tell"), ())
    {
        ctrl_c::report(py, error, Some(future.bind(py)));
    }
}

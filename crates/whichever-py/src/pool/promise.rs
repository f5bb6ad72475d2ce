//! The state behind a future: how its task ended, and who wants to be told.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::OnceLockExt;
use whichever_pool::{Ended, Why};

use super::shared::Shared;

const PENDING: u8 = 0;
const CANCELLED: u8 = 1;
const FINISHED: u8 = 2;

/// A task's end, made into Python objects.
pub(super) enum Outcome {
    Value(Py<PyAny>),
    Error(Py<PyAny>),
}

/// What `listen` found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The future will be told.
    Later,
    /// The task has ended, and nobody will tell the future of it.
    Ended,
    /// The task has ended, and the future is being told.
    Soon,
}

#[derive(Default)]
struct Inner {
    ended: Option<Ended>,
    /// The future, while somebody wants to be told.
    listener: Option<Py<PyAny>>,
    told: bool,
    /// The worker's token and the task's position there, while it is with a worker.
    place: Option<(u64, u64)>,
}

/// See the module.
pub(super) struct Promise {
    state: AtomicU8,
    inner: Mutex<Inner>,
    outcome: OnceLock<Outcome>,
    shared: OnceLock<Arc<Shared>>,
}

impl Promise {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(PENDING),
            inner: Mutex::default(),
            outcome: OnceLock::new(),
            shared: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tie it to the pool that runs its task.
    pub(super) fn belong(&self, shared: &Arc<Shared>) {
        // Set once, when the task is submitted.
        let _first = self.shared.set(Arc::clone(shared));
    }

    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.get()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.state.load(Ordering::Acquire) != PENDING
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    pub(super) fn place(&self, at: Option<(u64, u64)>) {
        self.lock().place = at;
    }

    pub(super) fn placed(&self) -> Option<(u64, u64)> {
        self.lock().place
    }

    /// Keep how the task ended. True when a listener is to be told.
    pub(super) fn settle(&self, ended: Ended) -> bool {
        let mut inner = self.lock();
        inner.place = None;
        if self.is_settled() {
            return false;
        }
        let state = match ended {
            Ended::Dropped | Ended::Stopped(Why::Cancelled) => CANCELLED,
            _ => FINISHED,
        };
        inner.ended = Some(ended);
        // Release: whoever sees the state finds `ended`.
        self.state.store(state, Ordering::Release);
        inner.listener.is_some()
    }

    /// Settle with an outcome that is there already. False when it had ended before.
    pub(super) fn complete(&self, outcome: Outcome) -> bool {
        let inner = self.lock();
        if self.is_settled() || self.outcome.set(outcome).is_err() {
            return false;
        }
        self.state.store(FINISHED, Ordering::Release);
        drop(inner);
        true
    }

    /// Become cancelled, unless the task has ended.
    pub(super) fn cancel(&self) -> bool {
        let _inner = self.lock();
        self.state.compare_exchange(PENDING, CANCELLED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Have `future` told when the task ends.
    pub(super) fn listen(&self, future: &Bound<'_, PyAny>) -> Heard {
        let mut inner = self.lock();
        if self.is_settled() {
            return if inner.listener.is_some() && !inner.told { Heard::Soon } else { Heard::Ended };
        }
        let is_first = inner.listener.is_none();
        if is_first {
            inner.listener = Some(future.clone().unbind());
        }
        drop(inner);
        if is_first && let Some(shared) = self.shared() {
            shared.hub().add_listener();
        }
        Heard::Later
    }

    /// Who is to be told, once.
    pub(super) fn take_listener(&self) -> Option<Py<PyAny>> {
        let mut inner = self.lock();
        if !self.is_settled() || inner.told {
            return None;
        }
        inner.told = inner.listener.is_some();
        inner.listener.take()
    }

    /// The Python object of the outcome, if it was made.
    pub(super) fn known_outcome(&self) -> Option<&Py<PyAny>> {
        self.outcome.get().map(|outcome| match outcome {
            Outcome::Value(object) | Outcome::Error(object) => object,
        })
    }

    /// The outcome as Python objects, made by the first who asks.
    pub(super) fn outcome(&self, py: Python<'_>) -> &Outcome {
        self.outcome.get_or_init_py_attached(py, || {
            let ended = self.lock().ended.take().unwrap_or(Ended::Dropped);
            match self.shared() {
                Some(shared) => shared.decode(py, ended),
                None => Outcome::Value(py.None()),
            }
        })
    }
}

//! The state behind a future: how its task ended, and who wants to be told.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::OnceLockExt;
use whichever_pool::{Ended, Why};
use whichever_sync::{Marks, Phase, State};

use crate::pool::Shared;
use crate::threads::Crew;

/// A task's end, made into Python objects.
pub(crate) enum Outcome {
    Value(Py<PyAny>),
    Error(Py<PyAny>),
}

/// Who runs the task.
pub(crate) enum Home {
    /// A process pool: who waits drains its rings.
    Processes(Arc<Shared>),
    /// A thread pool: who waits sleeps until its worker wakes him.
    Threads(Arc<Crew>),
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
    /// What a worker process left, until somebody asks for it.
    ended: Option<Ended>,
    /// The future, while somebody wants to be told. A future that was made by hand needs none: who settles it holds it.
    listener: Option<Py<PyAny>>,
    told: bool,
    /// The worker's token and the task's position there, while it is with a worker process.
    place: Option<(u64, u64)>,
}

/// See the module.
pub(crate) struct Promise {
    phase: Phase,
    inner: Mutex<Inner>,
    outcome: OnceLock<Outcome>,
    home: OnceLock<Home>,
}

impl Promise {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::default(),
            inner: Mutex::default(),
            outcome: OnceLock::new(),
            home: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tie it to the pool that runs its task.
    pub(crate) fn belong(&self, home: Home) {
        // Set once, when the task is submitted.
        let _first = self.home.set(home);
    }

    pub(super) fn home(&self) -> Option<&Home> {
        self.home.get()
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self.phase.state(), State::Cancelled | State::Notified)
    }

    pub(crate) fn place(&self, at: Option<(u64, u64)>) {
        self.lock().place = at;
    }

    pub(crate) fn placed(&self) -> Option<(u64, u64)> {
        self.lock().place
    }

    /// Keep how a task in a worker process ended. True when a listener is to be told.
    pub(crate) fn settle(&self, ended: Ended) -> bool {
        let is_cancelled = matches!(ended, Ended::Dropped | Ended::Stopped(Why::Cancelled));
        let mut inner = self.lock();
        inner.place = None;
        // Before the state: whoever sees that finds this. Who was settled by hand has an outcome and does not look.
        inner.ended = Some(ended);
        let settled = if is_cancelled { self.phase.stop() } else { self.phase.finish() };
        match settled {
            Ok(marks) => {
                self.wake(marks);
                inner.listener.is_some()
            }
            Err(_) => {
                inner.ended = None;
                false
            }
        }
    }

    /// Keep an outcome that is there already; who waits learns of it by `finish`. False when there is another.
    pub(crate) fn keep(&self, outcome: Outcome) -> bool {
        self.outcome.set(outcome).is_ok()
    }

    /// Show that the outcome is there, and wake who sleeps.
    ///
    /// # Errors
    /// The state that it has instead: it had ended.
    pub(crate) fn finish(&self) -> Result<Marks, State> {
        let marks = self.phase.finish()?;
        self.wake(marks);
        Ok(marks)
    }

    /// Become cancelled, unless the task has ended or runs where it cannot be stopped.
    pub(crate) fn cancel(&self) -> Result<Marks, State> {
        // Who waits for several futures is told at once by a pool, and by hand only when somebody takes notice.
        let marks = self.phase.cancel(self.home().is_some())?;
        self.wake(marks);
        Ok(marks)
    }

    pub(super) fn wake(&self, marks: Marks) {
        if marks.parked {
            self.phase.wake();
        }
    }

    /// Have `future` told when the task ends.
    pub(super) fn listen(&self, future: &Bound<'_, PyAny>) -> Heard {
        let Some(home) = self.home() else {
            return if self.phase.listen() { Heard::Later } else { Heard::Ended };
        };
        let mut inner = self.lock();
        if self.phase.is_settled() {
            return if inner.listener.is_some() && !inner.told { Heard::Soon } else { Heard::Ended };
        }
        let is_first = inner.listener.is_none();
        if is_first {
            inner.listener = Some(future.clone().unbind());
        }
        match home {
            Home::Processes(pool) => {
                drop(inner);
                if is_first {
                    pool.hub().add_listener();
                }
                Heard::Later
            }
            Home::Threads(_) if self.phase.listen() => Heard::Later,
            // It ended between the two looks, and its worker saw no mark.
            Home::Threads(_) => {
                inner.told = true;
                let future = inner.listener.take();
                drop(inner);
                drop(future);
                Heard::Ended
            }
        }
    }

    /// Who is to be told, once.
    pub(crate) fn take_listener(&self) -> Option<Py<PyAny>> {
        let mut inner = self.lock();
        if !self.phase.is_settled() || inner.told {
            return None;
        }
        inner.told = inner.listener.is_some();
        inner.listener.take()
    }

    /// Whether the outcome was made, or set by hand.
    pub(crate) fn has_outcome(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// The Python object of the outcome, if it was made.
    pub(super) fn known_outcome(&self) -> Option<&Py<PyAny>> {
        self.outcome.get().map(|outcome| match outcome {
            Outcome::Value(object) | Outcome::Error(object) => object,
        })
    }

    /// The outcome as Python objects, made by the first who asks.
    pub(super) fn outcome(&self, py: Python<'_>) -> &Outcome {
        self.outcome.get_or_init_py_attached(py, || match self.home() {
            Some(Home::Processes(pool)) => {
                let ended = self.lock().ended.take().unwrap_or(Ended::Dropped);
                pool.decode(py, ended)
            }
            _ => Outcome::Value(py.None()),
        })
    }
}

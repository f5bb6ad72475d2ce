//! Sleeping with Python around: detached, until somebody wakes us or a signal handler has run.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use pyo3::prelude::*;
use whichever_sync::{Spin, Waited};
use whichever_sys::monotonic_ns;

use crate::threads::Crew;

/// How long the main thread sleeps at most before it looks for signals. Mostly the signal itself ends its sleep; this is
/// for one that arrives just before.
const TICK: Duration = Duration::from_millis(50);

thread_local! {
    static SPIN: RefCell<Spin> = RefCell::new(Spin::new());
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

/// When to give up.
#[derive(Clone, Copy)]
pub(crate) struct Limit(Option<u64>);

impl Limit {
    /// No limit.
    pub(crate) const NEVER: Self = Self(None);

    /// From now on; negative means now, None and infinity never.
    ///
    /// # Errors
    /// When `seconds` is not a number.
    pub(crate) fn from_seconds(seconds: Option<f64>) -> PyResult<Self> {
        let Some(seconds) = seconds else { return Ok(Self::NEVER) };
        if seconds.is_nan() {
            return Err(pyo3::exceptions::PyValueError::new_err(
                "timeout must be a number of seconds, not NaN",
            ));
        }
        let length = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self(monotonic_ns().checked_add(length_ns)))
    }

    /// The point in time, if there is one.
    pub(crate) fn deadline_ns(self) -> Option<u64> {
        self.0
    }

    /// Whether it is time.
    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|deadline| monotonic_ns() >= deadline)
    }

    /// How long to sleep now.
    fn slice(self) -> Option<Duration> {
        let left = self.0.map(|deadline| Duration::from_nanos(deadline.saturating_sub(monotonic_ns())));
        if !is_main_thread() {
            return left;
        }
        Some(left.map_or(TICK, |left| left.min(TICK)))
    }
}

/// Sleep by `sleep` until it says that what it waits for is there. False when the limit came first.
///
/// `crew`, if there is one, is told that a caller has gone to sleep: the GIL is free for its workers.
///
/// # Errors
/// What a signal handler raises.
pub(crate) fn park(
    py: Python<'_>,
    crew: Option<&Crew>,
    limit: Limit,
    sleep: &(dyn Fn(Option<Duration>, &mut Spin) -> Waited + Sync),
) -> PyResult<bool> {
    loop {
        let slice = limit.slice();
        if let Some(crew) = crew {
            crew.caller_sleeps();
        }
        let waited = py.detach(|| SPIN.with_borrow_mut(|spin| sleep(slice, spin)));
        if let Some(crew) = crew {
            crew.caller_is_back();
        }
        match waited {
            Waited::Ready => return Ok(true),
            Waited::TimedOut if limit.is_over() => return Ok(false),
            Waited::TimedOut | Waited::Interrupted => py.check_signals()?,
        }
    }
}

/// Whether signal handlers run in this thread.
pub(crate) fn is_main_thread() -> bool {
    IS_MAIN.get().unwrap_or_else(|| {
        let is_main = whichever_sys::thread_id() == std::process::id();
        IS_MAIN.set(Some(is_main));
        is_main
    })
}

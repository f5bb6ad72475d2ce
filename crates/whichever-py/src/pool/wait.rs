//! Waiting with Python around: detached while asleep, signals looked at, work for Python done in between.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use whichever_pool::{Crew, RingLink, Waited};
use whichever_sys::monotonic_ns;

use super::shared::{Shared, Target};

/// When to give up.
#[derive(Clone, Copy)]
pub(super) struct Limit(Option<u64>);

impl Limit {
    /// No limit.
    pub(super) const NEVER: Self = Self(None);

    /// From now on; negative means now, None and infinity never.
    ///
    /// # Errors
    /// When `seconds` is not a number.
    pub(super) fn from_seconds(seconds: Option<f64>) -> PyResult<Self> {
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

    fn is_over(self) -> bool {
        self.0.is_some_and(|deadline| monotonic_ns() >= deadline)
    }
}

/// What to wait for.
pub(super) enum Until<'a> {
    /// Something that needs no look at the pool.
    Flag(&'a (dyn Fn() -> bool + Sync)),
    /// A state of the pool.
    Crew(fn(&Crew<Target, RingLink>) -> bool),
}

impl Until<'_> {
    fn is_there(&self, shared: Option<&Arc<Shared>>) -> bool {
        match (self, shared) {
            (Self::Flag(flag), _) => flag(),
            (Self::Crew(state), Some(shared)) => shared.hub().look(|crew| state(crew)),
            (Self::Crew(_), None) => true,
        }
    }
}

/// Wait until `until`, draining `shared`'s pool. False when the limit came first.
///
/// One Ctrl-C stops what the pool runs.
///
/// # Errors
/// What a signal handler raises.
pub(super) fn wait_for(
    py: Python<'_>,
    shared: Option<&Arc<Shared>>,
    until: &Until<'_>,
    limit: Limit,
) -> PyResult<bool> {
    while !until.is_there(shared) {
        match shared {
            Some(shared) => {
                shared.refuse_foreign()?;
                let mut done = |crew: &Crew<Target, RingLink>| match until {
                    Until::Flag(flag) => flag(),
                    Until::Crew(state) => state(crew),
                };
                let waited = py.detach(|| shared.hub().wait(&mut done, limit.0));
                match waited {
                    Waited::Done => return Ok(true),
                    Waited::TimedOut => return Ok(false),
                    Waited::Work(effects) => shared.act(py, effects),
                    Waited::Interrupted => {}
                }
            }
            // A future that somebody made by hand: nobody rings when it is settled.
            None if limit.is_over() => return Ok(false),
            None => py.detach(|| std::thread::sleep(Duration::from_millis(1))),
        }
        if let Err(error) = py.check_signals() {
            if let Some(shared) = shared
                && error.is_instance_of::<PyKeyboardInterrupt>(py)
            {
                shared.interrupt(py);
            }
            return Err(error);
        }
    }
    Ok(true)
}

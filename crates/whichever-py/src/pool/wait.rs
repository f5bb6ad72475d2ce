//! Waiting for a process pool with Python around: detached while asleep, signals looked at, work for Python done in
//! between.

use std::sync::Arc;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use whichever_pool::{Crew, RingLink, Waited};

use super::shared::{Shared, Target};
use crate::future::Limit;

/// What to wait for.
pub(crate) enum Until<'a> {
    /// Something that needs no look at the pool.
    Flag(&'a (dyn Fn() -> bool + Sync)),
    /// A state of the pool.
    Crew(fn(&Crew<Target, RingLink>) -> bool),
}

impl Until<'_> {
    fn is_there(&self, shared: &Shared) -> bool {
        match self {
            Self::Flag(flag) => flag(),
            Self::Crew(state) => shared.hub().look(|crew| state(crew)),
        }
    }
}

/// Wait until `until`, draining `shared`'s pool. False when the limit came first.
///
/// One Ctrl-C stops what the pool runs.
///
/// # Errors
/// What a signal handler raises.
pub(crate) fn wait_for(
    py: Python<'_>,
    shared: &Arc<Shared>,
    until: &Until<'_>,
    limit: Limit,
) -> PyResult<bool> {
    while !until.is_there(shared) {
        shared.refuse_foreign()?;
        let mut done = |crew: &Crew<Target, RingLink>| match until {
            Until::Flag(flag) => flag(),
            Until::Crew(state) => state(crew),
        };
        let waited = py.detach(|| shared.hub().wait(&mut done, limit.deadline_ns()));
        match waited {
            Waited::Done => return Ok(true),
            Waited::TimedOut => return Ok(false),
            Waited::Work(effects) => shared.act(py, effects),
            Waited::Interrupted => {}
        }
        if let Err(error) = py.check_signals() {
            if error.is_instance_of::<PyKeyboardInterrupt>(py) {
                shared.interrupt(py);
            }
            return Err(error);
        }
    }
    Ok(true)
}

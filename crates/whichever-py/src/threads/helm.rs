//! How many workers of a pool may be at work, where that is to be found out: counts tasks, and asks the model.
//!
//! Only for pools that were told to `govern`; in others a task's end costs one load here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use whichever_model::{Governor, Reading};
use whichever_sys::{monotonic_ns, process_cpu_ns};

use super::crew::Crew;

/// The pool has as many workers as it was made with.
const NEVER: u64 = u64::MAX;

/// See the module.
pub(super) struct Helm {
    /// Tasks that have ended since it was told to govern.
    ended: AtomicU64,
    /// After how many of them to ask; `NEVER` where nobody is to be asked. Written under the governor's lock.
    due: AtomicU64,
    governor: Mutex<Option<Governor>>,
}

impl Helm {
    pub(super) const fn new() -> Self {
        Self { ended: AtomicU64::new(0), due: AtomicU64::new(NEVER), governor: Mutex::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Governor>> {
        self.governor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// Find out how many workers are of use, `most` at most, beginning with as many as there may be now.
    pub(super) fn govern(&self, most: usize) {
        let mut governor = self.helm.lock();
        let new = governor.get_or_insert_with(|| Governor::new(self.most_workers(), most));
        self.helm.due.store(new.due(), Ordering::Relaxed);
    }

    /// Other tasks will come than before.
    pub(super) fn govern_anew(&self) {
        let mut governor = self.helm.lock();
        if let Some(governor) = governor.as_mut() {
            governor.begin_anew(self.helm.ended.load(Ordering::Relaxed));
            self.helm.due.store(governor.due(), Ordering::Relaxed);
        }
    }

    /// A forecast says that so many workers are of use. False where nobody finds that out.
    pub(super) fn expect(&self, workers: usize) -> bool {
        let mut governor = self.helm.lock();
        let Some(governor) = governor.as_mut() else { return false };
        governor.expect(workers);
        self.helm.due.store(governor.due(), Ordering::Relaxed);
        self.roster.restrict(governor.limit());
        true
    }

    /// The program waits. True when more workers help now, or may soon.
    ///
    /// # Errors
    /// As `call`.
    pub(super) fn program_waits(self: &std::sync::Arc<Self>, py: Python<'_>) -> PyResult<bool> {
        if self.queue.is_empty() {
            return Ok(false);
        }
        let helps = self.roster.has_room() || {
            let mut governor = self.helm.lock();
            let Some(governor) = governor.as_mut() else { return Ok(false) };
            let helps = governor.program_waits(self.reading());
            self.helm.due.store(governor.due(), Ordering::Relaxed);
            self.roster.restrict(governor.limit());
            helps
        };
        self.call(py, 1)?;
        Ok(helps)
    }

    /// A task has ended.
    pub(super) fn steer(&self) {
        let due = self.helm.due.load(Ordering::Relaxed);
        if due == NEVER || self.helm.ended.fetch_add(1, Ordering::Relaxed) + 1 < due {
            return;
        }
        let Ok(mut governor) = self.helm.governor.try_lock() else { return };
        if let Some(governor) = governor.as_mut() {
            governor.observe(self.reading());
            self.helm.due.store(governor.due(), Ordering::Relaxed);
            self.roster.restrict(governor.limit());
        }
    }

    fn reading(&self) -> Reading {
        Reading {
            seconds: monotonic_ns() as f64 * 1e-9,
            cpu: process_cpu_ns().map_or(0.0, |cpu_ns| cpu_ns as f64 * 1e-9),
            ended: self.helm.ended.load(Ordering::Relaxed),
            working: self.roster.busy(),
            waiting: self.queue.len(),
        }
    }
}

//! Threads that sleep on a depot for event loops, which cannot: one for each thing that is waited for, and only while
//! somebody waits.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use whichever_queue::Watch;
use whichever_ring::{Depot, DepotError, DepotWant};

use crate::gil::visit;
use crate::outside;
use crate::pool::forks;

const SLICE: Duration = Duration::from_millis(100);

/// They come and go only in threads that are attached, so that a garbage collector sees each all the time or never.
type Bells = Vec<(Watch, Py<PyAny>)>;

/// Forks, one below the other, that a queue's watchers outlive.
const GENERATIONS: usize = 8;

/// The watchers of one depot.
pub(super) struct Watchers {
    depot: Weak<Depot>,
    /// Those of this process, behind those of its ancestors: a fork leaves the threads behind and may take a lock along
    /// that one of them held.
    generations: [OnceLock<Generation>; GENERATIONS],
}

struct Generation {
    forks: u32,
    watchers: [Arc<Watcher>; 3],
}

struct Watcher {
    want: DepotWant,
    depot: Weak<Depot>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bells: Bells,
    is_running: bool,
}

impl Watchers {
    pub(super) fn new(depot: &Arc<Depot>) -> Self {
        Self { depot: Arc::downgrade(depot), generations: Default::default() }
    }

    /// Ring `bell` when what is wanted may be there, once. False, and no ring, when it is there now.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn watch(&self, want: DepotWant, watch: Watch, bell: Py<PyAny>) -> PyResult<bool> {
        let Some(watcher) = self.own().iter().find(|watcher| watcher.want == want) else {
            return Err(PyRuntimeError::new_err("forked too often since the queue was shared"));
        };
        if watcher.depot.upgrade().is_none_or(|depot| depot.is_there(want)) {
            return Ok(false);
        }
        let mut state = watcher.lock();
        if state.bells.iter().all(|(known, _)| *known != watch) {
            state.bells.push((watch, bell));
        }
        if !state.is_running {
            let own = Arc::clone(watcher);
            std::thread::Builder::new().name("whichever-queue".into()).spawn(move || own.run())?;
            state.is_running = true;
        }
        Ok(true)
    }

    /// The watchers of this process.
    fn own(&self) -> &[Arc<Watcher>] {
        let forks = forks();
        let wants = [DepotWant::Item, DepotWant::Place, DepotWant::End];
        let make = || Generation {
            forks,
            watchers: wants
                .map(|want| Arc::new(Watcher { want, depot: self.depot.clone(), state: Mutex::default() })),
        };
        let mut generations = self.generations.iter().map(|place| place.get_or_init(make));
        generations.find(|generation| generation.forks == forks).map_or(&[], |found| &found.watchers)
    }

    /// Show every bell, for a collector of garbage.
    pub(super) fn each(
        &self,
        mut bell: impl FnMut(&Py<PyAny>) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        self.started().try_for_each(|watcher| watcher.lock().bells.iter().try_for_each(|(_, own)| bell(own)))
    }

    /// Give up every bell.
    pub(super) fn clear(&self) {
        for watcher in self.started() {
            let bells = std::mem::take(&mut watcher.lock().bells);
            drop(bells);
        }
    }

    /// The watchers of this process, if there are any.
    fn started(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        let forks = forks();
        let made = self.generations.iter().filter_map(OnceLock::get);
        made.filter(move |generation| generation.forks == forks).flat_map(|generation| &generation.watchers)
    }
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleep for the bells until there are none.
    fn run(&self) {
        while self.await_what_is_wanted() {
            let rung = visit(|py| {
                // Attached: if a bell left while a garbage collector looks, it would have seen who has it, and then nobody.
                let bells = std::mem::take(&mut self.lock().bells);
                for (_, bell) in bells {
                    if let Err(error) = outside::call(bell.bind(py), &PyTuple::empty(py)) {
                        error.write_unraisable(py, None);
                    }
                }
            });
            if rung.is_none() {
                // The interpreter is ending.
                self.lock().is_running = false;
                return;
            }
        }
    }

    /// Sleep until what is wanted is there. False when nobody wants it any more.
    fn await_what_is_wanted(&self) -> bool {
        loop {
            {
                let mut state = self.lock();
                if state.bells.is_empty() {
                    state.is_running = false;
                    return false;
                }
            }
            // Kept for the length of a slice only: the last queue to let go of the depot ends this thread.
            let depot = self.depot.upgrade();
            // A broken depot is there for whoever waits: they find out what is the matter.
            let is_there = depot.is_none_or(|depot| {
                depot.is_there(self.want) || matches!(depot.sleep(self.want, SLICE), Err(DepotError::Broken))
            });
            if is_there {
                return true;
            }
        }
    }
}

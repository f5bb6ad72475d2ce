//! The queue in shared memory: items as records, waits that hear Ctrl-C.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyMemoryError, PyOSError};
use pyo3::prelude::*;
use whichever_ring::{Address, Depot, DepotError, DepotWant, open_address};
use whichever_sys::monotonic_ns;

use super::patience::Patience;
use super::record::{Packed, unpack};
use super::watcher::Watchers;
use super::{closed_to_get, closed_to_put, empty, full};

/// Records of more bytes are copied detached: others may want the interpreter meanwhile.
const COPIED_ATTACHED: usize = 64 * 1024;
/// How long a detached thread waits for the lock before it looks at signals.
const LOCK_SLICE: Duration = Duration::from_millis(100);
/// How long a put that needs fresh memory waits for a consumer that seems to be at work.
const WARMTH: Duration = Duration::from_millis(2);
/// A thread keeps a buffer up to this size for its next record.
const KEPT_BYTES: usize = 4 << 20;
/// Queues that are kept open for a process that has not opened them yet, though nobody here uses them any more.
const MOST_KEPT: usize = 64;

thread_local! {
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

static KEPT: Mutex<Vec<Arc<Depot>>> = Mutex::new(Vec::new());

/// See the module.
pub(super) struct Far {
    depot: Arc<Depot>,
    watchers: Watchers,
    /// The Python module that pickles.
    carrier: Py<PyAny>,
    /// Items that had been taken out when a put last wanted fresh memory.
    seen_gets: AtomicU64,
}

impl Far {
    pub(super) fn create(py: Python<'_>, limit: u64, unfinished: u64) -> PyResult<Self> {
        Self::over(py, Depot::create(limit, unfinished)?)
    }

    /// Open the queue that another process has.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn open(py: Python<'_>, address: Address) -> PyResult<Self> {
        let depot = open_address(address).map_err(|error| {
            PyOSError::new_err(format!(
                "the queue that process {} has sent is gone or out of reach ({error}): keep the queue, and the process \
                 that sends it, until the receiver has it",
                address.pid
            ))
        })?;
        Self::over(py, depot)
    }

    fn over(py: Python<'_>, depot: Depot) -> PyResult<Self> {
        let depot = Arc::new(depot);
        let carrier = py.import("whichever.queue._items")?.into_any().unbind();
        Ok(Self { watchers: Watchers::new(&depot), depot, carrier, seen_gets: AtomicU64::new(0) })
    }

    pub(super) fn depot(&self) -> &Depot {
        &self.depot
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Where others find it. It stays open until they have.
    ///
    /// # Errors
    /// What the kernel says about the file.
    pub(super) fn address(&self) -> PyResult<Address> {
        let address = self.depot.address()?;
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|depot| depot.is_under_way() && !Arc::ptr_eq(depot, &self.depot));
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(Arc::clone(&self.depot));
        Ok(address)
    }

    /// Put an item.
    ///
    /// # Errors
    /// Full, closed, no memory, what pickling or a signal handler raises.
    pub(super) fn put(&self, item: &Bound<'_, PyAny>, patience: Patience) -> PyResult<()> {
        let packed = Packed::new(item, &self.carrier)?;
        let parts = packed.parts();
        let py = item.py();
        let attached = packed.len() <= COPIED_ATTACHED;
        let mut eager = false;
        loop {
            let put = self.attempt(py, attached, |limit| self.depot.put(&parts, eager, limit))?;
            match put {
                Ok(()) => return Ok(()),
                Err(DepotError::Cold) => eager = self.wait_for_warmth(py)?,
                Err(DepotError::Full) if !patience.is_over() => {
                    self.sleep(py, DepotWant::Place, patience)?;
                }
                Err(DepotError::Full) => return Err(full(py)),
                Err(DepotError::Closed) => return Err(closed_to_put(py)),
                Err(other) => return Err(named(other)),
            }
        }
    }

    /// While consumers take things out, wait for one to do so once more, for the memory that it leaves. Says whether to
    /// take fresh memory instead, since they do not.
    fn wait_for_warmth(&self, py: Python<'_>) -> PyResult<bool> {
        let gets = self.depot.state().gets;
        if self.seen_gets.swap(gets, Ordering::Relaxed) == gets {
            return Ok(true);
        }
        let slept = py.detach(|| self.depot.sleep_until_taken(gets, WARMTH));
        py.check_signals()?;
        match slept {
            Ok(()) | Err(DepotError::Busy) => Ok(false),
            Err(other) => Err(named(other)),
        }
    }

    /// Take the next item.
    ///
    /// # Errors
    /// Empty, closed, what unpickling or a signal handler raises.
    pub(super) fn get(&self, py: Python<'_>, patience: Patience) -> PyResult<Py<PyAny>> {
        let mut record = RECORD.take();
        let got = self.get_record(py, &mut record, patience);
        let item = got.and_then(|()| unpack(py, &record, &self.carrier));
        if record.capacity() <= KEPT_BYTES {
            record.clear();
            RECORD.set(record);
        }
        item
    }

    fn get_record(&self, py: Python<'_>, record: &mut Vec<u8>, patience: Patience) -> PyResult<()> {
        let mut at_most = COPIED_ATTACHED;
        loop {
            let attached = at_most <= COPIED_ATTACHED;
            let got = self.attempt(py, attached, |limit| self.depot.get(record, at_most, limit))?;
            match got {
                Ok(()) => return Ok(()),
                Err(DepotError::Long(_)) => at_most = usize::MAX,
                Err(DepotError::Empty) if !patience.is_over() => {
                    self.sleep(py, DepotWant::Item, patience)?;
                }
                Err(DepotError::Empty) => return Err(empty(py)),
                Err(DepotError::Closed) => return Err(closed_to_get(py)),
                Err(other) => return Err(named(other)),
            }
        }
    }

    /// Wait until every item is finished. False when the time was over first.
    ///
    /// # Errors
    /// What a signal handler raises.
    pub(super) fn join(&self, py: Python<'_>, patience: Patience) -> PyResult<bool> {
        while !self.depot.is_there(DepotWant::End) {
            if patience.is_over() {
                return Ok(false);
            }
            self.sleep(py, DepotWant::End, patience)?;
        }
        Ok(true)
    }

    /// Call one item finished. False when there was none.
    ///
    /// # Errors
    /// What a signal handler raises.
    pub(super) fn finish(&self, py: Python<'_>) -> PyResult<bool> {
        self.attempt(py, true, |limit| self.depot.finish(limit))?.map_err(named)
    }

    /// Take nothing more.
    ///
    /// # Errors
    /// What a signal handler raises.
    pub(super) fn close(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        self.attempt(py, true, |limit| self.depot.close(immediate, limit))?.map_err(named)
    }

    /// Change the limit.
    ///
    /// # Errors
    /// What a signal handler raises.
    pub(super) fn set_limit(&self, py: Python<'_>, items: u64) -> PyResult<()> {
        self.attempt(py, true, |limit| self.depot.set_limit(items, limit))?.map_err(named)
    }

    fn sleep(&self, py: Python<'_>, want: DepotWant, patience: Patience) -> PyResult<()> {
        let limit = match patience {
            Patience::Until(deadline_ns) => Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns())),
            Patience::None => Duration::ZERO,
            Patience::Endless => Duration::MAX,
        };
        let slept = py.detach(|| self.depot.sleep(want, limit));
        py.check_signals()?;
        match slept {
            Ok(_) | Err(DepotError::Busy) => Ok(()),
            Err(other) => Err(named(other)),
        }
    }

    /// Do `work` now, attached if that is short; while the lock is busy, again and detached.
    fn attempt<T: Send>(
        &self,
        py: Python<'_>,
        attached: bool,
        mut work: impl FnMut(Duration) -> Result<T, DepotError> + Send,
    ) -> PyResult<Result<T, DepotError>> {
        if attached {
            match work(Duration::ZERO) {
                Err(DepotError::Busy) => {}
                done => return Ok(done),
            }
        }
        loop {
            match py.detach(|| work(LOCK_SLICE)) {
                Err(DepotError::Busy) => py.check_signals()?,
                done => return Ok(done),
            }
        }
    }
}

/// An error that is nobody's turn.
fn named(error: DepotError) -> PyErr {
    match error {
        DepotError::NoMemory(error) => {
            PyMemoryError::new_err(format!("no shared memory for the item: {error}"))
        }
        DepotError::NoSpace => PyMemoryError::new_err("the items in the queue fill all of its address space"),
        _ => PyOSError::new_err("the queue is broken: a process has written over its shared memory"),
    }
}

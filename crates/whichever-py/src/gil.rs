//! The GIL as a thread sees it that does not hold it, what a thread knows of itself, and how native threads come in.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use whichever_probe::{Interpreter, PythonThread};

use crate::pool::forks;

/// In `VISITS`: nobody may come any more.
const CLOSED: u32 = 1 << 31;
/// How long visitors are waited for when the interpreter ends, and how often it is looked whether they have gone.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);
const FAREWELL_TICK: Duration = Duration::from_micros(200);

/// How many native threads are in the interpreter now, with `CLOSED`.
static VISITS: AtomicU32 = AtomicU32::new(0);

/// Address of the calling thread's state, as a number that is never followed.
pub(crate) fn thread_state(_attached: Python<'_>) -> u64 {
    // SAFETY: the thread is attached, as the token proves.
    unsafe { pyo3::ffi::PyThreadState_Get() as u64 }
}

/// Whether the interpreter uses a GIL now. Versions before 3.13 have no way to ask, and always do.
pub(crate) fn has_gil(py: Python<'_>) -> PyResult<bool> {
    match py.import("sys")?.getattr_opt("_is_gil_enabled")? {
        Some(is_enabled) => is_enabled.call0()?.extract(),
        None => Ok(true),
    }
}

/// Who holds the GIL, as far as this interpreter's memory can be read. Costs a few loads.
pub(crate) struct Gil(Interpreter);

impl Gil {
    /// This process's GIL; None where it cannot be read at the speed of memory.
    pub(crate) fn find(py: Python<'_>) -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Gil>> = OnceLock::new();
        let caller = PythonThread { state: thread_state(py), native_id: whichever_sys::thread_id() };
        FOUND
            .get_or_init(|| Interpreter::of_this_process(caller).ok().filter(Interpreter::is_fast).map(Gil))
            .as_ref()
    }

    /// What it is read by.
    pub(crate) fn interpreter(&self) -> &Interpreter {
        &self.0
    }

    /// The thread state of whoever holds it now.
    pub(crate) fn holder(&self) -> Option<u64> {
        self.0.gil().ok().filter(|words| words.active && words.locked == 1).map(|words| words.holder)
    }

    /// How often it has gone from one thread to another.
    pub(crate) fn switches(&self) -> u64 {
        self.0.gil().map_or(0, |words| words.switches)
    }

    /// How many threads wait for it now, where that can be seen.
    pub(crate) fn waiters(&self) -> Option<u32> {
        self.0.gil_waiters()
    }
}

/// Run `work` attached, in a native thread. None when the interpreter is gone or ends.
///
/// An interpreter that ends before 3.14 unwinds a thread that wants the GIL back, which in native code is the end of the
/// process. So it waits for its visitors first, and lets no more in: see `end_visits`.
pub(crate) fn visit<R>(work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    let visit = Visit { born: forks() };
    if VISITS.fetch_add(1, Ordering::SeqCst) & CLOSED != 0 {
        return None;
    }
    let done = Python::try_attach(work);
    drop(visit);
    done
}

/// Counts its thread out at its end, unless `work` has forked: the child begins without visitors.
struct Visit {
    born: u32,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.born == forks() {
            VISITS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Let no native thread in any more, and wait until all have gone: the interpreter ends.
#[pyfunction]
pub(crate) fn end_visits(py: Python<'_>) {
    VISITS.fetch_or(CLOSED, Ordering::SeqCst);
    py.detach(|| {
        let begun = std::time::Instant::now();
        while VISITS.load(Ordering::SeqCst) != CLOSED && begun.elapsed() < LONGEST_FAREWELL {
            std::thread::sleep(FAREWELL_TICK);
        }
    });
}

/// Forget the visitors, in the child of a fork, which has none of those threads.
pub(crate) fn forget_visits() {
    VISITS.store(0, Ordering::SeqCst);
}

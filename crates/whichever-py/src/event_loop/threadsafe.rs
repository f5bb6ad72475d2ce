//! Handles that other threads hold: whoever cancels one, or asks whether it was, while it runs waits until it has.
//!
//! So `cancel()` means the same in every thread: when it returns, the callback runs no more. This is asyncio's rule from 3.14 on,
//! for what `call_soon_threadsafe` gives; before, and for all other handles, nobody waits. A callback that cancels itself does
//! not wait either.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;

use super::core::this_thread;
use super::handle::Handle;

/// How long somebody waits before it looks for Ctrl-C.
const SLICE: Duration = Duration::from_millis(50);

/// How many wait. Who announces itself here looks once more whether the callback runs, and whose callback is over looks
/// here after it has said so: one of them sees the other.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// How many such callbacks have ended while somebody waited.
static ENDS: Mutex<u64> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Whether handles of this Python's asyncio wait.
pub(super) fn is_known(py: Python<'_>) -> bool {
    py.version_info() >= (3, 14)
}

/// Wait until no other thread runs what the handle calls.
///
/// # Errors
/// What a signal raises.
pub(super) fn wait_until_over(py: Python<'_>, handle: &Handle) -> PyResult<()> {
    while handle.runs_elsewhere(py, this_thread()) {
        let seen = ends();
        WAITING.fetch_add(1, Ordering::SeqCst);
        if handle.runs_elsewhere(py, this_thread()) {
            py.detach(|| wait(seen));
        }
        WAITING.fetch_sub(1, Ordering::SeqCst);
        py.check_signals()?;
    }
    Ok(())
}

/// Tell those who wait that a callback is over, which its handle says already.
pub(super) fn tell() {
    if WAITING.load(Ordering::SeqCst) > 0 {
        *ENDS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        ENDED.notify_all();
    }
}

fn ends() -> u64 {
    *ENDS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(seen: u64) {
    let ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
    drop(ENDED.wait_timeout_while(ends, SLICE, |ends| *ends == seen));
}

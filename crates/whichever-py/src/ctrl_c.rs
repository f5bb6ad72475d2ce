//! Ctrl-C that meets work of ours which has nobody to raise it to: the work is done, and Ctrl-C comes again after it.
//!
//! Signal handlers run in the main thread, inside whatever Python code it runs: now and then that is a method which a pool
//! calls for itself, whoever's turn it is. To report the handler's exception there and drop it would be to ignore the
//! user.

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use crate::future::is_main_thread;

/// How often work is begun at most: who presses Ctrl-C more often than this means it.
const MOST_TRIES: usize = 3;

/// Do what must be done; if Ctrl-C breaks it off, from its beginning, and Ctrl-C comes again afterwards.
///
/// # Errors
/// What `work` raises otherwise, or Ctrl-C in the end.
pub(crate) fn in_spite_of_ctrl_c<R>(py: Python<'_>, mut work: impl FnMut() -> PyResult<R>) -> PyResult<R> {
    let mut tries = 0;
    loop {
        tries += 1;
        match work() {
            Err(error) if tries < MOST_TRIES && is_ctrl_c(py, &error) => {}
            done => {
                if tries > 1 {
                    come_again();
                }
                return done;
            }
        }
    }
}

/// Have Ctrl-C come again if that is what `error` is, which will be raised to somebody at some time or never.
pub(crate) fn remember(py: Python<'_>, error: &PyErr) {
    if is_ctrl_c(py, error) {
        come_again();
    }
}

/// Report an error that is nobody's, and drop it; Ctrl-C comes again instead.
pub(crate) fn report(py: Python<'_>, error: PyErr, object: Option<&Bound<'_, PyAny>>) {
    if is_ctrl_c(py, &error) {
        come_again();
    } else {
        error.write_unraisable(py, object);
    }
}

/// Whether it is what a signal handler raises, rather than what a task or a callback does in its own thread.
pub(crate) fn is_ctrl_c(py: Python<'_>, error: &PyErr) -> bool {
    is_main_thread() && error.is_instance_of::<PyKeyboardInterrupt>(py)
}

fn come_again() {
    // SAFETY: it may be called in any state, attached or not.
    unsafe { pyo3::ffi::PyErr_SetInterrupt() };
}

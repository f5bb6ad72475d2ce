//! `_core.Descriptor`: an open descriptor that is closed with its last owner, and by no line of Python.
//!
//! Python code that runs when an object goes (a finalizer, the callback of a weak reference) may be where a signal handler
//! runs; what that raises is dropped there, and the user's Ctrl-C is lost.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// See the module. Private.
#[pyclass(frozen, weakref, module = "whichever._core")]
pub(crate) struct Descriptor(Mutex<Option<OwnedFd>>);

#[pymethods]
impl Descriptor {
    /// Take over an open descriptor that nobody else closes.
    #[new]
    fn new(fd: RawFd) -> PyResult<Self> {
        if fd < 0 {
            return Err(PyOSError::new_err("the descriptor is closed"));
        }
        // SAFETY: it is open, and our caller gives it away: it comes out of `detach` or a system call.
        Ok(Self(Mutex::new(Some(unsafe { OwnedFd::from_raw_fd(fd) }))))
    }

    /// Its number; -1 when it is closed.
    fn fileno(&self) -> RawFd {
        self.lock().as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Close it, unless it is closed.
    fn close(&self) {
        drop(self.lock().take());
    }
}

impl Descriptor {
    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

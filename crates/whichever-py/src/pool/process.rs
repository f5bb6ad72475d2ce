//! What one process has once: the warden of its workers, the arena it sends from, and how often it was forked.
//!
//! A forked child starts without any of them: it neither has the threads nor owns the workers.

use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use whichever_pool::Warden;
use whichever_ring::Arena;

use crate::gil::forget_visits;

static FORKS: AtomicU32 = AtomicU32::new(0);
static WARDEN: Cell<Warden> = Cell::new();
static ARENA: Cell<Arc<Arena>> = Cell::new();

/// How many forks lie between this process and the one that loaded the module.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// The warden of this process, started on first use.
pub(super) fn warden() -> std::io::Result<&'static Warden> {
    WARDEN.get_or_make(Warden::start)
}

/// The arena of this process, made on first use.
pub(super) fn arena() -> std::io::Result<&'static Arc<Arena>> {
    ARENA.get_or_make(|| Arena::create("whichever-arena").map(Arc::new))
}

/// A place for one value that is made on first use and never freed, so that a fork can forget it.
struct Cell<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Cell<T> {
    const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn get_or_make(&self, make: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<&'static T> {
        let mut found = self.0.load(Ordering::Acquire);
        if found.is_null() {
            let made = Box::into_raw(Box::new(make()?));
            match self.0.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => found = made,
                Err(first) => {
                    // SAFETY: `made` came out of a box a moment ago and nobody else has seen it.
                    drop(unsafe { Box::from_raw(made) });
                    found = first;
                }
            }
        }
        // SAFETY: what was stored came out of a box and is never freed: `forget` only loses it.
        Ok(unsafe { &*found })
    }

    fn forget(&self) {
        self.0.store(ptr::null_mut(), Ordering::Release);
    }
}

/// Forget what belongs to the parent. To be called in the child of every fork.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    forget_visits();
    WARDEN.forget();
    ARENA.forget();
}

/// A number for a worker that is to be started.
#[pyfunction]
pub(crate) fn new_token() -> PyResult<u64> {
    Ok(warden()?.new_token())
}

/// Listen to a template's control socket (a copy of it); returns the template's number.
#[pyfunction]
pub(crate) fn adopt_template(fd: RawFd) -> PyResult<u64> {
    if fd < 0 {
        return Err(PyOSError::new_err("the control socket is closed"));
    }
    // SAFETY: `fd` is open as long as the socket that our caller holds; it is only duplicated.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(warden()?.adopt(borrowed.try_clone_to_owned()?))
}

/// Note that worker `token` is forked by this template.
#[pyfunction]
pub(crate) fn belongs_to_template(token: u64, template: u64) -> PyResult<()> {
    warden()?.belongs(token, template);
    Ok(())
}

/// Watch process `pid`, which somebody started as worker `token`.
#[pyfunction]
pub(crate) fn watch_pid(token: u64, pid: u32) -> PyResult<()> {
    Ok(warden()?.watch_pid(token, pid)?)
}

/// Whether worker `token` has ended, as far as is known.
#[pyfunction]
pub(crate) fn has_ended(token: u64) -> PyResult<bool> {
    Ok(warden()?.has_ended(token))
}

/// Forget a worker whose end interests nobody.
#[pyfunction]
pub(crate) fn forget_worker(token: u64) -> PyResult<()> {
    warden()?.forget(token);
    Ok(())
}

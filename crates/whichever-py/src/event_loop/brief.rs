//! A value that is held for brief moments in which no Python code runs.
//!
//! Under a GIL the GIL is the lock, and a flag only tells our own mistakes; without one it is a mutex, which
//! nobody meets at, for a loop has one thread.

use pyo3::prelude::*;

pub(super) use cell::Brief;

impl<T> Brief<T> {
    /// Hold the value for `work`, which must not run Python code: not even drop a reference to a Python object.
    pub(super) fn with<R>(&self, _attached: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        self.hold(work).expect("it is held for brief moments, one after the other")
    }

    /// Hold the value for a collector of garbage, which has stopped everybody; None if somebody was in the middle of it.
    pub(super) fn peek<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.hold_stopped(work)
    }
}

#[cfg(not(Py_GIL_DISABLED))]
mod cell {
    use std::cell::{Cell, UnsafeCell};

    /// See the module.
    pub(in crate::event_loop) struct Brief<T> {
        is_held: Cell<bool>,
        value: UnsafeCell<T>,
    }

    // SAFETY: the value is touched by attached threads alone (`with` asks for the token; collectors are attached), so by one
    //         thread at a time, and the GIL's own lock orders them.
    unsafe impl<T: Send> Sync for Brief<T> {}

    impl<T> Brief<T> {
        pub(in crate::event_loop) fn new(value: T) -> Self {
            Self { is_held: Cell::new(false), value: UnsafeCell::new(value) }
        }

        pub(super) fn hold<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
            struct Release<'a>(&'a Cell<bool>);
            impl Drop for Release<'_> {
                fn drop(&mut self) {
                    self.0.set(false);
                }
            }
            if self.is_held.replace(true) {
                return None;
            }
            let _release = Release(&self.is_held);
            // SAFETY: the flag was down, so nobody further up holds the value; and no other thread is attached.
            Some(work(unsafe { &mut *self.value.get() }))
        }

        pub(super) fn hold_stopped<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
            self.hold(work)
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
mod cell {
    use std::sync::{Mutex, PoisonError, TryLockError};

    /// See the module.
    pub(in crate::event_loop) struct Brief<T>(Mutex<T>);

    impl<T> Brief<T> {
        pub(in crate::event_loop) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(super) fn hold<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
            // A panic leaves whatever it leaves, as it does under a GIL.
            Some(work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        pub(super) fn hold_stopped<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
            match self.0.try_lock() {
                Ok(mut value) => Some(work(&mut value)),
                Err(TryLockError::Poisoned(error)) => Some(work(&mut error.into_inner())),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }
}

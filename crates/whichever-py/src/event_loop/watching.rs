//! Descriptors that Python callbacks wait for: `add_reader` and its kin.

use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use whichever_reactor::Side;

use super::core::{LoopCore, Waiter};
use super::errors::os_error;
use super::handle::{Call, Handle};

impl LoopCore {
    fn watch(
        slf: &Bound<'_, Self>,
        fd: RawFd,
        side: Side,
        callback: (Bound<'_, PyAny>, Bound<'_, PyTuple>, Option<Bound<'_, PyAny>>),
    ) -> PyResult<Py<Handle>> {
        let py = slf.py();
        let core = slf.get();
        core.check_open()?;
        let handle = Py::new(py, Handle::of(Call::lasting(callback.0, callback.1, callback.2)?, false))?;
        let waiter = Waiter::Handle(handle.clone_ref(py));
        let before = core.agenda.with(py, |agenda| match agenda.poller.clone() {
            Some(poller) => {
                // It may be another file than the one that was watched under this number.
                agenda.watches.distrust_idle(fd);
                agenda.watches.watch(&poller, fd, side, waiter)
            }
            None => Ok(None),
        });
        let before = before.map_err(|error| os_error(py, &error))?;
        Self::dismiss(py, before)?;
        Ok(handle)
    }

    fn unwatch(&self, py: Python<'_>, fd: RawFd, side: Side) -> PyResult<bool> {
        let before = self.unwatch_for(py, fd, side);
        Self::dismiss(py, before)
    }

    /// Let a transport wait for its socket.
    pub(super) fn watch_for(&self, py: Python<'_>, fd: RawFd, side: Side, waiter: Waiter) -> PyResult<()> {
        let before = self.agenda.with(py, |agenda| match agenda.poller.clone() {
            Some(poller) => agenda.watches.watch(&poller, fd, side, waiter),
            None => Ok(None),
        });
        before.map(drop).map_err(|error| os_error(py, &error))
    }

    /// Let nobody wait for a socket; gives who did.
    pub(super) fn unwatch_for(&self, py: Python<'_>, fd: RawFd, side: Side) -> Option<Waiter> {
        self.agenda.with(py, |agenda| {
            let poller = agenda.poller.clone()?;
            agenda.watches.unwatch(&poller, fd, side)
        })
    }

    /// Cancel who waited; says whether somebody did.
    pub(super) fn dismiss(py: Python<'_>, waiter: Option<Waiter>) -> PyResult<bool> {
        match waiter {
            Some(Waiter::Handle(handle)) => Handle::annul(handle.bind(py)).map(|_| true),
            Some(Waiter::Stream(_) | Waiter::Datagrams(_) | Waiter::Sock(_)) => Ok(true),
            None => Ok(false),
        }
    }
}

#[pymethods]
impl LoopCore {
    #[pyo3(signature = (fd, callback, *args, context = None))]
    fn _add_reader(
        slf: &Bound<'_, Self>,
        fd: Descriptor,
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<Handle>> {
        Self::watch(slf, fd.0, Side::Read, (callback, args, context))
    }

    #[pyo3(signature = (fd, callback, *args, context = None))]
    fn _add_writer(
        slf: &Bound<'_, Self>,
        fd: Descriptor,
        callback: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<Handle>> {
        Self::watch(slf, fd.0, Side::Write, (callback, args, context))
    }

    fn _remove_reader(&self, py: Python<'_>, fd: Descriptor) -> PyResult<bool> {
        self.unwatch(py, fd.0, Side::Read)
    }

    fn _remove_writer(&self, py: Python<'_>, fd: Descriptor) -> PyResult<bool> {
        self.unwatch(py, fd.0, Side::Write)
    }

    /// Whether a descriptor belongs to a transport.
    fn _belongs_to_stream(&self, py: Python<'_>, fd: Descriptor) -> bool {
        self.agenda.with(py, |agenda| agenda.streams.contains(&fd.0))
    }

    /// Let others watch the descriptor of a transport for a while, or no more.
    fn _share_stream(&self, py: Python<'_>, fd: Descriptor, shared: bool) {
        self.agenda.with(py, |agenda| {
            if shared {
                agenda.streams.remove(&fd.0)
            } else {
                agenda.streams.insert(fd.0)
            };
        });
    }

    /// Whether somebody waits for a descriptor: to be read, to be written.
    fn _watched(&self, py: Python<'_>, fd: Descriptor) -> (bool, bool) {
        self.agenda.with(py, |agenda| {
            (agenda.who(fd.0, Side::Read).is_some(), agenda.who(fd.0, Side::Write).is_some())
        })
    }
}

/// A descriptor, or something that has one.
struct Descriptor(RawFd);

impl<'py> FromPyObject<'_, 'py> for Descriptor {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let invalid = || pyo3::exceptions::PyValueError::new_err(format!("Invalid file object: {object:?}"));
        if let Ok(fd) = object.extract::<RawFd>() {
            return if fd < 0 {
                Err(pyo3::exceptions::PyValueError::new_err(format!("Invalid file descriptor: {fd}")))
            } else {
                Ok(Self(fd))
            };
        }
        let fd = object.call_method0("fileno").map_err(|_| invalid())?;
        fd.extract().map(Self).map_err(|_| invalid())
    }
}

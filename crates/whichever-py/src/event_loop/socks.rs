//! Sockets that a program reads and writes itself, by `sock_recv`, `sock_recv_into` and `sock_sendall`.
//!
//! Each tries at once, and waits only when it must. The kernel stays told of a socket between two calls, so that to wait again
//! is no system call; but a program closes its sockets without a word, and the number goes to another file: so
//! that is trusted only while the very same socket object is alive and open.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefMethods, PyWeakrefReference};
use whichever_reactor::Side;
use whichever_sys::send;

use super::core::{LoopCore, Waiter};
use super::errors::os_error;
use super::receive::{Read, SMALL, read_into, read_large, read_small};
use super::turn::is_exit;
use crate::lasting::name;

/// What a task waits to do with a socket.
pub(super) struct SockWait {
    future: Py<PyAny>,
    action: Action,
}

enum Action {
    Receive(usize),
    /// Receive into a buffer of the program's.
    Fill(PyBuffer<u8>),
    /// Send what a buffer holds; so many bytes have been sent.
    Send(PyBuffer<u8>, usize),
}

/// How far an action came.
enum Progress {
    Done(Py<PyAny>),
    Later(Action),
}

impl Action {
    fn side(&self) -> Side {
        match self {
            Self::Receive(_) | Self::Fill(_) => Side::Read,
            Self::Send(..) => Side::Write,
        }
    }

    /// Do what can be done now.
    fn attempt(self, py: Python<'_>, fd: RawFd, owner: &LoopCore) -> PyResult<Progress> {
        match self {
            Self::Receive(most) => {
                let read =
                    if most <= SMALL { read_small(py, fd, owner, most) } else { read_large(py, fd, most) };
                Ok(match read? {
                    Read::Some(bytes) => Progress::Done(bytes.into_any().unbind()),
                    Read::End => Progress::Done(PyBytes::new(py, b"").into_any().unbind()),
                    Read::Nothing => Progress::Later(Self::Receive(most)),
                })
            }
            Self::Fill(buffer) => Ok(match read_into(py, fd, &buffer)? {
                Read::Some(count) => Progress::Done(count.into_pyobject(py)?.into_any().unbind()),
                Read::End => Progress::Done(0_usize.into_pyobject(py)?.into_any().unbind()),
                Read::Nothing => Progress::Later(Self::Fill(buffer)),
            }),
            Self::Send(buffer, sent) => {
                let sent = sent + send_from(py, fd, &buffer, sent)?;
                Ok(if sent == buffer.len_bytes() {
                    Progress::Done(py.None())
                } else {
                    Progress::Later(Self::Send(buffer, sent))
                })
            }
        }
    }
}

fn send_from(py: Python<'_>, fd: RawFd, buffer: &PyBuffer<u8>, sent: usize) -> PyResult<usize> {
    // SAFETY: the buffer stays where it is while we hold its view.
    let start = unsafe { buffer.buf_ptr().cast::<u8>().add(sent) };
    // SAFETY: 1. there are that many bytes after `start`, in one piece, as was checked when the view was taken.
    //         2. no Python code runs until the slice is gone.
    let rest = unsafe { std::slice::from_raw_parts(start, buffer.len_bytes() - sent) };
    match send(fd, rest) {
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(os_error(py, &error)),
    }
}

impl LoopCore {
    /// Do something with a socket: gives what came of it, or a future of that.
    fn act(slf: &Bound<'_, Self>, sock: &Bound<'_, PyAny>, action: Action) -> PyResult<(bool, Py<PyAny>)> {
        let py = slf.py();
        let fd: RawFd = sock.call_method0(name!(py, "fileno"))?.extract()?;
        let core = slf.get();
        match action.attempt(py, fd, core)? {
            Progress::Done(result) => Ok((true, result)),
            Progress::Later(action) => {
                core.check_open()?;
                slf.call_method1(name!(py, "_ensure_fd_no_transport"), (fd,))?;
                core.trust_only(fd, sock)?;
                let future = slf.call_method0(name!(py, "create_future"))?.unbind();
                let side = action.side();
                let wait = SockWait { future: future.clone_ref(py), action };
                core.wait_for(py, fd, side, wait)?;
                Ok((false, future))
            }
        }
    }

    fn wait_for(&self, py: Python<'_>, fd: RawFd, side: Side, wait: SockWait) -> PyResult<()> {
        let waiter = Waiter::Sock(Box::new(wait));
        let before = self.agenda.with(py, |agenda| match agenda.poller.clone() {
            Some(poller) => agenda.watches.watch(&poller, fd, side, waiter),
            None => Ok(None),
        });
        Self::dismiss(py, before.map_err(|error| os_error(py, &error))?).map(drop)
    }

    /// Make sure that what the kernel was told of a number was told of this socket.
    fn trust_only(&self, fd: RawFd, sock: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = sock.py();
        let index = usize::try_from(fd).map_err(|_| os_error(py, &closed()))?;
        let known = self.agenda.with(py, |agenda| {
            agenda.sockets.get(index).and_then(|known| known.as_ref().map(|known| known.clone_ref(py)))
        });
        let is_known =
            known.is_some_and(|known| known.bind(py).upgrade().is_some_and(|other| other.is(sock)));
        if is_known {
            return Ok(());
        }
        let new = PyWeakrefReference::new(sock)?.unbind();
        let old = self.agenda.with(py, |agenda| {
            if agenda.sockets.len() <= index {
                agenda.sockets.resize_with(index + 1, || None);
            }
            agenda.watches.distrust(fd);
            agenda.sockets[index].replace(new)
        });
        drop(old);
        Ok(())
    }

    /// A socket that a task waits for is ready.
    pub(super) fn socket_ready(&self, py: Python<'_>, fd: RawFd, side: Side) -> PyResult<()> {
        let wait = self.agenda.with(py, |agenda| {
            if matches!(agenda.who(fd, side), Some(Waiter::Sock(_))) {
                agenda.watches.pause(fd, side)
            } else {
                None
            }
        });
        let Some(Waiter::Sock(wait)) = wait else { return Ok(()) };
        let SockWait { future, action } = *wait;
        let future = future.bind(py);
        if future.call_method0(name!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        match action.attempt(py, fd, self) {
            Ok(Progress::Done(result)) => {
                future.call_method1(name!(py, "set_result"), (result,))?;
            }
            Ok(Progress::Later(action)) => {
                self.wait_for(py, fd, side, SockWait { future: future.clone().unbind(), action })?;
            }
            Err(error) if is_exit(py, &error) => return Err(error),
            Err(error) => {
                future.call_method1(name!(py, "set_exception"), (error.into_value(py),))?;
            }
        }
        Ok(())
    }
}

fn closed() -> io::Error {
    const EBADF: i32 = 9;
    io::Error::from_raw_os_error(EBADF)
}

fn in_one_piece(object: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    let buffer = PyBuffer::<u8>::get(object)?;
    if buffer.is_c_contiguous() {
        Ok(buffer)
    } else {
        Err(PyValueError::new_err("the buffer must be in one piece"))
    }
}

#[pymethods]
impl LoopCore {
    /// Receive; gives whether that is done, and the bytes or a future of them.
    #[pyo3(name = "_sock_receive")]
    fn sock_receive(
        slf: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        most: usize,
    ) -> PyResult<(bool, Py<PyAny>)> {
        Self::act(slf, sock, Action::Receive(most))
    }

    /// Receive into a buffer; gives whether that is done, and the count or a future of it.
    #[pyo3(name = "_sock_fill")]
    fn sock_fill(
        slf: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<(bool, Py<PyAny>)> {
        let buffer = in_one_piece(buffer)?;
        if buffer.readonly() {
            return Err(PyValueError::new_err("the buffer cannot be written to"));
        }
        Self::act(slf, sock, Action::Fill(buffer))
    }

    /// Send all; gives whether that is done, and None or a future.
    #[pyo3(name = "_sock_send")]
    fn sock_send(
        slf: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<(bool, Py<PyAny>)> {
        Self::act(slf, sock, Action::Send(in_one_piece(data)?, 0))
    }

    /// Forget who waits for a socket, if it is still the owner of this future.
    fn _sock_forget(
        &self,
        py: Python<'_>,
        sock: &Bound<'_, PyAny>,
        future: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let fd: RawFd = sock.call_method0(name!(py, "fileno"))?.extract()?;
        let old = self.agenda.with(py, |agenda| {
            let sides = [Side::Read, Side::Write];
            let own = |side: &Side| {
                matches!(agenda.who(fd, *side), Some(Waiter::Sock(wait)) if wait.future.is(future))
            };
            let side = sides.into_iter().find(own)?;
            agenda.watches.pause(fd, side)
        });
        drop(old);
        Ok(())
    }
}

impl SockWait {
    pub(super) fn visit(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.future)
    }
}

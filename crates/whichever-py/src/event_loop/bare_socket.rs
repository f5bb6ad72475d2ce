//! A connected socket that Python has no object for: what transports are made on that the loop connected or accepted itself.
//!
//! It has the methods of `socket.socket` that a transport needs. When a program asks for the socket, it becomes one.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use whichever_sys::{Address, accept, connect, own_address, send_at_once, shut_down, stream_socket};

use super::address::as_python;
use super::brief::Brief;
use super::core::LoopCore;
use super::errors::os_error;
use crate::lasting::{Lasting, name};

/// What the kernel calls a descriptor that is closed.
const EBADF: i32 = 9;

/// Most connections that are accepted together: others want to be served, too.
const MOST_ACCEPTED: usize = 64;

/// An end's address, in few bytes: there are many connections.
enum Name {
    V4(SocketAddrV4),
    Other(Box<Address>),
}

impl Name {
    fn new(address: Address) -> Self {
        match address.as_ip() {
            Some(SocketAddr::V4(own)) => Self::V4(own),
            _ => Self::Other(Box::new(address)),
        }
    }

    fn address(&self) -> Address {
        match self {
            Self::V4(own) => Address::ip((*own).into()),
            Self::Other(own) => **own,
        }
    }
}

/// See the module.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct BareSocket {
    state: Brief<State>,
}

struct State {
    /// None once it is closed, or Python's.
    fd: Option<OwnedFd>,
    peer: Name,
    /// Its own address, from when somebody asked for it or it was closed.
    own: Option<Name>,
}

// A server may hold a hundred thousand of them.
const _: () = assert!(size_of::<State>() <= 40);

impl BareSocket {
    fn new(fd: OwnedFd, peer: Address) -> Self {
        send_at_once(fd.as_raw_fd());
        Self { state: Brief::new(State { fd: Some(fd), peer: Name::new(peer), own: None }) }
    }

    pub(super) fn descriptor(&self, py: Python<'_>) -> RawFd {
        self.state.with(py, |state| state.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }
}

impl State {
    fn learn_own(&mut self) -> Option<Address> {
        if self.own.is_none() {
            self.own = own_address(self.fd.as_ref()?.as_raw_fd()).ok().map(Name::new);
        }
        self.own.as_ref().map(Name::address)
    }
}

#[pymethods]
impl BareSocket {
    fn fileno(&self, py: Python<'_>) -> RawFd {
        self.descriptor(py)
    }

    /// Its own address; known after its end, too.
    fn getsockname<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.state.with(py, State::learn_own) {
            Some(own) => as_named(py, &own),
            None => Err(os_error(py, &std::io::Error::from_raw_os_error(EBADF))),
        }
    }

    /// The address of whom it was connected to; known after its end, too.
    fn getpeername<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        as_named(py, &self.state.with(py, |state| state.peer.address()))
    }

    fn shutdown(&self, py: Python<'_>, how: i32) -> PyResult<()> {
        shut_down(self.descriptor(py), how).map_err(|error| os_error(py, &error))
    }

    fn close(&self, py: Python<'_>) {
        let fd = self.state.with(py, |state| {
            state.learn_own();
            state.fd.take()
        });
        drop(fd);
    }

    /// Make it a socket of Python's, which then owns the descriptor.
    fn as_socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static SOCKET: Lasting<PyAny> = Lasting::new();
        let options = PyDict::new(py);
        options.set_item(name!(py, "fileno"), self.descriptor(py))?;
        let class = SOCKET.get_or_make(py, || py.import("socket")?.getattr("socket"))?;
        let socket = class.call((), Some(&options))?;
        let fd = self.state.with(py, |state| state.fd.take());
        // The socket closes it from now on.
        let _ = fd.map(IntoRawFd::into_raw_fd);
        socket.call_method1(name!(py, "setblocking"), (false,))?;
        Ok(socket)
    }
}

/// An address as a socket's methods give it: one without a name is empty.
fn as_named<'py>(py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
    let made = as_python(py, address)?;
    Ok(if made.is_none() { PyString::new(py, "").into_any() } else { made })
}

#[pymethods]
impl LoopCore {
    /// Accept who wants to connect to a listening socket, but not too many at once.
    fn _accept(&self, py: Python<'_>, listener: RawFd) -> PyResult<Vec<BareSocket>> {
        let most = self.crowd.load(Ordering::Relaxed);
        let mut accepted = Vec::new();
        while accepted.len() < most {
            match accept(listener) {
                Ok((fd, peer)) => accepted.push(BareSocket::new(fd, peer)),
                // The kernel reports them again, and again if it fails again: then nobody is lost that was accepted.
                Err(_) if !accepted.is_empty() => break,
                Err(error) if is_nobody(&error) => break,
                Err(error) => return Err(os_error(py, &error)),
            }
        }
        let next = if accepted.len() == most { most * 2 } else { accepted.len().max(1) };
        self.crowd.store(next.min(MOST_ACCEPTED), Ordering::Relaxed);
        Ok(accepted)
    }

    /// Connect to a port of this machine, if that is what the host's number says: then it is done at once, and no name has to
    /// be looked up. None where it takes longer after all, or where the host is another: then it is asyncio's.
    #[expect(clippy::unused_self, reason = "a method beside those of asyncio that it stands for")]
    fn _connect_here(
        &self,
        host: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
    ) -> PyResult<Option<BareSocket>> {
        let py = host.py();
        let Some(to) = here(host, port) else { return Ok(None) };
        let fd = stream_socket(to).map_err(|error| os_error(py, &error))?;
        let is_done = connect(fd.as_raw_fd(), to).map_err(|error| refused(py, &error, to))?;
        Ok(is_done.then(|| BareSocket::new(fd, Address::ip(to))))
    }
}

/// Whether it says that nobody wants to connect any more.
fn is_nobody(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

/// The address, if it is this machine's own by its number.
fn here(host: &Bound<'_, PyAny>, port: &Bound<'_, PyAny>) -> Option<SocketAddr> {
    let host: IpAddr = host.cast_exact::<PyString>().ok()?.to_str().ok()?.parse().ok()?;
    let port: u16 = port.extract().ok()?;
    host.is_loopback().then_some(SocketAddr::new(host, port))
}

/// An error as asyncio words it.
fn refused(py: Python<'_>, error: &std::io::Error, to: SocketAddr) -> PyErr {
    let Some(number) = error.raw_os_error() else { return os_error(py, error) };
    let worded = as_python(py, &Address::ip(to))
        .and_then(|address| address.repr())
        .map(|address| format!("Connect call failed {address}"))
        .and_then(|text| py.get_type::<PyOSError>().call1((number, text)));
    worded.map_or_else(|error| error, PyErr::from_value)
}

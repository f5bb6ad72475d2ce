//! A datagram socket as a transport: what has arrived is taken in one system call, and what callbacks answer leaves in one.
//!
//! As with streams, what a callback sends leaves when the callback is over; here that is after all datagrams of one
//! call have been handed on. What is rare, names that must be looked up among it, is Python's
//! (`whichever/loop/_datagram.py`).

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::RawFd;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use whichever_reactor::Side;
use whichever_sys::{Address, Datagrams, IP_DATAGRAM, MOST_DATAGRAMS, send_datagrams};

use super::address::{Family, as_python, parse};
use super::brief::Brief;
use super::call::{call_method_with_two, copy_context};
use super::core::{Gathered, LoopCore, Waiter};
use super::errors::os_error;
use super::flow::{Level, MUCH, exact_bytes};
use super::scene::{Scene, within_scene};
use super::turn::is_exit;
use crate::lasting::name;

/// Room for one datagram that does not go over IP, as in asyncio.
const LONGEST: usize = 256 * 1024;

/// What a datagram counts beside its bytes, as in asyncio.
const HEADER: usize = 8;

/// A datagram that waits to be sent.
struct Outgoing {
    bytes: Py<PyBytes>,
    /// None on a connected socket.
    address: Option<Address>,
}

/// What a transport is about.
struct State {
    protocol: Option<Py<PyAny>>,
    /// What the protocol's methods run in.
    scene: Scene,
    queue: VecDeque<Outgoing>,
    /// How many bytes wait there.
    level: Level,
    is_closing: bool,
    /// Whether the protocol has been asked to pause writing.
    is_full: bool,
    /// Whether the loop will flush it when the callback is over.
    is_gathering: bool,
    /// Whether it waits for the kernel to take more.
    is_stuck: bool,
    /// Whether `connection_lost` has been scheduled.
    is_lost: bool,
}

/// The native half of `DatagramTransport`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct DatagramCore {
    owner: Py<LoopCore>,
    fd: RawFd,
    family: Family,
    /// Whether the socket has one peer, so that the kernel knows where datagrams go.
    is_connected: bool,
    state: Brief<State>,
}

impl State {
    fn new(protocol: Py<PyAny>, context: Py<PyAny>) -> Self {
        Self {
            protocol: Some(protocol),
            scene: Scene::new(context),
            queue: VecDeque::new(),
            level: Level::new(),
            is_closing: false,
            is_full: false,
            is_gathering: false,
            is_stuck: false,
            is_lost: false,
        }
    }

    /// Whether something waits that may leave.
    fn has_work(&self) -> bool {
        !self.queue.is_empty() && !self.is_stuck && !self.is_lost
    }

    /// Send as many as the kernel takes in one call.
    fn send_some(&mut self, py: Python<'_>, fd: RawFd) -> std::io::Result<()> {
        const NOTHING: (&[u8], Option<&Address>) = (&[], None);
        let mut datagrams = [NOTHING; MOST_DATAGRAMS];
        let count = self.queue.len().min(MOST_DATAGRAMS);
        for (datagram, own) in datagrams.iter_mut().zip(&self.queue) {
            *datagram = (own.bytes.bind(py).as_bytes(), own.address.as_ref());
        }
        let sent = send_datagrams(fd, &datagrams[..count])?;
        (0..sent).for_each(|_| self.drop_first(py));
        Ok(())
    }

    fn drop_first(&mut self, py: Python<'_>) {
        // Bytes run no Python code when they are dropped.
        if let Some(gone) = self.queue.pop_front() {
            self.level.bytes -= gone.bytes.bind(py).as_bytes().len() + HEADER;
        }
        // A burst must not cost an idle socket its memory for ever.
        if self.queue.is_empty() && self.queue.capacity() > MOST_DATAGRAMS {
            self.queue = VecDeque::new();
        }
    }
}

impl DatagramCore {
    fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, work)
    }

    /// Do what may call the protocol.
    fn in_context<R>(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        within_scene(py, &self.state, |state| &mut state.scene, work)
    }

    fn context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| state.scene.context.as_ref().map(|own| own.clone_ref(py)))
    }

    /// Something has arrived.
    pub(super) fn readable(slf: &Bound<'_, Self>, owner: &LoopCore) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| state.is_closing) {
            return Ok(());
        }
        let mut arrived = owner.datagrams.with(py, Option::take).unwrap_or_default();
        let longest = if core.family.is_ip() { IP_DATAGRAM } else { LONGEST };
        let done = match arrived.receive(core.fd, longest) {
            Ok(count) => core.in_context(py, || Self::pass_on(slf, &arrived, count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => core.in_context(py, || Self::tell_error(slf, &os_error(py, &error))),
        };
        owner.datagrams.with(py, |kept| kept.replace(arrived));
        done
    }

    /// Hand datagrams to the protocol, until it closes the transport.
    fn pass_on(slf: &Bound<'_, Self>, arrived: &Datagrams, count: usize) -> PyResult<()> {
        let py = slf.py();
        for index in 0..count {
            let Some((bytes, sender)) = arrived.get(index) else { break };
            let protocol = slf.get().with(py, |state| {
                state.protocol.as_ref().filter(|_| !state.is_closing).map(|own| own.clone_ref(py))
            });
            let Some(protocol) = protocol else { break };
            let bytes = PyBytes::new(py, bytes);
            let sender = as_python(py, sender)?;
            let name = name!(py, "datagram_received");
            if let Err(error) = call_method_with_two(protocol.bind(py), name, (bytes.as_any(), &sender)) {
                if is_exit(py, &error) {
                    return Err(error);
                }
                slf.call_method1(name!(py, "_callback_failed"), (name, error.into_value(py)))?;
            }
        }
        Ok(())
    }

    fn tell_error(slf: &Bound<'_, Self>, error: &PyErr) -> PyResult<()> {
        let py = slf.py();
        let name = name!(py, "_tell_error");
        slf.get().in_context(py, || slf.call_method1(name, (error.value(py),)).map(drop))
    }

    /// Send what a callback has written, now that it is over.
    pub(super) fn callback_ended(slf: &Bound<'_, Self>) -> PyResult<()> {
        let has_work = slf.get().with(slf.py(), |state| {
            state.is_gathering = false;
            state.has_work()
        });
        if has_work { Self::flush(slf) } else { Ok(()) }
    }

    /// The kernel takes more.
    pub(super) fn writable(slf: &Bound<'_, Self>) -> PyResult<()> {
        let is_waiting = slf.get().with(slf.py(), |state| !state.is_lost && !state.queue.is_empty());
        if is_waiting { Self::flush(slf) } else { Ok(()) }
    }

    /// Send what waits, and see to what follows from it. A datagram that fails is dropped, and told of.
    fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        loop {
            let sent =
                core.with(
                    py,
                    |state| {
                        if state.queue.is_empty() { None } else { Some(state.send_some(py, core.fd)) }
                    },
                );
            match sent {
                None => return Self::has_flushed(slf),
                Some(Ok(())) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                    if !core.with(py, |state| std::mem::replace(&mut state.is_stuck, true)) {
                        core.watch(slf, Side::Write)?;
                    }
                    return Self::after_progress(slf);
                }
                Some(Err(error)) => {
                    core.with(py, |state| state.drop_first(py));
                    Self::tell_error(slf, &os_error(py, &error))?;
                }
            }
        }
    }

    /// Nothing waits any more.
    fn has_flushed(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| std::mem::take(&mut state.is_stuck)) {
            core.unwatch(py, Side::Write);
        }
        Self::after_progress(slf)?;
        // A protocol that may write again may have done so.
        let is_last = core.with(py, |state| {
            let is_last = state.queue.is_empty() && state.is_closing && !state.is_lost;
            state.is_lost |= is_last;
            is_last
        });
        if is_last {
            core.in_context(py, || slf.call_method1(name!(py, "_call_connection_lost"), (py.None(),)))?;
        }
        Ok(())
    }

    /// Ask the protocol to pause or to go on, as what waits has grown or shrunk.
    fn after_progress(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().with(py, |state| state.level.turn(&mut state.is_full, py)) {
            Some(name) => {
                slf.get().in_context(py, || slf.call_method1(name!(py, "_control_flow"), (name,)).map(drop))
            }
            None => Ok(()),
        }
    }

    fn watch(&self, slf: &Bound<'_, Self>, side: Side) -> PyResult<()> {
        self.owner.get().watch_for(slf.py(), self.fd, side, Waiter::Datagrams(slf.clone().unbind()))
    }

    fn unwatch(&self, py: Python<'_>, side: Side) {
        drop(self.owner.get().unwatch_for(py, self.fd, side));
    }

    /// Queue a datagram, and let it leave when the callback is over.
    fn push(slf: &Bound<'_, Self>, bytes: Bound<'_, PyBytes>, address: Option<Address>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let loop_core = core.owner.get();
        let may_gather = loop_core.is_in_callback();
        let length = bytes.as_bytes().len() + HEADER;
        let outgoing = Outgoing { bytes: bytes.unbind(), address };
        let (begins, leaves) = core.with(py, |state| {
            state.level.bytes += length;
            state.queue.push_back(outgoing);
            if state.is_stuck {
                return (false, false);
            }
            let leaves = !may_gather || state.is_lost || state.level.bytes > MUCH.min(state.level.high);
            (!leaves && !std::mem::replace(&mut state.is_gathering, true), leaves)
        });
        if begins {
            loop_core.flush_later(py, Gathered::Datagrams(slf.clone().unbind()));
        }
        if leaves { Self::flush(slf) } else { Self::after_progress(slf) }
    }
}

#[pymethods]
impl DatagramCore {
    #[new]
    #[pyo3(signature = (owner, sock, protocol, *_args, **_kwargs))]
    fn new(
        owner: Bound<'_, LoopCore>,
        sock: &Bound<'_, PyAny>,
        protocol: Bound<'_, PyAny>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = owner.py();
        let context = copy_context(py)?;
        let fd = sock.call_method0(name!(py, "fileno"))?.extract()?;
        let family = Family::of(sock)?;
        // A pair of Unix sockets has a peer without a name.
        let is_connected = sock.call_method0(name!(py, "getpeername")).is_ok();
        owner.get().agenda.with(py, |agenda| agenda.streams.insert(fd));
        let state = Brief::new(State::new(protocol.unbind(), context));
        Ok(Self { owner: owner.unbind(), fd, family, is_connected, state })
    }

    /// Send a datagram, as soon as the callback that does so is over. To another one than this socket's peer `addr` is needed.
    #[pyo3(signature = (data, addr = None))]
    fn sendto(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
        addr: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let bytes = exact_bytes(data)?;
        if core.is_connected {
            if let Some(addr) = addr {
                slf.call_method1(name!(py, "_check_peer"), (addr,))?;
            }
            if core.with(py, |state| state.is_lost) {
                return slf.call_method0(name!(py, "_wrote_in_vain")).map(drop);
            }
            return Self::push(slf, bytes, None);
        }
        // As in asyncio, what is sent after the end still goes as long as there is a socket.
        if core.with(py, |state| state.protocol.is_none()) {
            return Ok(());
        }
        let addr = addr.unwrap_or_else(|| py.None().into_bound(py));
        let address = match parse(core.family, &addr) {
            Some(address) => Some(address),
            // A name to look up, or nonsense; None when the protocol has been told that it is.
            None => match slf.call_method1(name!(py, "_resolved"), (&addr,))? {
                nothing if nothing.is_none() => return Ok(()),
                found => parse(core.family, &found),
            },
        };
        match address {
            Some(address) => Self::push(slf, bytes, Some(address)),
            None => Err(PyTypeError::new_err(format!("{addr:?} is no address of this socket"))),
        }
    }

    /// Close, once what waits has been sent.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| state.has_work() && !state.is_closing) {
            Self::flush(slf)?;
        }
        if core.with(py, |state| std::mem::replace(&mut state.is_closing, true)) {
            return Ok(());
        }
        core.unwatch(py, Side::Read);
        if core.with(py, |state| state.queue.is_empty()) {
            return Self::lose(slf, &py.None().into_bound(py));
        }
        Ok(())
    }

    /// Close now: what the kernel has not taken is dropped.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::lose(slf, &slf.py().None().into_bound(slf.py()))
    }

    /// Call `connection_lost` in the next turn.
    #[pyo3(name = "_force_close")]
    fn lose(slf: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| state.has_work()) {
            // What was gathered would have left before, had it not been gathered.
            Self::flush(slf)?;
        }
        let old = core.with(py, |state| {
            state.is_closing = true;
            state.level.bytes = 0;
            (std::mem::replace(&mut state.is_lost, true), std::mem::take(&mut state.queue))
        });
        if old.0 {
            return Ok(());
        }
        core.unwatch(py, Side::Read);
        core.unwatch(py, Side::Write);
        let call = slf.getattr(name!(py, "_call_connection_lost"))?;
        LoopCore::call_in(core.owner.bind(py), (call, error), core.context(py))
    }

    /// Begin to receive, once `connection_made` has been called.
    fn _begin(slf: &Bound<'_, Self>) -> PyResult<()> {
        let core = slf.get();
        if core.with(slf.py(), |state| state.is_closing) { Ok(()) } else { core.watch(slf, Side::Read) }
    }

    fn is_closing(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_closing)
    }

    /// Bytes that wait, after what can leave has left.
    fn get_write_buffer_size(slf: &Bound<'_, Self>) -> PyResult<usize> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| state.has_work()) {
            Self::flush(slf)?;
        }
        Ok(core.with(py, |state| state.level.bytes))
    }

    fn get_write_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
        self.with(py, |state| (state.level.low, state.level.high))
    }

    fn _set_limits(slf: &Bound<'_, Self>, low: usize, high: usize) -> PyResult<()> {
        slf.get().with(slf.py(), |state| (state.level.low, state.level.high) = (low, high));
        Self::get_write_buffer_size(slf)?;
        Self::after_progress(slf)
    }

    fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| state.protocol.as_ref().map(|own| own.clone_ref(py)))
    }

    fn set_protocol(&self, protocol: Bound<'_, PyAny>) {
        let old = self.with(protocol.py(), |state| state.protocol.replace(protocol.clone().unbind()));
        drop(old);
    }

    /// What all of the protocol's methods run in.
    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.context(py)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<LoopCore> {
        self.owner.clone_ref(py)
    }

    #[getter]
    fn _sock_fd(&self) -> RawFd {
        self.fd
    }

    /// Whether it waits for its socket: to be read, to be written.
    fn _watched(&self, py: Python<'_>) -> (bool, bool) {
        self.owner.get().agenda.with(py, |agenda| {
            let own = |side| matches!(agenda.who(self.fd, side), Some(Waiter::Datagrams(_)));
            (own(Side::Read), own(Side::Write))
        })
    }

    /// Let go of protocol and descriptor: the socket is about to be closed.
    fn _forget(&self, py: Python<'_>) {
        let old = self.owner.get().agenda.with(py, |agenda| {
            agenda.streams.remove(&self.fd);
            agenda.poller.clone().map(|poller| agenda.watches.forget(&poller, self.fd))
        });
        drop(old);
        let old = self.with(py, |state| (state.protocol.take(), state.scene.context.take()));
        drop(old);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        let seen = self.state.peek(|state| {
            visit.call(&state.protocol)?;
            visit.call(&state.scene.context)
        });
        seen.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let old = self.with(py, |state| (state.protocol.take(), state.scene.context.take()));
        drop(old);
    }
}

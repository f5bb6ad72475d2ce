//! A connected stream socket as a transport: its state, and what Python sees of it.
//!
//! How bytes go out is told in `flow`, how they come in in `receive`. Rare things, and what asyncio decides about errors, are
//! Python's (`whichever/loop/_stream.py`).

use std::collections::VecDeque;
use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use whichever_reactor::Side;

use super::bare_socket::BareSocket;
use super::brief::Brief;
use super::call::copy_context;
use super::core::{LoopCore, Ready, Waiter};
use super::flow::{Level, is_bytes_like, not_bytes};
use super::reader::Feed;
use super::receive::Room;
use super::scene::{Scene, within_scene};
use crate::lasting::name;

/// Bytes that wait to be sent.
pub(super) struct Chunk {
    /// Exactly bytes, so that dropping them runs no Python code.
    pub(super) bytes: Py<PyBytes>,
    /// How many of them have been sent.
    pub(super) sent: usize,
}

/// What a transport is about.
#[expect(clippy::struct_excessive_bools, reason = "asyncio's states are independent of each other")]
pub(super) struct State {
    pub(super) protocol: Option<Py<PyAny>>,
    /// Whether the protocol gives us its own buffers.
    pub(super) is_buffered: bool,
    /// The reader that stands behind the protocol, if it is fed without it.
    pub(super) feed: Option<Box<Feed>>,
    /// What the protocol's methods run in.
    pub(super) scene: Scene,
    pub(super) queue: VecDeque<Chunk>,
    /// How many bytes wait there.
    pub(super) level: Level,
    /// How much the next read makes room for.
    pub(super) room: Room,
    /// Whether `connection_made` has been called, so that reading may begin.
    pub(super) has_begun: bool,
    pub(super) is_closing: bool,
    /// Whether it has let go of its descriptor.
    is_over: bool,
    /// Whether the program has paused reading.
    pub(super) is_paused: bool,
    /// Whether the protocol has been asked to pause writing.
    pub(super) is_full: bool,
    /// Whether no more will be written.
    pub(super) is_ended: bool,
    /// Whether the loop will flush it when the callback is over.
    pub(super) is_gathering: bool,
    /// Whether it waits for the kernel to take more.
    pub(super) is_stuck: bool,
    /// Set when `connection_lost` has been scheduled, and counted up by each write after that.
    pub(super) lost: u32,
    /// Who waits for the queue to be empty, with writing forbidden: sendfile.
    pub(super) empty_waiter: Option<Py<PyAny>>,
}

// A server may hold a hundred thousand of them: what few need is put in a box.
const _: () = assert!(size_of::<State>() <= 120);

/// The native half of `StreamTransport`.
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct StreamCore {
    pub(super) owner: Py<LoopCore>,
    pub(super) fd: RawFd,
    pub(super) state: Brief<State>,
}

impl State {
    fn new(protocol: Py<PyAny>, context: Py<PyAny>) -> Self {
        Self {
            protocol: Some(protocol),
            is_buffered: false,
            feed: None,
            scene: Scene::new(context),
            queue: VecDeque::new(),
            level: Level::new(),
            room: Room::default(),
            has_begun: false,
            is_closing: false,
            is_over: false,
            is_paused: false,
            is_full: false,
            is_ended: false,
            is_gathering: false,
            is_stuck: false,
            lost: 0,
            empty_waiter: None,
        }
    }

    /// Whether what arrives is to be read.
    pub(super) fn is_reading(&self) -> bool {
        !self.is_closing && !self.is_paused
    }
}

impl StreamCore {
    pub(super) fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, work)
    }

    /// Do what may call the protocol.
    pub(super) fn in_context<R>(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        within_scene(py, &self.state, |state| &mut state.scene, work)
    }

    fn context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| state.scene.context.as_ref().map(|own| own.clone_ref(py)))
    }

    /// Begin to read, now that `connection_made` has been called.
    pub(super) fn begin(slf: &Bound<'_, Self>) -> PyResult<()> {
        let core = slf.get();
        let reads = core.with(slf.py(), |state| {
            state.has_begun = true;
            state.is_reading()
        });
        let watched = if reads { core.watch(slf, Side::Read) } else { Ok(()) };
        watched.or_else(|error| Self::fatal(slf, error, "Fatal error: the socket cannot be read."))
    }

    pub(super) fn watch(&self, slf: &Bound<'_, Self>, side: Side) -> PyResult<()> {
        self.owner.get().watch_for(slf.py(), self.fd, side, Waiter::Stream(slf.clone().unbind()))
    }

    /// Wait no more, and let the kernel know at once.
    pub(super) fn unwatch(&self, py: Python<'_>, side: Side) {
        drop(self.owner.get().unwatch_for(py, self.fd, side));
    }

    /// Wait no more for a while.
    fn pause(&self, py: Python<'_>, side: Side) {
        let waiter = self.owner.get().agenda.with(py, |agenda| agenda.watches.pause(self.fd, side));
        drop(waiter);
    }
}

#[pymethods]
impl StreamCore {
    #[new]
    #[pyo3(signature = (owner, sock, protocol, *_args, **options))]
    fn new(
        owner: Bound<'_, LoopCore>,
        sock: &Bound<'_, PyAny>,
        protocol: Bound<'_, PyAny>,
        _args: &Bound<'_, PyTuple>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = owner.py();
        let given = options.map(|options| options.get_item(name!(py, "context"))).transpose()?.flatten();
        let context = match given {
            Some(given) if !given.is_none() => given.unbind(),
            _ => copy_context(py)?,
        };
        let fd = match sock.cast_exact::<BareSocket>() {
            Ok(bare) => bare.get().descriptor(py),
            Err(_) => sock.call_method0(name!(py, "fileno"))?.extract()?,
        };
        owner.get().agenda.with(py, |agenda| {
            // Whatever was watched under this number before, it was another file.
            agenda.watches.distrust(fd);
            agenda.streams.insert(fd)
        });
        Ok(Self { owner: owner.unbind(), fd, state: Brief::new(State::new(protocol.unbind(), context)) })
    }

    /// Send bytes, as soon as the callback that wrote them is over.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if !is_bytes_like(data) {
            return Err(not_bytes(data));
        }
        if Self::check_writing(slf)? {
            return Ok(());
        }
        if Self::accept(slf, data)? { Self::flush(slf) } else { Ok(()) }
    }

    /// Send several, in one system call.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        if Self::check_writing(slf)? {
            return Ok(());
        }
        let mut leaves = false;
        for data in list_of_data.try_iter()? {
            leaves |= Self::accept(slf, &data?)?;
        }
        if leaves { Self::flush(slf) } else { Ok(()) }
    }

    /// Say that no more will be written.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| state.is_closing || std::mem::replace(&mut state.is_ended, true)) {
            return Ok(());
        }
        if core.with(py, |state| state.queue.is_empty()) {
            return slf.call_method0(name!(py, "_shut_down_writing")).map(drop);
        }
        if core.with(py, |state| state.is_stuck) { Ok(()) } else { Self::flush(slf) }
    }

    /// Close, once what waits has been sent.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| state.is_closing || (!state.queue.is_empty() && !state.is_stuck)) {
            if core.with(py, |state| state.is_closing) {
                return Ok(());
            }
            // An error closes by itself.
            Self::flush(slf)?;
        }
        if core.with(py, |state| std::mem::replace(&mut state.is_closing, true)) {
            return Ok(());
        }
        core.pause(py, Side::Read);
        let is_last = core.with(py, |state| {
            let is_last = state.queue.is_empty() && state.lost == 0;
            state.lost += u32::from(is_last);
            is_last
        });
        if is_last { Self::lose(slf, &py.None().into_bound(py)) } else { Ok(()) }
    }

    /// Close now: what the kernel has not taken is dropped.
    fn abort(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::force_close(slf, &slf.py().None().into_bound(slf.py()))
    }

    #[pyo3(name = "_force_close")]
    fn force_close(slf: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let is_lost = core.with(py, |state| {
            if state.lost == 0 && !state.is_stuck {
                // What was gathered would have left before, had it not been gathered.
                let _ = state.flush(py, core.fd);
            }
            state.is_closing = true;
            state.lost += 1;
            state.lost > 1
        });
        if is_lost {
            core.with(py, |state| state.lost -= 1);
            return Ok(());
        }
        core.drop_queue(py);
        core.unwatch(py, Side::Read);
        Self::lose(slf, error)
    }

    /// Call `connection_lost` in the next turn.
    #[pyo3(name = "_lose")]
    fn lose(slf: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let call = slf.getattr(name!(py, "_call_connection_lost"))?;
        LoopCore::call_in(slf.get().owner.bind(py), (call, error), slf.get().context(py))
    }

    /// Call `connection_made` in the next turn, and begin to read when it has been called.
    fn _begin_soon(slf: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let owner = core.owner.bind(py);
        let made = protocol.getattr(name!(py, "connection_made"))?;
        LoopCore::call_in(owner, (made, slf.as_any()), core.context(py))?;
        owner.get().push(py, Ready::Begin(slf.clone().unbind()));
        Ok(())
    }

    fn pause_reading(&self, py: Python<'_>) {
        let pauses =
            self.with(py, |state| state.is_reading() && !std::mem::replace(&mut state.is_paused, true));
        if pauses {
            self.pause(py, Side::Read);
        }
    }

    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let core = slf.get();
        let resumes = core.with(slf.py(), |state| {
            !state.is_closing && std::mem::replace(&mut state.is_paused, false) && state.has_begun
        });
        if resumes { core.watch(slf, Side::Read) } else { Ok(()) }
    }

    fn is_reading(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_reading())
    }

    fn is_closing(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_closing)
    }

    /// Bytes that wait, after what can leave has left.
    fn get_write_buffer_size(slf: &Bound<'_, Self>) -> PyResult<usize> {
        let py = slf.py();
        let core = slf.get();
        if core.with(py, |state| !state.queue.is_empty() && !state.is_stuck && state.lost == 0) {
            Self::flush(slf)?;
        }
        Ok(core.with(py, |state| state.level.bytes))
    }

    #[getter]
    fn _protocol_paused(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_full)
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

    fn _set_protocol(&self, protocol: Bound<'_, PyAny>, buffered: bool) {
        let py = protocol.py();
        let old = self.with(py, |state| {
            state.is_buffered = buffered;
            (state.protocol.replace(protocol.unbind()), state.feed.take())
        });
        drop(old);
    }

    #[getter]
    fn _empty_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| state.empty_waiter.as_ref().map(|own| own.clone_ref(py)))
    }

    #[setter(_empty_waiter)]
    fn set_empty_waiter(&self, py: Python<'_>, waiter: Option<Py<PyAny>>) {
        let old = self.with(py, |state| std::mem::replace(&mut state.empty_waiter, waiter));
        drop(old);
    }

    /// Call something of the protocol's for a layer in between, which is TLS.
    #[pyo3(name = "_in_context")]
    fn call_in_context(&self, call: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.in_context(call.py(), || call.call0().map(Bound::unbind))
    }

    /// What all of the protocol's methods run in.
    #[getter]
    fn _context(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.context(py)
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_paused)
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
            let own = |side| matches!(agenda.who(self.fd, side), Some(Waiter::Stream(_)));
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
        let old = self.with(py, |state| {
            state.is_over = true;
            (state.protocol.take(), state.feed.take(), state.scene.context.take())
        });
        drop(old);
    }

    /// Whether its socket has been closed, or is about to be.
    #[getter]
    fn _is_over(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.is_over)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        let seen = self.state.peek(|state| {
            visit.call(&state.protocol)?;
            visit.call(&state.scene.context)?;
            visit.call(&state.empty_waiter)
        });
        seen.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let old = self
            .with(py, |state| (state.protocol.take(), state.scene.context.take(), state.empty_waiter.take()));
        drop(old);
    }
}

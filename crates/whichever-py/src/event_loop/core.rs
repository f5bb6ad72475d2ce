//! What of a loop Python sees: scheduling, its flags, its end.

use std::collections::{HashSet, VecDeque};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};
use whichever_reactor::{Doorbell, Figures, Inbox, Poller, Side, Timers, Watches, nanoseconds};
use whichever_sys::{Datagrams, EventFd, monotonic_ns};

use super::brief::Brief;
use super::datagram::DatagramCore;
use super::handle::Handle;
use super::pulse::Pulse;
use super::snapshot::Snapshot;
use super::socks::SockWait;
use super::stream::StreamCore;
use super::threadsafe;
use crate::lasting::name;

/// Something that is to be run now.
pub(super) enum Ready {
    /// Once.
    Handle(Py<Handle>),
    /// Because a descriptor is ready, and again when it is again.
    Lasting(Py<Handle>),
    /// A handle of asyncio's own.
    Foreign(Py<PyAny>),
    /// A transport whose socket is ready.
    Stream(Py<StreamCore>, Side),
    /// A transport whose `connection_made` has been called.
    Begin(Py<StreamCore>),
    Datagrams(Py<DatagramCore>, Side),
    /// A socket that a task waits for.
    Sock(RawFd, Side),
}

/// A transport that the callback which runs has written to.
pub(super) enum Gathered {
    Stream(Py<StreamCore>),
    Datagrams(Py<DatagramCore>),
}

/// Who waits for a descriptor.
pub(super) enum Waiter {
    Handle(Py<Handle>),
    Stream(Py<StreamCore>),
    Datagrams(Py<DatagramCore>),
    Sock(Box<SockWait>),
}

/// What a loop has to do.
#[derive(Default)]
pub(super) struct Agenda {
    /// What runs in the next turn.
    pub(super) ready: VecDeque<Ready>,
    pub(super) timers: Timers<Py<Handle>>,
    pub(super) watches: Watches<Waiter>,
    /// Who looks which descriptors are ready. None once the loop is closed.
    pub(super) poller: Option<Arc<Poller>>,
    /// Transports that the callback which runs has written to.
    pub(super) gathering: Vec<Gathered>,
    /// The sockets of transports, which nobody else may watch.
    pub(super) streams: HashSet<RawFd>,
    /// By descriptor, the socket object that tasks waited for last.
    pub(super) sockets: Vec<Option<Py<PyWeakrefReference>>>,
}

/// The native half of [`whichever.EventLoop`].
#[pyclass(frozen, subclass, module = "whichever._core")]
pub(crate) struct LoopCore {
    pub(super) agenda: Brief<Agenda>,
    /// What other threads hand in.
    pub(super) inbox: Inbox<Ready, Bell>,
    is_closed: AtomicBool,
    is_stopping: AtomicBool,
    is_debugging: AtomicBool,
    /// The thread that runs the loop, as Python names it; 0 while none does.
    python_thread: AtomicU64,
    /// The thread that takes turns now, by an address of its own; 0 while none does.
    pub(super) turning: AtomicUsize,
    /// What it shows the watchdog.
    pub(super) pulse: Arc<Pulse>,
    /// What it has done.
    pub(super) figures: Brief<Figures>,
    /// Where small messages are received.
    pub(super) buffer: Brief<Vec<u8>>,
    /// Where datagrams are received, once there has been one.
    pub(super) datagrams: Brief<Option<Datagrams>>,
    /// How many connections are accepted next, at most: to find out that nobody is there costs as much as to accept somebody.
    pub(super) crowd: AtomicUsize,
    /// Whether a callback runs, after which what it wrote is sent.
    pub(super) is_in_callback: AtomicBool,
    /// Whether handles of `call_soon_threadsafe` are waited for.
    pub(super) shares_handles: bool,
    /// The context that callbacks see which are scheduled now.
    pub(super) snapshot: Snapshot,
}

/// Ends the loop's sleep.
pub(super) struct Bell(Mutex<Option<EventFd>>);

impl Doorbell for Bell {
    fn ring(&self) {
        self.with(EventFd::ring);
    }
}

impl Bell {
    pub(super) fn with(&self, work: impl FnOnce(&EventFd)) {
        if let Some(bell) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            work(bell);
        }
    }

    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A number that is this thread's alone while it lives.
pub(super) fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

impl LoopCore {
    pub(super) fn check_open(&self) -> PyResult<()> {
        if self.is_closed.load(Ordering::Relaxed) { Err(closed()) } else { Ok(()) }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    pub(super) fn is_debugging(&self) -> bool {
        self.is_debugging.load(Ordering::Relaxed)
    }

    /// The thread that runs the loop, as Python names it.
    pub(super) fn runner(&self) -> Option<u64> {
        Some(self.python_thread.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// Whether a program runs the loop, rather than a test one turn of it.
    pub(super) fn is_run(&self) -> bool {
        self.runner().is_some()
    }

    /// Whether a callback of this loop runs in this thread.
    pub(super) fn is_in_callback(&self) -> bool {
        self.is_in_callback.load(Ordering::Relaxed) && self.turning.load(Ordering::Relaxed) == this_thread()
    }

    /// Send what a transport has gathered once the callback is over.
    pub(super) fn flush_later(&self, py: Python<'_>, transport: Gathered) {
        self.agenda.with(py, |agenda| agenda.gathering.push(transport));
    }

    /// A timer was cancelled.
    pub(super) fn timer_lapsed(&self, py: Python<'_>) {
        self.agenda.with(py, |agenda| agenda.timers.lapse());
    }

    /// Put something in the next turn.
    pub(super) fn push(&self, py: Python<'_>, ready: Ready) {
        self.agenda.with(py, |agenda| agenda.ready.push_back(ready));
    }

    /// Put something in the next turn, from whatever thread.
    pub(super) fn push_from_anywhere(&self, py: Python<'_>, ready: Ready) {
        match self.turning.load(Ordering::Relaxed) {
            own if own == this_thread() => self.push(py, ready),
            // Without a GIL, threads would meet at what the loop holds.
            turning if cfg!(Py_GIL_DISABLED) && turning != 0 => self.inbox.send(ready),
            // A loop that is about to sleep says so and then looks once more, attached as we are.
            _ => {
                self.push(py, ready);
                self.inbox.wake();
            }
        }
    }

    /// The same with a handle that its thread may cancel at any time.
    pub(super) fn push_shared(&self, py: Python<'_>, ready: Ready) {
        if let Ready::Handle(handle) = &ready
            && self.shares_handles
        {
            handle.get().share(py);
        }
        self.push_from_anywhere(py, ready);
    }

    /// What debugging looks at before a callback is taken: the thread, and the callback itself. Gives the traceback.
    pub(super) fn examine(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        method: &str,
    ) -> PyResult<Option<Py<PyAny>>> {
        if !slf.get().is_debugging() {
            return Ok(None);
        }
        slf.call_method1(name!(slf.py(), "_examine"), (callback, method)).map(|trace| Some(trace.unbind()))
    }
}

/// Throw out the timers that were cancelled, if they are many; the caller drops them.
pub(super) fn sweep(py: Python<'_>, timers: &mut Timers<Py<Handle>>) -> Vec<Py<Handle>> {
    if timers.wants_sweep() { timers.sweep(|timer| timer.get().is_cancelled(py)) } else { Vec::new() }
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*args, without_epoll = false, **_kwargs))]
    fn new(
        args: &Bound<'_, PyTuple>,
        without_epoll: bool,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let bell = EventFd::new()?;
        let poller = Arc::new(Poller::new(without_epoll)?);
        let agenda = Agenda { poller: Some(poller), ..Agenda::default() };
        Self::hear(&agenda, &bell)?;
        Ok(Self {
            agenda: Brief::new(agenda),
            inbox: Inbox::new(Bell(Mutex::new(Some(bell)))),
            is_closed: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_debugging: AtomicBool::new(false),
            python_thread: AtomicU64::new(0),
            turning: AtomicUsize::new(0),
            pulse: Arc::default(),
            figures: Brief::new(Figures::default()),
            buffer: Brief::new(Vec::new()),
            datagrams: Brief::new(None),
            crowd: AtomicUsize::new(1),
            is_in_callback: AtomicBool::new(false),
            shares_handles: threadsafe::is_known(args.py()),
            snapshot: Snapshot::new(),
        })
    }

    /// The loop's clock, in seconds: that of `time.monotonic`.
    #[expect(clippy::unused_self, reason = "a method by asyncio's interface")]
    fn time(&self) -> f64 {
        now()
    }

    /// Let the loop stop after the turn it is in.
    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn _check_closed(&self) -> PyResult<()> {
        self.check_open()
    }

    fn get_debug(&self) -> bool {
        self.is_debugging()
    }

    /// asyncio's own handles come this way.
    fn _add_callback(&self, handle: Bound<'_, PyAny>) -> PyResult<()> {
        let py = handle.py();
        if !handle.getattr(name!(py, "_cancelled"))?.is_truthy()? {
            let ready = match handle.cast_into::<Handle>() {
                Ok(own) => Ready::Handle(own.unbind()),
                Err(other) => Ready::Foreign(other.into_inner().unbind()),
            };
            self.push_from_anywhere(py, ready);
        }
        Ok(())
    }

    fn _write_to_self(&self) {
        self.inbox.wake();
    }

    #[pyo3(name = "_run_once")]
    fn run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::take_turns(slf)
    }

    /// Forget all that is to be done, and close what looks at descriptors.
    fn _close_core(&self, py: Python<'_>) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.empty(py);
        self.agenda.with(py, |agenda| agenda.poller.take());
        self.inbox.bell().close();
    }

    #[getter(_closed)]
    fn closed_now(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn set_closed(&self, value: bool) {
        self.is_closed.store(value, Ordering::Relaxed);
    }

    #[getter(_stopping)]
    fn stopping(&self) -> bool {
        self.is_stopping()
    }

    #[setter(_stopping)]
    fn set_stopping(&self, value: bool) {
        self.is_stopping.store(value, Ordering::Relaxed);
    }

    #[getter(_debug)]
    fn debugging(&self) -> bool {
        self.is_debugging()
    }

    #[setter(_debug)]
    fn set_debugging(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.is_debugging.store(value.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }

    #[getter(_thread_id)]
    fn thread_id(&self) -> Option<u64> {
        self.runner()
    }

    #[setter(_thread_id)]
    fn set_thread_id(&self, value: Option<u64>) {
        self.python_thread.store(value.unwrap_or(0), Ordering::Relaxed);
    }

    #[getter]
    fn slow_callback_duration(&self) -> f64 {
        std::time::Duration::from_nanos(self.pulse.slow_ns.load(Ordering::Relaxed)).as_secs_f64()
    }

    #[setter]
    fn set_slow_callback_duration(&self, seconds: f64) {
        self.pulse.slow_ns.store(nanoseconds(seconds), Ordering::Relaxed);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.snapshot.visit(&visit)?;
        self.agenda.peek(|agenda| agenda.visit(&visit)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.empty(py);
    }
}

impl LoopCore {
    /// Watch the bell like any descriptor, for nobody.
    fn hear(agenda: &Agenda, bell: &EventFd) -> PyResult<()> {
        use std::os::fd::AsRawFd;
        use whichever_sys::Readiness;
        if let Some(poller) = &agenda.poller {
            poller.change(
                bell.as_raw_fd(),
                Readiness::NONE,
                Readiness { readable: true, writable: false },
            )?;
        }
        Ok(())
    }

    /// Forget all that is to be done.
    fn empty(&self, py: Python<'_>) {
        self.snapshot.forget(py);
        let old = self.agenda.with(py, |agenda| {
            let new = Agenda { poller: agenda.poller.clone(), ..Agenda::default() };
            std::mem::replace(agenda, new)
        });
        let timers: Vec<_> = old.timers.iter().map(|timer| timer.clone_ref(py)).collect();
        for timer in timers {
            timer.get().fall_due(py);
            drop(timer.get().take(py));
        }
        for ready in &old.ready {
            if let Ready::Handle(handle) | Ready::Lasting(handle) = ready {
                drop(handle.get().take(py));
            }
        }
        for waiter in old.watches.iter() {
            if let Waiter::Handle(handle) = waiter {
                drop(handle.get().take(py));
            }
        }
        drop(old);
        while let Some(ready) = self.inbox.receive() {
            drop(ready);
        }
    }
}

impl Agenda {
    /// Show a collector all that only the loop holds.
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for ready in &self.ready {
            match ready {
                Ready::Handle(handle) | Ready::Lasting(handle) => Handle::visit(handle, visit)?,
                Ready::Foreign(handle) => visit.call(handle)?,
                Ready::Stream(stream, _) | Ready::Begin(stream) => visit.call(stream)?,
                Ready::Datagrams(datagrams, _) => visit.call(datagrams)?,
                Ready::Sock(..) => {}
            }
        }
        for timer in self.timers.iter() {
            Handle::visit(timer, visit)?;
        }
        for waiter in self.watches.iter() {
            match waiter {
                Waiter::Handle(handle) => Handle::visit(handle, visit)?,
                Waiter::Stream(stream) => visit.call(stream)?,
                Waiter::Datagrams(datagrams) => visit.call(datagrams)?,
                Waiter::Sock(wait) => wait.visit(visit)?,
            }
        }
        for transport in &self.gathering {
            match transport {
                Gathered::Stream(stream) => visit.call(stream)?,
                Gathered::Datagrams(datagrams) => visit.call(datagrams)?,
            }
        }
        Ok(())
    }

    /// Who waits for a side of a descriptor.
    pub(super) fn who(&self, fd: i32, side: Side) -> Option<&Waiter> {
        self.watches.who(fd, side)
    }
}

/// The clock of timers, in seconds.
pub(super) fn now() -> f64 {
    std::time::Duration::from_nanos(monotonic_ns()).as_secs_f64()
}

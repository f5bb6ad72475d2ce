//! One turn after the other: look which descriptors are ready and which timers are due, then run what is ready.
//!
//! The interpreter is left once for each wait that may take time, and never for an event. What callbacks add runs in the
//! next turn. While there is something to run, the kernel is asked now and then, not every turn.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use whichever_reactor::{Glance, Late, Poller, Side};
use whichever_sys::monotonic_ns;

use super::core::{Gathered, LoopCore, Ready, Waiter, sweep, this_thread};
use super::datagram::DatagramCore;
use super::handle::{Call, Handle};
use super::stream::StreamCore;
use super::watchdog::Watched;
use crate::lasting::name;

/// For so long the kernel is not asked again while callbacks are ready: to ask costs as much as some of them do.
const LOOK_EVERY_NS: u64 = 50_000;

/// The longest sleep, as in asyncio: kernels differ in what they take.
const LONGEST_SLEEP_NS: u64 = 24 * 3600 * 1_000_000_000;

/// What a thread keeps while it takes a loop's turns.
struct Turns {
    poller: Arc<Poller>,
    glance: Glance,
    /// What runs in this turn.
    batch: VecDeque<Ready>,
    /// When the kernel was asked last.
    looked_ns: u64,
    /// The descriptor of the bell.
    bell: i32,
    /// None while nobody runs the loop.
    watched: Option<Watched>,
}

impl LoopCore {
    /// Take turns until the loop is told to stop; one turn if nobody runs it.
    pub(super) fn take_turns(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        core.check_open()?;
        let Some(poller) = core.agenda.with(py, |agenda| agenda.poller.clone()) else {
            return core.check_open();
        };
        let mut bell = -1;
        core.inbox.bell().with(|own| bell = own.as_raw_fd());
        let watched = core.runner().and_then(|thread| Watched::new(py, &core.pulse, thread));
        let mut turns =
            Turns { poller, glance: Glance::default(), batch: VecDeque::new(), looked_ns: 0, bell, watched };
        core.figures.with(py, |figures| figures.run(monotonic_ns()));
        let before = core.turning.swap(this_thread(), Ordering::Relaxed);
        let done = core.turn_until_stopped(slf, &mut turns);
        core.figures.with(py, |figures| figures.stop(monotonic_ns()));
        core.turning.store(before, Ordering::Relaxed);
        core.snapshot.forget(py);
        // What an exception left over runs first when the loop runs again.
        core.agenda.with(py, |agenda| {
            while let Some(ready) = turns.batch.pop_back() {
                agenda.ready.push_front(ready);
            }
        });
        done
    }

    fn turn_until_stopped(&self, slf: &Bound<'_, Self>, turns: &mut Turns) -> PyResult<()> {
        loop {
            self.turn(slf, turns)?;
            if self.is_stopping() || !self.is_run() {
                return Ok(());
            }
        }
    }

    fn turn(&self, slf: &Bound<'_, Self>, turns: &mut Turns) -> PyResult<()> {
        let py = slf.py();
        self.collect(py);
        let mut now = monotonic_ns();
        let timeout = self.patience(py, now);
        if timeout != Some(0) {
            self.figures.with(py, |figures| figures.sleep(now));
            let done = self.sleep(py, turns, timeout);
            now = turns.looked_ns;
            self.figures.with(py, |figures| figures.wake(now));
            done?;
            if self.pulse.is_suspect() {
                self.tell_slow(slf, None)?;
            }
            self.gather(py, turns);
        } else if now - turns.looked_ns >= LOOK_EVERY_NS {
            turns.looked_ns = now;
            match turns.poller.wait(Some(0), &mut turns.glance) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => self.gather(py, turns),
            }
        }
        // A handler of a signal is Python code, which callbacks that are no Python code would keep from running.
        py.check_signals()?;
        self.run_timers(py, turns);
        self.agenda.with(py, |agenda| std::mem::swap(&mut agenda.ready, &mut turns.batch));
        self.pulse.turn(now);
        self.figures.with(py, |figures| figures.turn(now, turns.batch.len()));
        self.run_batch(slf, &mut turns.batch)
    }

    /// Take in what other threads have handed in.
    fn collect(&self, py: Python<'_>) {
        while let Some(ready) = self.inbox.receive() {
            self.push(py, ready);
        }
    }

    /// How long there is nothing to do; None if for ever.
    fn patience(&self, py: Python<'_>, now: u64) -> Option<u64> {
        let (timeout, dead) = self.agenda.with(py, |agenda| {
            if !agenda.ready.is_empty() || self.is_stopping() {
                return (Some(0), Vec::new());
            }
            let mut dead = sweep(py, &mut agenda.timers);
            while agenda.timers.first().is_some_and(|timer| timer.get().is_cancelled(py)) {
                agenda.timers.bury();
                dead.extend(agenda.timers.pop());
            }
            let next = agenda.timers.next_ns();
            (next.map(|next| next.saturating_sub(now).min(LONGEST_SLEEP_NS)), dead)
        });
        drop(dead);
        timeout
    }

    /// Wait for descriptors, other threads, or time to pass, without the interpreter.
    fn sleep(&self, py: Python<'_>, turns: &mut Turns, timeout: Option<u64>) -> PyResult<()> {
        self.snapshot.forget(py);
        self.inbox.fall_asleep();
        // Somebody may have handed in something before he could see that we sleep.
        self.collect(py);
        let timeout = if self.agenda.with(py, |agenda| agenda.ready.is_empty()) { timeout } else { Some(0) };
        self.pulse.sleep();
        let waited = py.detach(|| {
            let waited = turns.poller.wait(timeout, &mut turns.glance);
            turns.looked_ns = monotonic_ns();
            self.pulse.wake(turns.looked_ns);
            waited
        });
        self.inbox.awake();
        if let Some(watched) = &turns.watched {
            watched.ring();
        }
        match waited {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                turns.glance.ready.clear();
                Ok(())
            }
            done => done.map_err(PyErr::from),
        }
    }

    /// Queue who waited for what has become ready.
    fn gather(&self, py: Python<'_>, turns: &mut Turns) {
        let bell = turns.bell;
        let poller = &turns.poller;
        self.agenda.with(py, |agenda| {
            for (fd, readiness) in &turns.glance.ready {
                if *fd == bell {
                    self.inbox.bell().with(whichever_sys::EventFd::clear);
                    continue;
                }
                let queue = &mut agenda.ready;
                let mut idle = None;
                agenda.watches.ready(poller, *fd, *readiness, |waiter, side| match waiter {
                    // Cancelled by its own handle, as asyncio lets one do.
                    Waiter::Handle(handle) if handle.get().is_cancelled(py) => idle = Some(side),
                    Waiter::Handle(handle) => queue.push_back(Ready::Lasting(handle.clone_ref(py))),
                    Waiter::Stream(stream) => queue.push_back(Ready::Stream(stream.clone_ref(py), side)),
                    Waiter::Datagrams(own) => queue.push_back(Ready::Datagrams(own.clone_ref(py), side)),
                    Waiter::Sock(_) => queue.push_back(Ready::Sock(*fd, side)),
                });
                if let Some(side) = idle
                    && let Some(Waiter::Handle(handle)) = agenda.watches.unwatch(poller, *fd, side)
                {
                    // Dropped in its turn: here, no Python code may run.
                    queue.push_back(Ready::Lasting(handle));
                }
            }
        });
        self.collect(py);
    }

    /// Queue the timers that are due.
    fn run_timers(&self, py: Python<'_>, _turns: &Turns) {
        if self.agenda.with(py, |agenda| agenda.timers.is_empty()) {
            return;
        }
        let now = monotonic_ns();
        let mut late = Late::default();
        self.agenda.with(py, |agenda| {
            while let Some(due) = agenda.timers.next_ns()
                && let Some(timer) = agenda.timers.pop_due(now)
            {
                if timer.get().is_cancelled(py) {
                    agenda.timers.bury();
                } else {
                    late.add(now - due);
                }
                timer.get().fall_due(py);
                agenda.ready.push_back(Ready::Handle(timer));
            }
        });
        self.figures.with(py, |figures| figures.fired(&late));
    }

    fn run_batch(&self, slf: &Bound<'_, Self>, batch: &mut VecDeque<Ready>) -> PyResult<()> {
        let py = slf.py();
        while let Some(ready) = batch.pop_front() {
            self.is_in_callback.store(true, Ordering::Relaxed);
            self.pulse.beat();
            let done = self.run_one(slf, ready);
            self.is_in_callback.store(false, Ordering::Relaxed);
            self.flush_gathered(py)?;
            done?;
            if self.pulse.is_suspect() {
                self.tell_slow(slf, None)?;
            }
        }
        Ok(())
    }

    fn run_one(&self, slf: &Bound<'_, Self>, ready: Ready) -> PyResult<()> {
        let py = slf.py();
        match ready {
            Ready::Handle(handle) => self.run_handle(slf, handle.bind(py), self.is_debugging()),
            Ready::Lasting(handle) => self.run_handle(slf, handle.bind(py), true),
            Ready::Stream(stream, Side::Read) => StreamCore::readable(stream.bind(py), self),
            Ready::Stream(stream, Side::Write) => StreamCore::writable(stream.bind(py)),
            Ready::Begin(stream) => StreamCore::begin(stream.bind(py)),
            Ready::Datagrams(own, Side::Read) => DatagramCore::readable(own.bind(py), self),
            Ready::Datagrams(own, Side::Write) => DatagramCore::writable(own.bind(py)),
            Ready::Sock(fd, side) => self.socket_ready(py, fd, side),
            Ready::Foreign(handle) => {
                let handle = handle.bind(py);
                if !handle.getattr(name!(py, "_cancelled"))?.is_truthy()? {
                    handle.call_method0(name!(py, "_run"))?;
                }
                Ok(())
            }
        }
    }

    /// Send what the callback that is over has written.
    fn flush_gathered(&self, py: Python<'_>) -> PyResult<()> {
        while let Some(transport) = self.agenda.with(py, |agenda| agenda.gathering.pop()) {
            match transport {
                Gathered::Stream(stream) => StreamCore::callback_ended(stream.bind(py))?,
                Gathered::Datagrams(datagrams) => DatagramCore::callback_ended(datagrams.bind(py))?,
            }
        }
        Ok(())
    }

    fn run_handle(&self, slf: &Bound<'_, Self>, handle: &Bound<'_, Handle>, keeps: bool) -> PyResult<()> {
        let py = slf.py();
        if keeps {
            handle.get().settle(py)?;
        }
        let Some((call, is_shared)) = handle.get().begin(py, keeps) else { return Ok(()) };
        let done = self.call_handle(slf, handle, call, keeps);
        if is_shared {
            handle.get().end(py);
        }
        done
    }

    fn call_handle(
        &self,
        slf: &Bound<'_, Self>,
        handle: &Bound<'_, Handle>,
        call: Call,
        keeps: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let callback = call.callback.clone_ref(py); // for its name, should it turn out to be slow
        let began = if self.is_debugging() { Some(monotonic_ns()) } else { None };
        if let Err((error, call)) = call.run(py) {
            if is_exit(py, &error) {
                return Err(error);
            }
            if let Some(call) = call {
                handle.get().put_back(py, call);
            }
            slf.call_method1(name!(py, "_callback_failed"), (handle, error.into_value(py)))?;
            if !keeps {
                drop(handle.get().take(py));
            }
        }
        if let Some(began) = began {
            let took = monotonic_ns() - began;
            if took >= self.pulse.slow_ns.load(Ordering::Relaxed) {
                let seconds = std::time::Duration::from_nanos(took).as_secs_f64();
                slf.call_method1(name!(py, "_callback_was_slow"), (handle, seconds))?;
            }
        }
        if self.pulse.is_suspect() {
            self.tell_slow(slf, Some(callback.bind(py)))?;
        }
        Ok(())
    }
}

/// Whether an exception ends the loop's run, rather than being a callback's own.
pub(super) fn is_exit(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py)
}

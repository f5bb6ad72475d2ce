//! What a transport writes, from the program to the kernel, and when the protocol is asked to pause.
//!
//! What a callback writes is gathered and leaves in one system call when the callback is over: a header and a body are one
//! packet. Whoever looks at the size of what waits, closes, or writes much, makes it leave at once, so that nobody can tell
//! the difference but the kernel.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};
use whichever_reactor::Side;
use whichever_sys::{MOST_PARTS, send, send_parts};

use super::core::Gathered;
use super::errors::os_error;
use super::stream::{Chunk, State, StreamCore};
use crate::lasting::name;

/// asyncio's limits before a protocol is asked to pause.
const HIGH: usize = 64 * 1024;
const LOW: usize = 16 * 1024;

/// More than this does not wait for the end of a callback.
pub(super) const MUCH: usize = 64 * 1024;

/// What one system call takes at most, so that its list fits on the stack.
const PARTS: usize = 64;
const _: () = assert!(PARTS <= MOST_PARTS);

/// How much waits to be sent, and when the protocol is asked to pause and to go on.
pub(super) struct Level {
    pub(super) bytes: usize,
    /// More than this is too much.
    pub(super) high: usize,
    /// At this, the protocol may go on.
    pub(super) low: usize,
}

impl Level {
    pub(super) fn new() -> Self {
        Self { bytes: 0, high: HIGH, low: LOW }
    }

    /// What the protocol is to be asked, now that what waits has grown or shrunk. `is_full` says what it was asked before.
    pub(super) fn turn<'a, 'py>(
        &self,
        is_full: &mut bool,
        py: Python<'py>,
    ) -> Option<&'a Bound<'py, PyString>> {
        if !*is_full && self.bytes > self.high {
            *is_full = true;
            Some(name!(py, "pause_writing"))
        } else if *is_full && self.bytes <= self.low {
            *is_full = false;
            Some(name!(py, "resume_writing"))
        } else {
            None
        }
    }
}

/// What came of an attempt to send all that waits.
pub(super) enum Flushed {
    /// Nothing waits any more.
    All,
    /// The kernel takes no more now.
    Stuck,
    Failed(std::io::Error),
}

impl State {
    fn push(&mut self, bytes: Py<PyBytes>, length: usize) {
        self.level.bytes += length;
        self.queue.push_back(Chunk { bytes, sent: 0 });
    }

    /// Send as much as the kernel takes.
    pub(super) fn flush(&mut self, py: Python<'_>, fd: RawFd) -> Flushed {
        while !self.queue.is_empty() {
            match self.send_some(py, fd) {
                Ok(count) => self.shorten(py, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flushed::Stuck,
                Err(error) => return Flushed::Failed(error),
            }
        }
        Flushed::All
    }

    fn send_some(&self, py: Python<'_>, fd: RawFd) -> std::io::Result<usize> {
        let rest = |chunk: &Chunk| {
            let bytes: &[u8] = chunk.bytes.bind(py).as_bytes();
            // The bytes live as long as the queue, which is not touched until the call is over.
            std::ptr::from_ref(&bytes[chunk.sent..])
        };
        if let [chunk] = self.queue.as_slices().0
            && self.queue.len() == 1
        {
            // SAFETY: the slice belongs to a chunk that we hold.
            return send(fd, unsafe { &*rest(chunk) });
        }
        let mut parts = [IoSlice::new(&[]); PARTS];
        let count = self.queue.len().min(PARTS);
        for (part, chunk) in parts.iter_mut().zip(&self.queue) {
            // SAFETY: the slice belongs to a chunk that we hold.
            *part = IoSlice::new(unsafe { &*rest(chunk) });
        }
        send_parts(fd, &parts[..count])
    }

    /// Take out what has been sent.
    fn shorten(&mut self, py: Python<'_>, mut count: usize) {
        self.level.bytes -= count;
        while let Some(chunk) = self.queue.front_mut() {
            let left = chunk.bytes.bind(py).as_bytes().len() - chunk.sent;
            if left > count {
                chunk.sent += count;
                return;
            }
            count -= left;
            self.queue.pop_front();
        }
        // A burst must not cost an idle connection its memory for ever.
        if self.queue.capacity() > PARTS {
            self.queue = VecDeque::new();
        }
    }
}

impl StreamCore {
    /// Send what a callback has written, now that it is over.
    pub(super) fn callback_ended(slf: &Bound<'_, Self>) -> PyResult<()> {
        let is_waiting = slf.get().with(slf.py(), |state| {
            state.is_gathering = false;
            !state.is_stuck && state.lost == 0
        });
        if is_waiting { Self::flush(slf) } else { Ok(()) }
    }

    /// The kernel takes more.
    pub(super) fn writable(slf: &Bound<'_, Self>) -> PyResult<()> {
        let is_waiting = slf.get().with(slf.py(), |state| state.lost == 0 && !state.queue.is_empty());
        if is_waiting { Self::flush(slf) } else { Ok(()) }
    }

    /// Send what waits, and see to what follows from it.
    pub(super) fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        match core.with(py, |state| state.flush(py, core.fd)) {
            Flushed::All => Self::has_flushed(slf),
            Flushed::Stuck => {
                if !core.with(py, |state| std::mem::replace(&mut state.is_stuck, true)) {
                    core.watch(slf, Side::Write)?;
                }
                Self::after_progress(slf)
            }
            Flushed::Failed(error) => {
                core.drop_queue(py);
                let error = os_error(py, &error).into_value(py);
                let waiter = core.with(py, |state| state.empty_waiter.as_ref().map(|own| own.clone_ref(py)));
                let message = "Fatal write error on socket transport";
                slf.call_method1(name!(py, "_fatal_error"), (&error, message))?;
                if let Some(waiter) = waiter {
                    waiter.call_method1(py, name!(py, "set_exception"), (error,))?;
                }
                Ok(())
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
        let (waiter, is_last, ends) = core.with(py, |state| {
            let is_empty = state.queue.is_empty();
            let waiter = state.empty_waiter.as_ref().filter(|_| is_empty).map(|own| own.clone_ref(py));
            let is_last = is_empty && state.is_closing && state.lost == 0;
            if is_last {
                state.lost = 1;
            }
            (waiter, is_last, is_empty && state.is_ended && !state.is_closing)
        });
        if let Some(waiter) = waiter {
            slf.call_method1(name!(py, "_now_empty"), (waiter,))?;
        }
        if is_last {
            core.in_context(py, || slf.call_method1(name!(py, "_call_connection_lost"), (py.None(),)))?;
        } else if ends {
            slf.call_method0(name!(py, "_shut_down_writing"))?;
        }
        Ok(())
    }

    /// Ask the protocol to pause or to go on, as what waits has grown or shrunk.
    pub(super) fn after_progress(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        match slf.get().with(py, |state| state.level.turn(&mut state.is_full, py)) {
            Some(name) => {
                slf.get().in_context(py, || slf.call_method1(name!(py, "_control_flow"), (name,)).map(drop))
            }
            None => Ok(()),
        }
    }

    pub(super) fn drop_queue(&self, py: Python<'_>) {
        let (queue, was_stuck) = self.with(py, |state| {
            state.level.bytes = 0;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.is_stuck))
        });
        drop(queue);
        if was_stuck {
            self.unwatch(py, Side::Write);
        }
    }

    /// Take what is to be sent; says whether it has to leave now.
    pub(super) fn accept(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = slf.py();
        let core = slf.get();
        let bytes = exact_bytes(data)?;
        let length = bytes.as_bytes().len();
        if length == 0 {
            return Ok(false);
        }
        let bytes = bytes.unbind();
        let loop_core = core.owner.get();
        let may_gather = loop_core.is_in_callback();
        let (begins, leaves) = core.with(py, |state| {
            state.push(bytes, length);
            if state.is_stuck {
                return (false, false);
            }
            let leaves = !may_gather || state.level.bytes > MUCH.min(state.level.high);
            let begins = !leaves && !std::mem::replace(&mut state.is_gathering, true);
            (begins, leaves)
        });
        if begins {
            loop_core.flush_later(py, Gathered::Stream(slf.clone().unbind()));
        }
        if !leaves {
            Self::after_progress(slf)?;
        }
        Ok(leaves)
    }

    /// Refuse to write where writing is over; says whether the peer has gone, so that writing is in vain.
    pub(super) fn check_writing(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        let (is_ended, is_sending_file, lost) = slf.get().with(py, |state| {
            let lost = state.lost;
            state.lost = lost.saturating_add(u32::from(lost > 0));
            (state.is_ended, state.empty_waiter.is_some(), lost)
        });
        if is_ended {
            return Err(PyRuntimeError::new_err("Cannot call write() after write_eof()"));
        }
        if is_sending_file {
            return Err(PyRuntimeError::new_err("unable to write; sendfile is in progress"));
        }
        if lost > 0 {
            slf.call_method1(name!(py, "_wrote_in_vain"), (lost,))?;
        }
        Ok(lost > 0)
    }
}

/// The same bytes in an object that nobody can change and that nothing hangs on.
pub(super) fn exact_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(bytes.clone());
    }
    if !is_bytes_like(data) {
        return Err(not_bytes(data));
    }
    Ok(data.py().get_type::<PyBytes>().call1((data,))?.cast_into()?)
}

pub(super) fn is_bytes_like(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
}

pub(super) fn not_bytes(data: &Bound<'_, PyAny>) -> PyErr {
    let name = data.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
    PyTypeError::new_err(format!("data argument must be a bytes-like object, not '{name}'"))
}

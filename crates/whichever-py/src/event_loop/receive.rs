//! What arrives at a transport, on its way to the protocol.
//!
//! Small messages are read into a buffer of the loop's and copied into bytes of their size. A connection that fills
//! it is read into bytes of its own, as large as what came before lets expect.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use whichever_reactor::Side;
use whichever_sys::receive;

use super::call::{call_method, resize_bytes};
use super::core::LoopCore;
use super::errors::os_error;
use super::reader::Feed;
use super::stream::StreamCore;
use super::turn::is_exit;
use crate::lasting::name;

/// The loop's buffer: it stays in the cache next to the core.
pub(super) const SMALL: usize = 64 * 1024;

/// What one read takes at most, as in asyncio.
const LARGE: usize = 256 * 1024;

/// How much the next read of a connection makes room for.
#[derive(Clone, Copy)]
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(SMALL)
    }
}

impl Room {
    /// Learn from what a read brought.
    fn learn(&mut self, count: usize) {
        if count >= self.0 {
            self.0 = (self.0 * 2).min(LARGE);
        } else if count < self.0 / 4 {
            self.0 = (self.0 / 2).max(SMALL);
        }
    }
}

/// What a read came to.
pub(super) enum Read<T> {
    Some(T),
    /// The peer has ended its side.
    End,
    /// Nothing has arrived after all.
    Nothing,
}

impl StreamCore {
    /// Something has arrived, or the peer is gone.
    pub(super) fn readable(slf: &Bound<'_, Self>, owner: &LoopCore) -> PyResult<()> {
        let py = slf.py();
        let parts = slf.get().with(py, |state| {
            if !state.is_reading() {
                return None;
            }
            let feed = state.feed.as_ref().map(|feed| feed.clone_ref(py));
            Some((state.protocol.as_ref()?.clone_ref(py), state.is_buffered, feed))
        });
        let Some((protocol, is_buffered, feed)) = parts else { return Ok(()) };
        let protocol = protocol.bind(py);
        slf.get().in_context(py, || {
            if is_buffered {
                Self::fill(slf, protocol)
            } else {
                Self::pass_on(slf, owner, protocol, feed.as_ref())
            }
        })
    }

    /// Read, and hand the bytes to the protocol.
    fn pass_on(
        slf: &Bound<'_, Self>,
        owner: &LoopCore,
        protocol: &Bound<'_, PyAny>,
        feed: Option<&Feed>,
    ) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        let Room(room) = core.with(py, |state| state.room);
        let read =
            if room <= SMALL { read_small(py, core.fd, owner, SMALL) } else { read_large(py, core.fd, room) };
        match read {
            Ok(Read::Some(bytes)) => {
                core.with(py, |state| state.room.learn(bytes.as_bytes().len()));
                let received = match feed.map(|feed| feed.feed(&bytes)) {
                    Some(Ok(true)) => Ok(()),
                    Some(Err(error)) => Err(error),
                    _ => call_method(protocol, name!(py, "data_received"), &bytes).map(drop),
                };
                match received {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        Self::fatal(slf, error, "Fatal error: protocol.data_received() call failed.")
                    }
                }
            }
            Ok(Read::End) => Self::end_of_stream(slf, protocol),
            Ok(Read::Nothing) => Ok(()),
            Err(error) => Self::fatal(slf, error, "Fatal read error on socket transport"),
        }
    }

    /// Read into a buffer of the protocol's.
    fn fill(slf: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let buffer = match own_buffer(protocol) {
            Ok(buffer) => buffer,
            Err(error) => return Self::fatal(slf, error, "Fatal error: protocol.get_buffer() call failed."),
        };
        let read = read_into(py, slf.get().fd, &buffer);
        drop(buffer);
        match read {
            Ok(Read::Some(count)) => match protocol.call_method1(name!(py, "buffer_updated"), (count,)) {
                Ok(_) => Ok(()),
                Err(error) => Self::fatal(slf, error, "Fatal error: protocol.buffer_updated() call failed."),
            },
            Ok(Read::End) => Self::end_of_stream(slf, protocol),
            Ok(Read::Nothing) => Ok(()),
            Err(error) => Self::fatal(slf, error, "Fatal read error on socket transport"),
        }
    }

    fn end_of_stream(slf: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let stays = protocol.call_method0(name!(py, "eof_received")).and_then(|answer| answer.is_truthy());
        match stays {
            Ok(true) => {
                // There is nothing more to come, which the kernel would report for ever.
                slf.get().unwatch(py, Side::Read);
                Ok(())
            }
            Ok(false) => slf.call_method0(name!(py, "close")).map(drop),
            Err(error) => Self::fatal(slf, error, "Fatal error: protocol.eof_received() call failed."),
        }
    }

    pub(super) fn fatal(slf: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = slf.py();
        if is_exit(py, &error) {
            return Err(error);
        }
        slf.call_method1(name!(py, "_fatal_error"), (error.into_value(py), message)).map(drop)
    }
}

/// What an attempt to receive means.
fn meaning(py: Python<'_>, received: io::Result<usize>) -> PyResult<Read<usize>> {
    match received {
        Ok(0) => Ok(Read::End),
        Ok(count) => Ok(Read::Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(Read::Nothing)
        }
        Err(error) => Err(os_error(py, &error)),
    }
}

/// Receive `most` bytes or fewer, which is [`SMALL`] at most.
pub(super) fn read_small<'py>(
    py: Python<'py>,
    fd: RawFd,
    owner: &LoopCore,
    most: usize,
) -> PyResult<Read<Bound<'py, PyBytes>>> {
    // Bytes run no Python code when they are made, and are not seen by the collector.
    let (received, bytes) = owner.buffer.with(py, |buffer| {
        buffer.clear();
        buffer.reserve_exact(SMALL);
        let received = receive(fd, &mut buffer.spare_capacity_mut()[..most.min(SMALL)]);
        let count = *received.as_ref().unwrap_or(&0);
        // SAFETY: `receive` has initialised that many.
        unsafe { buffer.set_len(count) };
        (received, PyBytes::new(py, buffer))
    });
    Ok(match meaning(py, received)? {
        Read::Some(_) => Read::Some(bytes),
        Read::End => Read::End,
        Read::Nothing => Read::Nothing,
    })
}

/// Receive up to `room` bytes into bytes of their own.
pub(super) fn read_large<'py>(
    py: Python<'py>,
    fd: RawFd,
    room: usize,
) -> PyResult<Read<Bound<'py, PyBytes>>> {
    let size = ffi::Py_ssize_t::try_from(room).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: null asks for bytes that are not initialised.
    let mut bytes = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
    if bytes.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: it is bytes.
    let start = unsafe { ffi::PyBytes_AsString(bytes) };
    // SAFETY: nobody else knows these bytes yet, and there are `room` of them.
    let space = unsafe { std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), room) };
    let received = receive(fd, space);
    let count = ffi::Py_ssize_t::try_from(*received.as_ref().unwrap_or(&0)).unwrap_or(0);
    // SAFETY: 1. ours is the only reference. 2. `receive` has initialised what is left of the bytes.
    if unsafe { resize_bytes(&raw mut bytes, count) } < 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: a new reference to bytes, which resizing has left to us.
    let bytes = unsafe { Bound::from_owned_ptr(py, bytes) }.cast_into::<PyBytes>()?;
    Ok(match meaning(py, received)? {
        Read::Some(_) => Read::Some(bytes),
        Read::End => Read::End,
        Read::Nothing => Read::Nothing,
    })
}

/// The buffer that a protocol gives for what comes next.
fn own_buffer(protocol: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    let py = protocol.py();
    let object = protocol.call_method1(name!(py, "get_buffer"), (-1,))?;
    let buffer = PyBuffer::<u8>::get(&object)?;
    if buffer.len_bytes() == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    if buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("get_buffer() returned a buffer that cannot be written to"));
    }
    Ok(buffer)
}

fn read_into_buffer(fd: RawFd, buffer: &PyBuffer<u8>) -> io::Result<usize> {
    let start = buffer.buf_ptr().cast::<MaybeUninit<u8>>();
    // SAFETY: 1. the buffer is writable, in one piece, and stays where it is while we hold its view.
    //         2. its owner may look at it as at memory that others write; no Python code runs here until the slice is gone.
    let space = unsafe { std::slice::from_raw_parts_mut(start, buffer.len_bytes()) };
    receive(fd, space)
}

pub(super) fn read_into(py: Python<'_>, fd: RawFd, buffer: &PyBuffer<u8>) -> PyResult<Read<usize>> {
    meaning(py, read_into_buffer(fd, buffer))
}

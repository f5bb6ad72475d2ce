//! An item as the bytes of a record, and back: scalars as they are, all else pickled, large buffers behind it.
//!
//! A record is a byte that says which, then the code; or, where buffers follow, their number, the length of the code and
//! of each buffer, the code, and the buffers.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyTuple};

use crate::lasting::name;
use crate::pool::codec::{Decoder, encode};
use crate::pool::memory::Exported;

const SCALAR: u8 = 0;
const SCALAR_AND_BYTES: u8 = 1;
const PICKLE: u8 = 2;
const PICKLE_AND_BUFFERS: u8 = 3;
const WORD: usize = 8;

/// A packed item: its head and code, and the memory of its buffers.
pub(super) struct Packed {
    front: Vec<u8>,
    buffers: Vec<Exported>,
}

impl Packed {
    /// Pack an item. `carrier` is the Python module that pickles.
    ///
    /// # Errors
    /// What pickling it raises.
    pub(super) fn new(item: &Bound<'_, PyAny>, carrier: &Py<PyAny>) -> PyResult<Self> {
        let mut front = vec![SCALAR];
        let mut large = Vec::new();
        if encode(item, &mut front, &mut large) {
            if large.is_empty() {
                return Ok(Self { front, buffers: Vec::new() });
            }
            let buffers: Vec<_> = large.iter().map(Exported::bytes).collect();
            return Ok(Self { front: framed(SCALAR_AND_BYTES, &front[1..], &buffers), buffers });
        }
        let py = item.py();
        let packed = carrier.bind(py).call_method1(name!(py, "pack"), (item,))?;
        let (blob, views) = packed.extract::<(Bound<'_, PyBytes>, Bound<'_, PyList>)>()?;
        let buffers = views.iter().map(|view| Exported::view(&view)).collect::<PyResult<Vec<_>>>()?;
        if buffers.is_empty() {
            let mut front = Vec::with_capacity(blob.as_bytes().len() + 1);
            front.push(PICKLE);
            front.extend_from_slice(blob.as_bytes());
            return Ok(Self { front, buffers });
        }
        Ok(Self { front: framed(PICKLE_AND_BUFFERS, blob.as_bytes(), &buffers), buffers })
    }

    /// The record in parts.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        std::iter::once(self.front.as_slice()).chain(self.buffers.iter().map(Exported::slice)).collect()
    }

    /// Bytes of the whole record.
    pub(super) fn len(&self) -> usize {
        self.front.len() + self.buffers.iter().map(|buffer| buffer.slice().len()).sum::<usize>()
    }
}

fn framed(kind: u8, code: &[u8], buffers: &[Exported]) -> Vec<u8> {
    let mut front = vec![kind];
    let lengths = buffers.iter().map(|buffer| buffer.slice().len());
    for number in [buffers.len(), code.len()].into_iter().chain(lengths) {
        front.extend_from_slice(&(number as u64).to_le_bytes());
    }
    front.extend_from_slice(code);
    front
}

/// Make the item of a record.
///
/// # Errors
/// When the record is broken, memory runs out, or unpickling raises.
pub(super) fn unpack(py: Python<'_>, record: &[u8], carrier: &Py<PyAny>) -> PyResult<Py<PyAny>> {
    let (&kind, rest) = record.split_first().ok_or_else(broken)?;
    match kind {
        SCALAR => Ok(Decoder::new(rest).next(py, &mut || Err(broken()))?.unbind()),
        SCALAR_AND_BYTES => {
            let (code, buffers) = unframed(rest)?;
            let mut buffers = buffers.into_iter();
            let mut next = || Ok(PyBytes::new(py, buffers.next().ok_or_else(broken)?));
            Ok(Decoder::new(code).next(py, &mut next)?.unbind())
        }
        PICKLE => load(py, carrier, rest, &[]),
        PICKLE_AND_BUFFERS => {
            let (code, buffers) = unframed(rest)?;
            load(py, carrier, code, &buffers)
        }
        _ => Err(broken()),
    }
}

fn load(py: Python<'_>, carrier: &Py<PyAny>, blob: &[u8], buffers: &[&[u8]]) -> PyResult<Py<PyAny>> {
    let blob = PyBytes::new(py, blob);
    let buffers = PyTuple::new(py, buffers.iter().map(|bytes| PyByteArray::new(py, bytes)))?;
    carrier.call_method1(py, name!(py, "unpack"), (blob, buffers))
}

fn unframed(rest: &[u8]) -> PyResult<(&[u8], Vec<&[u8]>)> {
    let (count, mut rest) = word(rest)?;
    let (code_len, after) = word(rest)?;
    rest = after;
    if count > rest.len() / WORD {
        return Err(broken());
    }
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, after) = word(rest)?;
        lengths.push(len);
        rest = after;
    }
    let (code, mut rest) = rest.split_at_checked(code_len).ok_or_else(broken)?;
    let mut buffers = Vec::with_capacity(count);
    for len in lengths {
        let (buffer, after) = rest.split_at_checked(len).ok_or_else(broken)?;
        buffers.push(buffer);
        rest = after;
    }
    Ok((code, buffers))
}

fn word(bytes: &[u8]) -> PyResult<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<WORD>().ok_or_else(broken)?;
    Ok((usize::try_from(u64::from_le_bytes(*word)).map_err(|_| broken())?, rest))
}

fn broken() -> PyErr {
    PyValueError::new_err("an item of the queue is broken: a process has written over shared memory")
}

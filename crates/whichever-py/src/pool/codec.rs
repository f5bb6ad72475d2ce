//! Scalars as a few bytes, without pickle: None, bools, ints of 64 bits, floats, str, bytes, and tuples of these.
//!
//! Exact types only: a subclass carries more than its value and goes through pickle. All of them are immutable, so that
//! nobody can tell a copy that came this way from one that pickle made.

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};
use whichever_pool::wire::PICKLE;

/// Bytes objects from this length on travel beside the code, through shared memory.
pub(super) const LARGE_BYTES: usize = 64 * 1024;
/// Tuples inside tuples, at most.
const DEPTH: u32 = 8;

const NONE: u8 = b'N';
const TRUE: u8 = b'T';
const FALSE: u8 = b'F';
const INT: u8 = b'i';
const FLOAT: u8 = b'f';
const STR: u8 = b's';
const BYTES: u8 = b'b';
const LARGE: u8 = b'L';
const TUPLE: u8 = b'(';

/// Append the code of `value` to `code`; bytes that are too long for it go to `large`.
///
/// False when the value, or something in it, is not a scalar: `code` then ends in the middle.
pub(crate) fn encode<'py>(
    value: &Bound<'py, PyAny>,
    code: &mut Vec<u8>,
    large: &mut Vec<Bound<'py, PyBytes>>,
) -> bool {
    encode_within(value, code, large, DEPTH)
}

fn encode_within<'py>(
    value: &Bound<'py, PyAny>,
    code: &mut Vec<u8>,
    large: &mut Vec<Bound<'py, PyBytes>>,
    depth: u32,
) -> bool {
    if value.is_none() {
        code.push(NONE);
    } else if let Ok(int) = value.cast_exact::<PyInt>() {
        return encode_int(int, code);
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        return encode_str(text, code);
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        code.push(FLOAT);
        code.extend_from_slice(&float.value().to_bits().to_le_bytes());
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        code.push(if flag.is_true() { TRUE } else { FALSE });
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        encode_bytes(bytes, code, large);
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        let Ok(count) = u32::try_from(tuple.len()) else { return false };
        code.push(TUPLE);
        code.extend_from_slice(&count.to_le_bytes());
        return depth > 0 && tuple.iter().all(|item| encode_within(&item, code, large, depth - 1));
    } else {
        return false;
    }
    true
}

fn encode_int(int: &Bound<'_, PyInt>, code: &mut Vec<u8>) -> bool {
    let mut overflow = 0;
    // SAFETY: `int` is an int, and we are attached: the call cannot fail but by overflow, which it reports.
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &raw mut overflow) };
    let mut coded = [INT; 9];
    coded[1..].copy_from_slice(&number.to_le_bytes());
    code.extend_from_slice(&coded);
    overflow == 0
}

fn encode_str(text: &Bound<'_, PyString>, code: &mut Vec<u8>) -> bool {
    let Ok(text) = text.to_str() else { return false }; // lone surrogates: pickle knows how
    let Ok(length) = u32::try_from(text.len()) else { return false };
    code.push(STR);
    code.extend_from_slice(&length.to_le_bytes());
    code.extend_from_slice(text.as_bytes());
    true
}

fn encode_bytes<'py>(bytes: &Bound<'py, PyBytes>, code: &mut Vec<u8>, large: &mut Vec<Bound<'py, PyBytes>>) {
    let content = bytes.as_bytes();
    match u32::try_from(content.len()) {
        Ok(length) if content.len() < LARGE_BYTES => {
            code.push(BYTES);
            code.extend_from_slice(&length.to_le_bytes());
            code.extend_from_slice(content);
        }
        _ => {
            code.push(LARGE);
            large.push(bytes.clone());
        }
    }
}

/// Takes values out of their code.
pub(crate) struct Decoder<'a> {
    code: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(code: &'a [u8]) -> Self {
        Self { code }
    }

    /// The next value. `large` makes the bytes objects that travelled beside the code, in order.
    ///
    /// # Errors
    /// When the code is broken, memory runs out, or `large` fails.
    pub(crate) fn next<'py>(
        &mut self,
        py: Python<'py>,
        large: &mut dyn FnMut() -> PyResult<Bound<'py, PyBytes>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [tag] = self.take()?;
        Ok(match tag {
            NONE => py.None().into_bound(py),
            TRUE => PyBool::new(py, true).to_owned().into_any(),
            FALSE => PyBool::new(py, false).to_owned().into_any(),
            INT => i64::from_le_bytes(self.take()?).into_pyobject(py)?.into_any(),
            FLOAT => PyFloat::new(py, f64::from_bits(u64::from_le_bytes(self.take()?))).into_any(),
            STR => PyString::from_bytes(py, self.take_counted()?)?.into_any(),
            BYTES => PyBytes::new(py, self.take_counted()?).into_any(),
            LARGE => large()?.into_any(),
            TUPLE => self.next_tuple(py, large)?.into_any(),
            _ => return Err(broken()),
        })
    }

    /// The next value's pickle, if that is how it was packed.
    ///
    /// # Errors
    /// When the code is broken.
    pub(super) fn next_pickle(&mut self) -> PyResult<Option<&'a [u8]>> {
        if self.code.first() != Some(&PICKLE) {
            return Ok(None);
        }
        self.code = &self.code[1..];
        self.take_counted().map(Some)
    }

    /// What has not been taken yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.code
    }

    fn next_tuple<'py>(
        &mut self,
        py: Python<'py>,
        large: &mut dyn FnMut() -> PyResult<Bound<'py, PyBytes>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let count = u32::from_le_bytes(self.take()?);
        if count == 1 {
            return PyTuple::new(py, [self.next(py, large)?]);
        }
        let items = (0..count).map(|_| self.next(py, large)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, items)
    }

    fn take<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let (bytes, rest) = self.code.split_first_chunk::<N>().ok_or_else(broken)?;
        self.code = rest;
        Ok(*bytes)
    }

    fn take_counted(&mut self) -> PyResult<&'a [u8]> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (bytes, rest) = self.code.split_at_checked(length).ok_or_else(broken)?;
        self.code = rest;
        Ok(bytes)
    }
}

/// Append a pickle in place of a value's code.
pub(super) fn encode_pickle(pickle: &[u8], code: &mut Vec<u8>) {
    code.push(PICKLE);
    code.extend_from_slice(&u32::try_from(pickle.len()).unwrap_or(u32::MAX).to_le_bytes());
    code.extend_from_slice(pickle);
}

fn broken() -> PyErr {
    PyValueError::new_err("a message between processes is broken")
}

//! What arrives for a stream reader goes straight into its buffer, and wakes its task, without Python code in between.
//!
//! The reader stays a Python object whose attributes are asyncio's own, so that whoever looks at them sees what he is used to.
//! Whatever is not as usual (an end before, a buffer that grows too large, a buffer of another kind) is left to
//! `data_received`, that is to asyncio. Which readers are served like this is decided in `whichever/loop/_reader.py`.

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyByteArray, PyBytes, PyType, PyWeakrefMethods, PyWeakrefReference};

use super::call::call_method;
use super::core::LoopCore;
use super::stream::StreamCore;
use crate::lasting::{Lasting, name};

/// Where a transport puts what arrives.
pub(super) struct Feed {
    /// The reader, as its protocol holds it.
    reader: Py<PyWeakrefReference>,
    /// The class that it has, unless somebody has given it another one.
    kind: Py<PyType>,
}

impl Feed {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { reader: self.reader.clone_ref(py), kind: self.kind.clone_ref(py) }
    }

    /// Do what the protocol's `data_received` does; says whether it was done.
    pub(super) fn feed(&self, bytes: &Bound<'_, PyBytes>) -> PyResult<bool> {
        let py = bytes.py();
        // Nobody reads any more.
        let Some(reader) = self.reader.bind(py).upgrade() else { return Ok(true) };
        if !reader.get_type().is(&self.kind) || reader.getattr(name!(py, "_eof"))?.is_truthy()? {
            return Ok(false);
        }
        let buffer = reader.getattr(name!(py, "_buffer"))?;
        let Ok(buffer) = buffer.cast_exact::<PyByteArray>() else { return Ok(false) };
        let limit: usize = reader.getattr(name!(py, "_limit"))?.extract().unwrap_or(0);
        if buffer.len() + bytes.as_bytes().len() > limit.saturating_mul(2) {
            return Ok(false);
        }
        append(buffer, bytes.as_bytes())?;
        wake(&reader)?;
        Ok(true)
    }
}

/// Tell who waits for data that there is some.
fn wake(reader: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = reader.py();
    let waiter = reader.getattr(name!(py, "_waiter"))?;
    if waiter.is_none() {
        return Ok(());
    }
    let none = py.None().into_bound(py);
    reader.setattr(name!(py, "_waiter"), &none)?;
    if !waiter.call_method0(name!(py, "cancelled"))?.is_truthy()? {
        call_method(&waiter, name!(py, "set_result"), &none)?;
    }
    Ok(())
}

/// Put bytes behind those that are there.
fn append(buffer: &Bound<'_, PyByteArray>, bytes: &[u8]) -> PyResult<()> {
    with_critical_section(buffer, || {
        let before = buffer.len();
        buffer.resize(before + bytes.len())?;
        // SAFETY: 1. nobody else touches the buffer: we hold its lock, or the GIL. 2. no Python code runs until the slice is gone.
        let all = unsafe { buffer.as_bytes_mut() };
        all[before..].copy_from_slice(bytes);
        Ok(())
    })
}

/// Make a reader wait: gives the future that the next data ends.
#[pyfunction]
#[pyo3(name = "_await_data")]
pub(crate) fn await_data<'py>(reader: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static FUTURE: Lasting<PyType> = Lasting::new();
    let py = reader.py();
    let future = FUTURE.import(py, "asyncio", "Future")?;
    let owner = reader.getattr(name!(py, "_loop"))?;
    let waiter = if owner.cast::<LoopCore>().is_ok_and(|core| core.get().is_in_callback()) {
        // The loop that runs here, which futures belong to if they are not told: an argument by name costs a dictionary.
        future.call0()?
    } else {
        owner.call_method0(name!(py, "create_future"))?
    };
    reader.setattr(name!(py, "_waiter"), &waiter)?;
    Ok(waiter)
}

/// Take up to `most` bytes from the front of a buffer.
///
/// Raises:
///     `BufferError`: Somebody holds a view of the buffer, which therefore keeps what it has.
#[pyfunction]
#[pyo3(name = "_take")]
pub(crate) fn take<'py>(buffer: &Bound<'py, PyByteArray>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
    let py = buffer.py();
    with_critical_section(buffer, || {
        let length = buffer.len();
        let count = length.min(most);
        // SAFETY: 1. nobody else touches the buffer: we hold its lock, or the GIL. 2. making bytes runs no Python code.
        let bytes = PyBytes::new(py, unsafe { &buffer.as_bytes()[..count] });
        if count == length {
            buffer.resize(0)?;
            return Ok(bytes);
        }
        let end = ffi::Py_ssize_t::try_from(count).map_err(|_| PyMemoryError::new_err(()))?;
        // SAFETY: the thread is attached, and a bytearray is a sequence whose slices can be deleted.
        if unsafe { ffi::PySequence_DelSlice(buffer.as_ptr(), 0, end) } < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(bytes)
    })
}

#[pymethods]
impl StreamCore {
    /// Put what arrives straight into a reader of that class, until there is another protocol.
    fn _feed(&self, reader: Bound<'_, PyWeakrefReference>, kind: Bound<'_, PyType>) {
        let py = reader.py();
        let feed = Box::new(Feed { reader: reader.unbind(), kind: kind.unbind() });
        let old = self.with(py, |state| state.feed.replace(feed));
        drop(old);
    }
}

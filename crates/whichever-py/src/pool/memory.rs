//! Shared memory with a Python face: buffers on mappings, and bytes read out of arenas.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use whichever_pool::{Buffer, Loan};
use whichever_ring::{Arena, Range};
use whichever_sys::{Access, Mapping, SharedFile};

/// What is to be done when a mapping's last user is gone.
enum Keeper {
    /// A result's range goes back to the worker that lent it.
    Loan { _loan: Loan },
    /// An argument's range goes back to the caller with the worker's next message.
    Freed { offset: u64, freed: Arc<Mutex<Vec<u64>>> },
    /// Shared memory stays as long as its owner says.
    Shared { _owner: Arc<dyn Send + Sync> },
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Self::Freed { offset, freed } = self {
            freed.lock().unwrap_or_else(PoisonError::into_inner).push(*offset);
        }
    }
}

/// A range of shared memory, seen by Python as a buffer.
///
/// Copy-on-write, so that nobody else sees what is written to it; or read-only, for memory that stays shared.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct Slab {
    // Before the keeper, which lets others reuse the memory.
    mapping: Mapping,
    /// Bytes of the mapping in front of the range: mappings begin at a page.
    skip: usize,
    readonly: bool,
    _keeper: Keeper,
}

impl Slab {
    /// A result's buffer, private to the caller.
    pub(super) fn of_loan(loan: Loan) -> std::io::Result<Self> {
        let span = loan.span();
        let (mapping, skip) = map(loan.file(), span.offset, span.len, Access::CopyOnWrite)?;
        Ok(Self { mapping, skip, readonly: false, _keeper: Keeper::Loan { _loan: loan } })
    }

    /// An argument's buffer, private to the worker.
    pub(super) fn of_argument(
        file: &SharedFile,
        offset: u64,
        len: u64,
        freed: Arc<Mutex<Vec<u64>>>,
    ) -> std::io::Result<Self> {
        let (mapping, skip) = map(file, offset, len, Access::CopyOnWrite)?;
        Ok(Self { mapping, skip, readonly: false, _keeper: Keeper::Freed { offset, freed } })
    }

    /// Memory that all see, read-only.
    pub(super) fn of_shared(
        file: &SharedFile,
        offset: u64,
        len: u64,
        owner: Arc<dyn Send + Sync>,
    ) -> std::io::Result<Self> {
        let (mapping, skip) = map(file, offset, len, Access::ReadOnly)?;
        Ok(Self { mapping, skip, readonly: true, _keeper: Keeper::Shared { _owner: owner } })
    }

    /// Where it lies in this process.
    pub(super) fn address(&self) -> usize {
        self.mapping.as_ptr() as usize + self.skip
    }
}

/// Map a range, which need not begin at a page; the second value is the length of what lies before it.
fn map(file: &SharedFile, offset: u64, len: u64, access: Access) -> std::io::Result<(Mapping, usize)> {
    let skip = offset % whichever_sys::page_size() as u64;
    let too_long = |_| std::io::ErrorKind::OutOfMemory;
    let mapped = usize::try_from(len + skip).map_err(too_long)?;
    Ok((Mapping::new(file, offset - skip, mapped, access)?, usize::try_from(skip).map_err(too_long)?))
}

#[pymethods]
impl Slab {
    /// The buffer protocol.
    ///
    /// # Safety
    /// 1. `view` is what the interpreter hands to `bf_getbuffer`: valid for a write, or null.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("the view is null"));
        }
        let slab = slf.get();
        let address = slab.address() as *mut c_void;
        let len = ffi::Py_ssize_t::try_from(slab.mapping.len() - slab.skip)?;
        let readonly = c_int::from(slab.readonly);
        // SAFETY: 1. `view` may be written: checked above, and duty 1 of ours.
        //         2. the memory lives as long as `slf`, which the view comes to own.
        let status = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), address, len, readonly, flags) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// Memory of a Python object that a task sends along. The object cannot resize or free it meanwhile.
pub(crate) struct Exported {
    // Held only. Not a `PyBuffer`: its drop waits for the interpreter, and tasks are dropped under the pool's lock. That of
    // a reference does not.
    _object: Py<PyAny>,
    address: usize,
    len: usize,
}

// SAFETY: 1. what is shared is an address and a length; the memory behind it stays in place as long as the export lives.
//         2. the export itself is only dropped, which PyO3 does under the interpreter's rules from any thread.
unsafe impl Send for Exported {}
// SAFETY: as for Send; nothing in it changes.
unsafe impl Sync for Exported {}

impl Exported {
    /// The content of a bytes object.
    pub(crate) fn bytes(object: &Bound<'_, PyBytes>) -> Self {
        let content = object.as_bytes();
        Self {
            address: content.as_ptr() as usize,
            len: content.len(),
            _object: object.clone().unbind().into_any(),
        }
    }

    /// The content of a flat `memoryview` of bytes, which nobody else may release.
    ///
    /// # Errors
    /// When the object gives none.
    pub(crate) fn view(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let view = PyBuffer::<u8>::get(object)?;
        let (address, len) = (view.buf_ptr() as usize, view.len_bytes());
        Ok(Self { address, len, _object: object.clone().unbind() })
    }

    /// Where it lies.
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// As a slice, for a copy.
    pub(crate) fn slice(&self) -> &[u8] {
        // SAFETY: 1. the export keeps `len` bytes at `address` in place.
        //         2. Python code of other threads may write to them meanwhile, as it may while anything else reads them:
        //            the copy then holds old or new bytes; none is ever interpreted here.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.len) }
    }
}

impl Buffer for Exported {
    fn len(&self) -> usize {
        self.len
    }

    fn copy_to(&self, arena: &Arena, range: &Range) -> std::io::Result<()> {
        arena.fill(range, 0, self.slice())
    }
}

/// Read a range into a new bytes object.
///
/// # Errors
/// When memory runs out or the range is not there.
pub(super) fn read_bytes<'py>(
    py: Python<'py>,
    file: &SharedFile,
    offset: u64,
    len: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let len = usize::try_from(len)?;
    // SAFETY: we are attached; null asks for a new object whose content the caller writes.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), ffi::Py_ssize_t::try_from(len)?) };
    // SAFETY: a new reference, or null with an error set.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    // SAFETY: it is a bytes object.
    let start = unsafe { ffi::PyBytes_AsString(made.as_ptr()) }.cast::<MaybeUninit<u8>>();
    // SAFETY: 1. the object holds `len` bytes from `start` on, and nobody else has seen it.
    //         2. they need not be initialized for this type; a read that fails leaves an object that is dropped unseen.
    let into = unsafe { std::slice::from_raw_parts_mut(start, len) };
    file.read_uninit_at(into, offset)?;
    Ok(made.cast_into::<PyBytes>()?)
}

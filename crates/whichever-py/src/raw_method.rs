//! Puts a method into one of our classes whose function the interpreter calls directly, without PyO3's wrapper.

use std::ffi::CStr;

use pyo3::PyClass;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// What the interpreter calls, with the object, the arguments, how many are positional, and the names of the others.
pub(crate) type Function = unsafe extern "C" fn(
    *mut PyObject,
    *const *mut PyObject,
    ffi::Py_ssize_t,
    *mut PyObject,
) -> *mut PyObject;

/// Put `function` into the class, in the place of whatever has that name.
pub(crate) fn set<C: PyClass>(
    py: Python<'_>,
    name: &'static CStr,
    doc: &'static CStr,
    function: Function,
) -> PyResult<()> {
    let class = py.get_type::<C>();
    // A method refers to its definition for ever, as does what programs keep of it.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: the definition lives for ever, and its flags are those of its function.
    let method = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: it is a new reference, or null with an exception set.
    let method = unsafe { Bound::from_owned_ptr_or_err(py, method) }?;
    class.setattr(PyString::new(py, &name.to_string_lossy()), method)
}

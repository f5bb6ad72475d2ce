//! The kernel's errors as Python raises them.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// An OSError with its number, and so of the class that Python has for the number.
pub(super) fn os_error(py: Python<'_>, error: &std::io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return PyOSError::new_err(error.to_string());
    };
    let raised = py
        .import("os")
        .and_then(|os| os.call_method1("strerror", (number,)))
        .and_then(|text| py.get_type::<PyOSError>().call1((number, text)));
    match raised {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

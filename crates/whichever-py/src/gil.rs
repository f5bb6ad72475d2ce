//! The GIL as a thread sees it that does not hold it, and what a thread knows of itself.

use std::sync::OnceLock;

use pyo3::prelude::*;
use whichever_probe::{Interpreter, PythonThread};

/// Address of the calling thread's state, as a number that is never followed.
pub(crate) fn thread_state(_attached: Python<'_>) -> u64 {
    // SAFETY: the thread is attached, as the token proves.
    unsafe { pyo3::ffi::PyThreadState_Get() as u64 }
}

/// Whether the interpreter uses a GIL now. Versions before 3.13 have no way to ask, and always do.
pub(crate) fn has_gil(py: Python<'_>) -> PyResult<bool> {
    match py.import("sys")?.getattr_opt("_is_gil_enabled")? {
        Some(is_enabled) => is_enabled.call0()?.extract(),
        None => Ok(true),
    }
}

/// Who holds the GIL, as far as this interpreter's memory can be read. Costs a few loads.
pub(crate) struct Gil(Interpreter);

impl Gil {
    /// This process's GIL; None where it cannot be read at the speed of memory.
    pub(crate) fn find(py: Python<'_>) -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Gil>> = OnceLock::new();
        let caller = PythonThread { state: thread_state(py), native_id: whichever_sys::thread_id() };
        FOUND
            .get_or_init(|| Interpreter::of_this_process(caller).ok().filter(Interpreter::is_fast).map(Gil))
            .as_ref()
    }

    /// The thread state of whoever holds it now.
    pub(crate) fn holder(&self) -> Option<u64> {
        self.0.gil().ok().filter(|words| words.active && words.locked == 1).map(|words| words.holder)
    }
}

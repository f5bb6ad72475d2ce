//! Calling a task's function with its one argument.
//!
//! The interpreter's vectorcall spares the tuple that a plain call packs its arguments into: a third of what the call of a
//! small function costs. It is part of the stable ABI from 3.12 on only, so it is looked up by name.

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use whichever_sys::find_symbol;

type Vectorcall =
    unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, usize, *mut PyObject) -> *mut PyObject;

/// Says that the place before the arguments may be used by who is called.
const ARGUMENTS_OFFSET: usize = 1 << (usize::BITS - 1);

/// How functions are called here.
#[derive(Clone, Copy)]
pub(super) struct Caller(Option<Vectorcall>);

impl Caller {
    pub(super) fn find() -> Self {
        let found = find_symbol(c"PyObject_Vectorcall").map(|address| address as *const ());
        // SAFETY: 1. the interpreter exports a function of this signature by this name since 3.9.
        Self(found.map(|address| unsafe { std::mem::transmute::<*const (), Vectorcall>(address) }))
    }

    /// `function(argument)`.
    pub(super) fn call<'py>(
        self,
        function: &Bound<'py, PyAny>,
        argument: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(vectorcall) = self.0 else { return function.call1((argument,)) };
        let arguments = [std::ptr::null_mut(), argument.as_ptr()];
        // SAFETY: 1. the function is `PyObject_Vectorcall`; one argument follows the place that it may use.
        //         2. we are attached, and hold `function` and `argument` until it returns.
        let result = unsafe {
            vectorcall(
                function.as_ptr(),
                arguments.as_ptr().wrapping_add(1),
                1 | ARGUMENTS_OFFSET,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: 1. a new reference, or null with an error set.
        unsafe { Bound::from_owned_ptr_or_err(function.py(), result) }
    }
}

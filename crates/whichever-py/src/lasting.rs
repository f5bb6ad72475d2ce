//! Names and classes that are made once and kept for good, by whichever thread asks first.
//!
//! PyO3's `intern!` and `PyOnceLock` have all others wait for the thread that makes the object. In a child that is forked
//! just then that thread is missing, and who asks there waits for ever. Here nobody waits: threads that ask together may
//! each make one, and all but the first are dropped.

use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

/// A place for an object that stays for the rest of the process.
pub(crate) struct Lasting<T> {
    /// Null, or an object of type `T`, a reference to which is ours for ever.
    object: AtomicPtr<PyObject>,
    of: PhantomData<Py<T>>,
}

impl<T> Lasting<T> {
    pub(crate) const fn new() -> Self {
        Self { object: AtomicPtr::new(null_mut()), of: PhantomData }
    }

    /// What is there; else what `make` makes, which may be asked although another's comes first.
    ///
    /// # Errors
    /// Those of `make`: then nothing is kept.
    pub(crate) fn get_or_make<'a, 'py>(
        &'a self,
        py: Python<'py>,
        make: impl FnOnce() -> PyResult<Bound<'py, T>>,
    ) -> PyResult<&'a Bound<'py, T>> {
        if self.object.load(Ordering::Acquire).is_null() {
            let made = make()?.into_ptr();
            let first = self.object.compare_exchange(null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
            if first.is_err() {
                // SAFETY: it is the new reference that `into_ptr` gave.
                drop(unsafe { Bound::<PyAny>::from_owned_ptr(py, made) });
            }
        }
        let place = (&raw const self.object).cast::<Bound<'py, T>>();
        // SAFETY: 1. the place holds a pointer to an object of type `T`, as a `Bound<T>` does, and changes no more.
        //         2. its reference is never given back, so the object lives, and what we lend is never dropped.
        Ok(unsafe { &*place })
    }
}

impl Lasting<PyString> {
    /// The interned string `text`, the same at each call. Never fails but for want of memory, which is a panic.
    pub(crate) fn name<'a, 'py>(&'a self, py: Python<'py>, text: &str) -> &'a Bound<'py, PyString> {
        match self.get_or_make(py, || Ok(PyString::intern(py, text))) {
            Ok(name) => name,
            Err(error) => unreachable!("a name is made without an error: {error}"),
        }
    }
}

impl Lasting<PyType> {
    /// The class `name` of `module`, the same at each call.
    ///
    /// # Errors
    /// Those of the import.
    pub(crate) fn import<'a, 'py>(
        &'a self,
        py: Python<'py>,
        module: &str,
        name: &str,
    ) -> PyResult<&'a Bound<'py, PyType>> {
        self.get_or_make(py, || Ok(py.import(module)?.getattr(name)?.cast_into()?))
    }
}

/// The interned string of a literal, for attributes and methods that are asked for often.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::lasting::Lasting<pyo3::types::PyString> = $crate::lasting::Lasting::new();
        NAME.name($py, $text)
    }};
}
pub(crate) use name;

/// An exception class of a Python module, found when it is first asked for.
macro_rules! exception {
    ($module:literal, $name:ident) => {
        struct $name;

        impl $name {
            fn class(py: pyo3::Python<'_>) -> pyo3::PyResult<&pyo3::Bound<'_, pyo3::types::PyType>> {
                static CLASS: $crate::lasting::Lasting<pyo3::types::PyType> = $crate::lasting::Lasting::new();
                CLASS.import(py, $module, stringify!($name))
            }

            /// One of them; or what kept us from finding the class.
            fn new_err(py: pyo3::Python<'_>, args: impl pyo3::PyErrArguments + 'static) -> pyo3::PyErr {
                Self::class(py)
                    .map_or_else(|error| error, |class| pyo3::PyErr::from_type(class.clone(), args))
            }
        }
    };
}
pub(crate) use exception;

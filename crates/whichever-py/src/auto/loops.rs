//! `_core.cut_short`: how another thread ends a plain loop over a list before its time.

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList};

/// Take from `items` what its `iterator` has not given out yet, and return that: the iterator ends with the item at hand.
///
/// Nothing here lets another thread run while the GIL is held, so no item is given out and returned. A free-threaded
/// build has no such moment: it gets an empty list.
#[pyfunction]
pub(crate) fn cut_short<'py>(
    items: &Bound<'py, PyList>,
    iterator: &Bound<'py, PyIterator>,
) -> PyResult<Bound<'py, PyList>> {
    let py = items.py();
    if !crate::gil::has_gil(py)? {
        return Ok(PyList::empty(py));
    }
    let left = py.import("operator")?.getattr("length_hint")?;
    let (length, left) = (items.len(), left.call1((iterator,))?.extract::<usize>()?);
    let begin = length.saturating_sub(left);
    let rest = items.get_slice(begin, length);
    items.del_slice(begin, length)?;
    Ok(rest)
}

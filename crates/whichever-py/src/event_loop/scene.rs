//! The context that all callbacks of one transport run in, whoever causes them.

use pyo3::prelude::*;

use super::brief::Brief;
use super::call::within_or_here;

/// A transport's context, and whether one of its callbacks runs in it now.
pub(super) struct Scene {
    /// None once the transport is gone.
    pub(super) context: Option<Py<PyAny>>,
    /// A context cannot be entered twice, so a callback that causes another one stays in it.
    is_entered: bool,
}

impl Scene {
    pub(super) fn new(context: Py<PyAny>) -> Self {
        Self { context: Some(context), is_entered: false }
    }

    fn enter(&mut self, py: Python<'_>) -> Option<Py<PyAny>> {
        let context = self.context.as_ref().filter(|_| !self.is_entered)?;
        self.is_entered = true;
        Some(context.clone_ref(py))
    }
}

/// Do `work` in the context of the transport whose state `cell` holds.
///
/// The loop runs some callbacks in that context by itself (`connection_made`), and a program may, too: what they cause
/// stays there.
pub(super) fn within_scene<T, R>(
    py: Python<'_>,
    cell: &Brief<T>,
    scene: fn(&mut T) -> &mut Scene,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let Some(context) = cell.with(py, |state| scene(state).enter(py)) else { return work() };
    let done = within_or_here(py, &context, work);
    cell.with(py, |state| scene(state).is_entered = false);
    done
}

//! Functions that workers know by number: each is pickled and sent once, and goes by its number from then on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use whichever_pool::wire::{INLINE_BYTES, Span};

use super::shared::Shared;
use crate::lasting::name;

/// Functions that a pool remembers by identity.
const REMEMBERED: usize = 128;

/// A function's number. Workers forget the function when nobody holds the number and no task of it is left; so whoever
/// hands in a task holds its number until the pool has the task, whatever other threads forget meanwhile.
pub(super) struct Number {
    shared: Arc<Shared>,
    number: u32,
}

impl Number {
    pub(super) fn value(&self) -> u32 {
        self.number
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // In a forked copy of the process the pool's lock may be held by a thread that is not there.
        if !self.shared.is_foreign() {
            self.shared.hub().look(|crew| crew.forget(self.number));
        }
    }
}

/// A function that was sent before.
struct Known {
    // Keeps the identity from being used again.
    _function: Py<PyAny>,
    number: Arc<Number>,
    /// What the function refers to, for one that went by value.
    stamp: Option<Py<PyAny>>,
}

/// The functions that one pool has sent and may send again.
#[derive(Default)]
pub(super) struct Functions {
    known: Mutex<BTreeMap<usize, Known>>,
}

impl Functions {
    /// The number that workers know the function by; None when it must travel with each task.
    ///
    /// # Errors
    /// When the function does not pickle, or there is no memory for it.
    pub(super) fn number_of(
        &self,
        shared: &Arc<Shared>,
        function: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Arc<Number>>> {
        let py = function.py();
        let identity = function.as_ptr() as usize;
        if let Some((number, stamp)) = self.find(py, identity) {
            let Some(stamp) = stamp else { return Ok(Some(number)) };
            let same = shared.host(py).call_method1(name!(py, "still_same"), (stamp,))?;
            if same.is_truthy()? {
                return Ok(Some(number));
            }
            let outdated = self.lock().remove(&identity);
            drop(outdated); // not under the lock: the end of a function may run Python code
        }
        let (letter, stamp) = dump(shared, function)?;
        let Some(stamp) = stamp else { return Ok(None) };
        let number = define(py, shared, &letter, 1)?;
        let stamp = if stamp.is_none() { None } else { Some(stamp.unbind()) };
        let known = Known { _function: function.clone().unbind(), number: Arc::clone(&number), stamp };
        self.remember(identity, known);
        Ok(Some(number))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, py: Python<'_>, identity: usize) -> Option<(Arc<Number>, Option<Py<PyAny>>)> {
        let all = self.lock();
        let known = all.get(&identity)?;
        Some((Arc::clone(&known.number), known.stamp.as_ref().map(|stamp| stamp.clone_ref(py))))
    }

    fn remember(&self, identity: usize, known: Known) {
        let mut all = self.lock();
        let outdated = if all.len() >= REMEMBERED { std::mem::take(&mut *all) } else { BTreeMap::new() };
        let replaced = all.insert(identity, known);
        drop(all);
        drop((outdated, replaced)); // nor these under it
    }
}

/// A number for a function that is never sent again: one of a call of `map`.
///
/// # Errors
/// When the function does not pickle, or there is no memory for it.
pub(super) fn number_once(
    shared: &Arc<Shared>,
    function: &Bound<'_, PyAny>,
    at_least: usize,
) -> PyResult<Arc<Number>> {
    let (letter, _) = dump(shared, function)?;
    define(function.py(), shared, &letter, at_least)
}

/// The pickled function, and its stamp: None for one that may not be remembered, Python's None for one that always
/// means the same.
fn dump<'py>(
    shared: &Shared,
    function: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyAny>>)> {
    let py = function.py();
    let dumped = shared.host(py).call_method1(name!(py, "dump_function"), (function,))?;
    let (letter, stable, stamp): (Bound<'py, PyBytes>, bool, Bound<'py, PyAny>) = dumped.extract()?;
    Ok((letter, stable.then_some(stamp)))
}

fn define(
    py: Python<'_>,
    shared: &Arc<Shared>,
    letter: &Bound<'_, PyBytes>,
    at_least: usize,
) -> PyResult<Arc<Number>> {
    let content = letter.as_bytes();
    let stored = if content.len() > INLINE_BYTES {
        let arena = Arc::clone(shared.hub().arena());
        let range =
            arena.allocate(content.len()).map_err(|error| PyMemoryError::new_err(error.to_string()))?;
        py.detach(|| arena.fill(&range, 0, content))?;
        Some(Span { offset: range.offset, len: content.len() as u64 })
    } else {
        None
    };
    let inline: &[u8] = if stored.is_some() { &[] } else { content };
    let number = shared.hub().look(|crew| crew.define(Arc::from(inline), stored, at_least));
    Ok(Arc::new(Number { shared: Arc::clone(shared), number }))
}

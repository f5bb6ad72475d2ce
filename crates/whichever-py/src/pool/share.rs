//! Memory that stays shared across calls: put once into the arena, afterwards sent by name.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use whichever_pool::Buffer;
use whichever_pool::wire::Span;
use whichever_ring::{Arena, Range};

use super::memory::{Exported, Slab};
use super::process::arena;

/// A range that stays allocated while anybody uses it.
struct Holding {
    arena: Arc<Arena>,
    span: Span,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.arena.free(self.span.offset);
    }
}

/// Where shared memory lies in this process: address, length, and what it is.
struct Place {
    address: usize,
    len: usize,
    holding: std::sync::Weak<Holding>,
}

static PLACES: Mutex<Vec<Place>> = Mutex::new(Vec::new());

/// Copy memory into the arena and return a read-only buffer on the copy.
///
/// # Errors
/// When there is no memory for it.
pub(super) fn shared_memory(py: Python<'_>, source: &Exported) -> PyResult<Py<PyAny>> {
    let arena = Arc::clone(arena()?);
    let range: Range =
        arena.allocate(source.len()).map_err(|error| PyMemoryError::new_err(error.to_string()))?;
    let span = Span { offset: range.offset, len: source.len() as u64 };
    let holding = Arc::new(Holding { arena: Arc::clone(&arena), span });
    py.detach(|| source.copy_to(&arena, &range))?;
    let owner: Arc<dyn Send + Sync> = Arc::clone(&holding) as _;
    let slab = Slab::of_shared(arena.file(), span.offset, span.len, owner)?;
    let place = Place { address: slab.address(), len: source.len(), holding: Arc::downgrade(&holding) };
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.retain(|place| place.holding.strong_count() > 0);
    places.push(place);
    drop(places);
    Ok(Py::new(py, slab)?.into_any())
}

/// The range that a buffer lies in, whole, if it is shared memory; and what keeps it there.
pub(super) fn find_shared(buffer: &Exported) -> Option<(Span, Arc<dyn Send + Sync>)> {
    let places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.iter().find_map(|place| {
        let start = buffer.address().checked_sub(place.address)?;
        if start.checked_add(buffer.len())? > place.len {
            return None;
        }
        let holding = place.holding.upgrade()?;
        let span = Span { offset: holding.span.offset + start as u64, len: buffer.len() as u64 };
        Some((span, holding as Arc<dyn Send + Sync>))
    })
}

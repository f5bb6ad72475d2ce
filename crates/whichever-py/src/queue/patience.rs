//! How long a caller is willing to wait, and waiting so that Ctrl-C is heard.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use whichever_sys::{monotonic_ns, thread_id};

/// How long one sleep of the main thread lasts at most. A signal ends it at once; this is for the one that came in the
/// instant before it, and for those who set Python's flag without sending a signal.
const MAIN_SLICE_NS: u64 = 200_000_000;

/// How long somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all.
    None,
    /// Until a point in time.
    Until(u64),
    /// Until it is there.
    Endless,
}

impl Patience {
    /// From the arguments `block` and `timeout` as the standard library's queues take them.
    ///
    /// # Errors
    /// For a timeout that is negative or no number.
    pub(super) fn new(block: Option<&Bound<'_, PyAny>>, timeout: Option<f64>) -> PyResult<Self> {
        if let Some(block) = block
            && !block.is_truthy()?
        {
            return Ok(Self::None);
        }
        let Some(seconds) = timeout else { return Ok(Self::Endless) };
        if seconds < 0.0 || seconds.is_nan() {
            return Err(PyValueError::new_err("'timeout' must be a non-negative number"));
        }
        let length = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Ok(monotonic_ns().checked_add(length_ns).map_or(Self::Endless, Self::Until))
    }

    /// Whether it is over.
    pub(super) fn is_over(self) -> bool {
        match self {
            Self::None => true,
            Self::Until(deadline_ns) => monotonic_ns() >= deadline_ns,
            Self::Endless => false,
        }
    }

    /// Until when to sleep now, before looking at signals.
    pub(super) fn next_slice(self) -> Option<u64> {
        let own = match self {
            Self::None => Some(0),
            Self::Until(deadline_ns) => Some(deadline_ns),
            Self::Endless => None,
        };
        // Signals are handled in the main thread alone.
        if thread_id() != std::process::id() {
            return own;
        }
        let slice = monotonic_ns().saturating_add(MAIN_SLICE_NS);
        Some(own.map_or(slice, |own| own.min(slice)))
    }
}

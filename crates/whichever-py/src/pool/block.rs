//! Tasks of a map that are put together, to go to a worker in one message.

use pyo3::prelude::*;
use whichever_pool::wire::INLINE_BYTES;
use whichever_sys::monotonic_ns;

use super::codec::encode;

/// Most tasks that are handed in together.
const BLOCK_TASKS: usize = 1024;
/// Bytes of these, about: a part of them must fit a record.
const BLOCK_BYTES: usize = INLINE_BYTES / 2;

/// Tasks that are being put together.
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) body: Vec<u8>,
    pub(super) starts: Vec<u32>,
}

/// How long it is since the start, read the more rarely the faster it is asked.
pub(super) struct Clock {
    started_ns: u64,
    read_ns: u64,
    /// Calls from one reading to the next, and how many of them are left.
    stride: u32,
    left: u32,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now_ns = monotonic_ns();
        Self { started_ns: now_ns, read_ns: now_ns, stride: 1, left: 1 }
    }

    pub(super) fn is_over(&mut self, limit_ns: u64) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let now_ns = monotonic_ns();
        let quick = now_ns - self.read_ns < limit_ns / 16;
        self.stride = if quick { (self.stride * 2).min(64) } else { (self.stride / 2).max(1) };
        (self.read_ns, self.left) = (now_ns, self.stride);
        now_ns - self.started_ns > limit_ns
    }
}

impl Block {
    pub(super) fn new(first: u64) -> Self {
        let mut starts = Vec::with_capacity(256);
        starts.push(0);
        Self { first, body: Vec::with_capacity(4096), starts }
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Put a scalar in. False when it is none, or must not be in a batch: then the block is as before.
    pub(super) fn add(&mut self, item: &Bound<'_, PyAny>) -> bool {
        let (mut large, begin) = (Vec::new(), self.body.len());
        if encode(item, &mut self.body, &mut large) && large.is_empty() {
            return self.close_item();
        }
        self.body.truncate(begin);
        false
    }

    /// Close the item whose code was just appended. False when it must not be in a batch: then it is gone again.
    pub(super) fn close_item(&mut self) -> bool {
        let begin = *self.starts.last().unwrap_or(&0) as usize;
        if self.body.len() - begin > BLOCK_BYTES {
            self.body.truncate(begin);
            return false;
        }
        self.starts.push(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= BLOCK_TASKS || self.body.len() >= BLOCK_BYTES
    }
}

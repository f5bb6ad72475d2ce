//! The chunks of a depot: a chain of those in use, a chain of those that are free, and the rest that has no memory yet.
//!
//! Everything here happens under the depot's lock. The chain in use follows from the two ends alone, so that `mend` can
//! find the free ones again, whatever its predecessor was doing when it died.

use std::io;
use std::ops::Range;

use whichever_sys::SharedFile;

use super::words::{CHUNK, DepotWords, End, NO_CHUNK};
use crate::memory::{Bytes, Table};
use crate::sync::Ordering;

/// Chunks that are made at once: a quarter of a megabyte.
const GROWTH: u32 = 4;
/// Free chunks that keep their memory, warm for the next items: 64 MiB.
const WARM: u32 = 1024;

/// What the words say cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Why there is no chunk.
#[derive(Debug)]
pub(super) enum NoChunk {
    /// All address space is used.
    NoSpace,
    /// No memory.
    Io(io::Error),
    Nonsense,
}

pub(super) struct Chunks<'a> {
    pub(super) words: &'a DepotWords,
    /// For each chunk the one that follows it in its chain.
    pub(super) next: &'a Table,
    pub(super) bytes: &'a Bytes,
    pub(super) file: &'a SharedFile,
    /// Where the first chunk begins in the file.
    pub(super) start: u64,
}

impl Chunks<'_> {
    /// The chunk behind `chunk`.
    pub(super) fn after(&self, chunk: u32) -> Result<u32, Nonsense> {
        let next = self.next.get(chunk).ok_or(Nonsense)?.load(Ordering::Relaxed);
        if next < self.words.made.load(Ordering::Relaxed) { Ok(next) } else { Err(Nonsense) }
    }

    /// Take the first chunk of an empty depot, which is chunk 0.
    pub(super) fn begin(&self) -> Result<(), NoChunk> {
        self.take(1).map(|_first| ())
    }

    /// How many bytes the record at `head` has.
    pub(super) fn record_len(&self, head: End, tail: End) -> Result<u64, Nonsense> {
        let mut header = [0; 8];
        self.read(head.chunk, head.offset(), 8, |bytes| {
            if let Some(into) = header.get_mut(..bytes.len()) {
                into.copy_from_slice(bytes);
            }
        })?;
        let len = u64::from_le_bytes(header);
        let room = tail.position.checked_sub(head.position + 8).ok_or(Nonsense)?;
        if len > room { Err(Nonsense) } else { Ok(len) }
    }

    /// Write a record at `tail`, behind which `fresh` chunks hang; returns the last of them.
    pub(super) fn write_record(
        &self,
        tail: End,
        len: u64,
        parts: &[&[u8]],
        fresh: u64,
    ) -> Result<u32, Nonsense> {
        let header = len.to_le_bytes();
        let (chunk, offset) = self.write(tail.chunk, tail.offset(), &[&header])?;
        self.write(chunk, offset, parts)?;
        self.walk(tail.chunk, fresh)
    }

    /// Append a record's bytes to `into`; returns the chunk that is `passed` ones further on.
    pub(super) fn read_record(
        &self,
        head: End,
        len: u64,
        into: &mut Vec<u8>,
        passed: u64,
    ) -> Result<u32, Nonsense> {
        into.reserve(usize::try_from(len).map_err(|_| Nonsense)?);
        // A header never crosses the end of a chunk: positions are multiples of its length.
        self.read(head.chunk, head.offset() + 8, len, |bytes| into.extend_from_slice(bytes))?;
        self.walk(head.chunk, passed)
    }

    fn walk(&self, chunk: u32, steps: u64) -> Result<u32, Nonsense> {
        (0..steps).try_fold(chunk, |chunk, _| self.after(chunk))
    }

    /// Hang `count` more chunks behind `chunk`. On failure all that was taken is free again.
    pub(super) fn extend(&self, chunk: u32, count: u64) -> Result<(), NoChunk> {
        let mut last = chunk;
        for taken in 0..count {
            match self.take(u32::try_from(count - taken).unwrap_or(u32::MAX)) {
                Ok(fresh) => {
                    self.link(last, fresh).map_err(|Nonsense| NoChunk::Nonsense)?;
                    last = fresh;
                }
                Err(error) => {
                    let first = self.after(chunk);
                    if taken > 0
                        && let Ok(first) = first
                    {
                        self.free(first, taken).map_err(|Nonsense| NoChunk::Nonsense)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Free `count` chunks from `first` on, along their chain.
    pub(super) fn free(&self, first: u32, count: u64) -> Result<(), Nonsense> {
        let mut chunk = first;
        for freed in 0..count {
            let next = if freed + 1 < count { self.after(chunk)? } else { chunk };
            self.put_free(chunk)?;
            chunk = next;
        }
        Ok(())
    }

    /// Write `parts`, one behind the other, from `offset` of `chunk` on; returns where that ends.
    fn write(&self, mut chunk: u32, mut offset: u64, parts: &[&[u8]]) -> Result<(u32, u64), Nonsense> {
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if offset == CHUNK {
                    (chunk, offset) = (self.after(chunk)?, 0);
                }
                let (now, later) =
                    rest.split_at(rest.len().min(usize::try_from(CHUNK - offset).map_err(|_| Nonsense)?));
                let at = self.place(chunk, offset)?;
                // SAFETY: we hold the depot's lock, and so nobody else is in its bytes.
                unsafe { self.bytes.write(at, now) };
                offset += now.len() as u64;
                rest = later;
            }
        }
        Ok((chunk, offset))
    }

    /// Show `len` bytes from `offset` of `chunk` on, piece by piece.
    fn read(
        &self,
        mut chunk: u32,
        mut offset: u64,
        len: u64,
        mut look: impl FnMut(&[u8]),
    ) -> Result<(), Nonsense> {
        let mut left = len;
        while left > 0 {
            if offset == CHUNK {
                (chunk, offset) = (self.after(chunk)?, 0);
            }
            let now = left.min(CHUNK - offset);
            let at = self.place(chunk, offset)?;
            // SAFETY: we hold the depot's lock, and so nobody else is in its bytes.
            unsafe { self.bytes.read(at, usize::try_from(now).map_err(|_| Nonsense)?, &mut look) };
            offset += now;
            left -= now;
        }
        Ok(())
    }

    /// Find out anew which chunks are free: all that the chain of `count` from `first` on does not hold.
    pub(super) fn mend(&self, first: u32, count: u64) -> Result<(), Nonsense> {
        let made = self.words.made.load(Ordering::Relaxed);
        if u64::from(made) > self.next.len() as u64 {
            return Err(Nonsense);
        }
        let mut used = vec![false; made as usize];
        let mut chunk = first;
        for step in 0..count {
            let known = used.get_mut(chunk as usize).ok_or(Nonsense)?;
            if std::mem::replace(known, true) {
                return Err(Nonsense);
            }
            if step + 1 < count {
                chunk = self.after(chunk)?;
            }
        }
        self.words.free.store(NO_CHUNK, Ordering::Relaxed);
        self.words.free_count.store(0, Ordering::Relaxed);
        for chunk in (0..made).filter(|chunk| !used[*chunk as usize]) {
            self.put_free(chunk)?;
        }
        Ok(())
    }

    /// A chunk that nobody uses; `wanted` more will be asked for.
    fn take(&self, wanted: u32) -> Result<u32, NoChunk> {
        if self.words.free.load(Ordering::Relaxed) == NO_CHUNK {
            self.make(wanted)?;
        }
        let chunk = self.words.free.load(Ordering::Relaxed);
        let next = self.next.get(chunk).ok_or(NoChunk::Nonsense)?.load(Ordering::Relaxed);
        self.words.free.store(next, Ordering::Relaxed);
        let count = self.words.free_count.load(Ordering::Relaxed);
        self.words.free_count.store(count.saturating_sub(1), Ordering::Relaxed);
        Ok(chunk)
    }

    /// Get memory for chunks that had none, and put them among the free ones.
    fn make(&self, wanted: u32) -> Result<(), NoChunk> {
        let made = self.words.made.load(Ordering::Relaxed);
        let fresh = self.room(made, wanted.max(GROWTH)).ok_or(NoChunk::NoSpace)?;
        if u64::from(fresh.end - fresh.start) < u64::from(wanted) {
            return Err(NoChunk::NoSpace);
        }
        let offset = self.start + u64::from(fresh.start) * CHUNK;
        self.file.allocate(offset, u64::from(fresh.end - fresh.start) * CHUNK).map_err(NoChunk::Io)?;
        self.words.made.store(fresh.end, Ordering::Relaxed);
        // The last one first: they are used from the beginning.
        fresh.rev().try_for_each(|chunk| self.put_free(chunk)).map_err(|Nonsense| NoChunk::Nonsense)
    }

    fn room(&self, made: u32, wanted: u32) -> Option<Range<u32>> {
        let end = made.saturating_add(wanted).min(u32::try_from(self.next.len()).unwrap_or(NO_CHUNK - 1));
        (made < end).then_some(made..end)
    }

    fn put_free(&self, chunk: u32) -> Result<(), Nonsense> {
        let first = self.words.free.load(Ordering::Relaxed);
        self.link(chunk, first)?;
        self.words.free.store(chunk, Ordering::Relaxed);
        let count = self.words.free_count.load(Ordering::Relaxed).saturating_add(1);
        self.words.free_count.store(count, Ordering::Relaxed);
        if count > WARM {
            // Its memory goes back to the system; that it cannot would change nothing for anybody.
            let _ = self.file.release(self.start + u64::from(chunk) * CHUNK, CHUNK);
        }
        Ok(())
    }

    fn link(&self, chunk: u32, next: u32) -> Result<(), Nonsense> {
        self.next.get(chunk).ok_or(Nonsense)?.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Where a byte of a chunk is among all bytes.
    fn place(&self, chunk: u32, offset: u64) -> Result<usize, Nonsense> {
        if chunk >= self.words.made.load(Ordering::Relaxed) || self.next.get(chunk).is_none() {
            return Err(Nonsense);
        }
        usize::try_from(u64::from(chunk) * CHUNK + offset).map_err(|_| Nonsense)
    }
}

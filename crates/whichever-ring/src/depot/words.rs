//! The words of a depot, where they lie in its file, and its two ends.

use whichever_sys::RobustLock;

use crate::call::Call;
use crate::memory::Overlay;
use crate::ring::Line;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// "whchdepo", read as bytes on a little-endian machine. Another layout gets another name.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"whchdepo");
/// Bytes of a chunk, the unit in which memory is taken and given back.
pub(super) const CHUNK: u64 = 64 * 1024;
/// Where the table of chunks begins in the file.
pub(super) const TABLE_AT: u64 = 4096;
/// No chunk.
pub(super) const NO_CHUNK: u32 = u32::MAX;

/// All but `magic` to `chunks` is written under the lock alone, and read there unless it says otherwise.
#[derive(Debug)]
#[repr(C)]
pub(super) struct DepotWords {
    /// Written last, when everything else is there.
    pub(super) magic: AtomicU64,
    /// A random number that tells this file from others.
    pub(super) key: AtomicU64,
    /// Chunks that there is address space for.
    pub(super) chunks: AtomicU64,
    /// The most items; 0 for no limit.
    pub(super) limit: AtomicU64,
    /// Addresses of it that were handed out and not used yet. Changed without the lock.
    pub(super) under_way: AtomicU32,
    pub(super) lock: Line<RobustLock>,
    pub(super) tail: Line<EndWords>,
    pub(super) head: Line<EndWords>,
    /// Items called finished.
    pub(super) finished: AtomicU64,
    /// Items that were got, but not finished, before this depot was made.
    pub(super) unfinished_before: AtomicU64,
    /// 1 when nothing more may be put.
    pub(super) closed: AtomicU32,
    /// 1 when a look at these words has found nonsense.
    pub(super) broken: AtomicU32,
    /// First of the chunks that are free; each names the next one in the table.
    pub(super) free: AtomicU32,
    /// How many are free.
    pub(super) free_count: AtomicU32,
    /// Chunks that were ever used; those behind have no memory yet.
    pub(super) made: AtomicU32,
    /// The most items that were there at once.
    pub(super) most: AtomicU64,
    /// Times somebody slept for want of an item, or of a place.
    pub(super) get_waits: AtomicU64,
    pub(super) put_waits: AtomicU64,
    pub(super) for_item: Line<Call>,
    pub(super) for_place: Line<Call>,
    pub(super) for_end: Line<Call>,
}

const _: () = assert!(size_of::<DepotWords>() as u64 <= TABLE_AT, "the table lies behind the words");

// SAFETY: 1. atomics, whose bits may be any; and a lock that the C library itself says is broken when its bits are.
//         2. atomics, and a lock that is made to be used by several processes at once.
unsafe impl Overlay for DepotWords {}

/// One end of the stream of records. The count is the commit: its lowest bit chooses the place that is true, and the
/// other place is written before the count moves on.
#[derive(Debug)]
#[repr(C)]
pub(super) struct EndWords {
    count: AtomicU64,
    places: [PlaceWords; 2],
}

#[derive(Debug)]
#[repr(C)]
struct PlaceWords {
    position: AtomicU64,
    chunk: AtomicU32,
}

/// Where an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Records that have passed it.
    pub(super) count: u64,
    /// Bytes that have passed it.
    pub(super) position: u64,
    /// The chunk that the next byte is in.
    pub(super) chunk: u32,
}

impl End {
    /// Which chunk of the stream that is, counted from its beginning.
    pub(super) fn index(self) -> u64 {
        self.position / CHUNK
    }

    /// Where the next byte is in its chunk.
    pub(super) fn offset(self) -> u64 {
        self.position % CHUNK
    }
}

impl EndWords {
    /// Records that have passed. May be read without the lock, as a guess.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn load(&self) -> End {
        let count = self.count();
        let place = self.place(count);
        End {
            count,
            position: place.position.load(Ordering::Relaxed),
            chunk: place.chunk.load(Ordering::Relaxed),
        }
    }

    /// Move to `end`, in one step for whoever finds it after a death.
    pub(super) fn commit(&self, end: End) {
        let place = self.place(end.count);
        place.position.store(end.position, Ordering::Relaxed);
        place.chunk.store(end.chunk, Ordering::Relaxed);
        // Release: what was written before is there for everybody who finds this count.
        self.count.store(end.count, Ordering::Release);
    }

    fn place(&self, count: u64) -> &PlaceWords {
        let [even, odd] = &self.places;
        if count.is_multiple_of(2) { even } else { odd }
    }
}

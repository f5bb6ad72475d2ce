//! An arena: ranges in one shared file, for what is too large for a ring. Memory that was used is kept warm.
//!
//! One process writes an arena; others read its ranges through the file. Guarantee: a range stays as it is until it is
//! freed. Fresh memory is written through the file, so that running out of it is an error and no signal; warm memory is
//! copied to, which is several times faster.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use whichever_sys::{Access, Mapping, SharedFile, available_memory, page_size, total_memory};

use crate::ranges::{Extent, Ranges};

/// Address space to ask for, in times of the machine's memory: offsets must find room however ranges lie.
const SPAN_FACTOR: u64 = 4;
/// Where the machine does not tell its memory.
const USUAL_MEMORY: u64 = 8 << 30;
/// With less address space than this an arena is no use.
const LEAST_SPAN: u64 = 64 << 20;
/// The most that lies warm and unused, and the share of the machine's memory that it may be.
const MOST_IDLE: u64 = 1 << 30;
const IDLE_SHARE: u64 = 8;
/// From this length on a fresh range must fit into what memory is available. Below, asking would cost more than it tells.
const CHECKED_LEN: u64 = 64 << 20;
/// Copies from this length on map their pages beforehand.
const POPULATED_LEN: usize = 256 << 10;
/// The file grows in steps of this, which costs no memory and saves calls.
const GROWTH: u64 = 64 << 20;

/// A range of an arena. It belongs to whoever allocated it, until it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it starts in the file, a multiple of the page size.
    pub offset: u64,
    /// Bytes it holds: at least those asked for.
    pub len: u64,
    /// The memory for the bytes asked for is there already.
    pub warm: bool,
}

/// Why there is no range.
#[derive(Debug)]
pub enum AllocateError {
    /// It would take more memory than the machine, or the control group, has left.
    NoMemory {
        /// Bytes it would take.
        wanted_bytes: u64,
        /// Bytes that are left.
        available_bytes: u64,
    },
    /// The address space of the arena is used up.
    NoSpace {
        /// Bytes it would take.
        wanted_bytes: u64,
    },
    /// The file did not grow: a limit on the size of files, perhaps.
    Io(io::Error),
}

impl std::fmt::Display for AllocateError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMemory { wanted_bytes, available_bytes } => write!(
                formatter,
                "{wanted_bytes} bytes of shared memory are wanted and {available_bytes} are available"
            ),
            Self::NoSpace { wanted_bytes } => {
                write!(formatter, "no address space for {wanted_bytes} more bytes of shared memory")
            }
            Self::Io(error) => write!(formatter, "shared memory did not grow: {error}"),
        }
    }
}

impl std::error::Error for AllocateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

/// What an arena holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStatistics {
    /// Bytes of ranges in use.
    pub used_bytes: u64,
    /// Bytes of ranges that were freed and keep their memory.
    pub warm_bytes: u64,
    /// Length of the file, holes included.
    pub file_bytes: u64,
    /// Address space of the arena.
    pub span_bytes: u64,
    /// Ranges in use.
    pub used_ranges: usize,
    /// Ranges that were freed and keep their memory.
    pub warm_ranges: usize,
}

/// Ranges in one growing shared file. Every method may be called from any thread.
#[derive(Debug)]
pub struct Arena {
    file: SharedFile,
    mapping: Mapping,
    /// The most bytes that lie warm.
    idle_cap: u64,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    ranges: Ranges,
    /// The file's length as we last set it.
    file_bytes: u64,
    /// How much of a range was mapped for copying, by its offset.
    mapped: HashMap<u64, u64>,
}

impl Arena {
    /// Make an empty arena. `name` shows in `/proc/PID/maps`.
    ///
    /// # Errors
    /// The limit of open files, hardly any address space, or `Unsupported`.
    pub fn create(name: &str) -> io::Result<Self> {
        Self::in_file(SharedFile::create(name)?)
    }

    /// The same with other limits: up to `span` bytes of ranges, at most `idle_cap` of them freed and warm.
    ///
    /// # Errors
    /// As `create`.
    pub fn with_limits(name: &str, span: u64, idle_cap: u64) -> io::Result<Self> {
        Self::over(SharedFile::create(name)?, span, idle_cap)
    }

    /// An arena of the usual limits in a file that is empty and that nobody else allocates in.
    ///
    /// # Errors
    /// As `create`.
    pub fn in_file(file: SharedFile) -> io::Result<Self> {
        let memory = total_memory().unwrap_or(USUAL_MEMORY);
        Self::over(file, memory.saturating_mul(SPAN_FACTOR), MOST_IDLE.min(memory / IDLE_SHARE))
    }

    fn over(file: SharedFile, span: u64, idle_cap: u64) -> io::Result<Self> {
        let mapping = map_span(&file, span)?;
        mapping.leave_out_of_dumps();
        let ranges = Ranges::new(page_size() as u64, mapping.len() as u64);
        Ok(Self {
            file,
            mapping,
            idle_cap,
            books: Mutex::new(Books { ranges, file_bytes: 0, mapped: HashMap::new() }),
        })
    }

    /// The file, to be sent to those who read.
    #[must_use]
    pub fn file(&self) -> &SharedFile {
        &self.file
    }

    /// Where offset 0 is mapped in this process.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// The offset of these bytes, if they lie inside the arena.
    #[must_use]
    pub fn contains(&self, ptr: *const u8, len: usize) -> Option<u64> {
        let offset = (ptr as usize).checked_sub(self.base() as usize)?;
        let end = offset.checked_add(len)?;
        (end <= self.mapping.len()).then_some(offset as u64)
    }

    /// A range of at least `len` bytes: a warm one if there is, else a fresh one. What it holds is not defined.
    ///
    /// # Errors
    /// See `AllocateError`; the arena stays as it was, except that memory which lay warm may have been given back.
    pub fn allocate(&self, len: usize) -> Result<Range, AllocateError> {
        let wanted_bytes = len as u64;
        let class = self.lock().ranges.class(wanted_bytes).ok_or(AllocateError::NoSpace { wanted_bytes })?;
        if let Some((extent, filled)) = self.lock().ranges.take_warm(class) {
            return Ok(Range { offset: extent.offset, len: extent.len, warm: filled >= wanted_bytes });
        }
        if class >= CHECKED_LEN {
            self.check_memory(class)?;
        }
        let mut books = self.lock();
        let extent = books.ranges.take_fresh(class).ok_or(AllocateError::NoSpace { wanted_bytes })?;
        match self.grow(&mut books) {
            Ok(()) => Ok(Range { offset: extent.offset, len: extent.len, warm: false }),
            Err(error) => {
                books.ranges.cancel(extent);
                Err(AllocateError::Io(error))
            }
        }
    }

    /// Copy `bytes` into `range`, from its byte `at` on.
    ///
    /// # Errors
    /// `InvalidInput` when they do not fit, the range is not in use, or another thread fills it at this moment;
    /// `StorageFull` or `OutOfMemory` when there is no memory for it.
    pub fn fill(&self, range: &Range, at: usize, bytes: &[u8]) -> io::Result<()> {
        let offset = range.offset;
        let (at, len) = (at as u64, bytes.len() as u64);
        let present = self.lock().ranges.begin_fill(offset, at, len).ok_or(io::ErrorKind::InvalidInput)?;
        let written = self.write(offset, offset + at, bytes, present);
        let end = if written.is_ok() { at + len } else { at };
        self.lock().ranges.end_fill(offset, at, end);
        written
    }

    /// Give the range at `offset` back; one that was never allocated, or is being filled, stays as it is. Beyond the cap,
    /// the memory of what was freed longest ago goes back to the system.
    pub fn free(&self, offset: u64) {
        let surplus = {
            let mut books = self.lock();
            books.ranges.give_back(offset);
            books.ranges.take_surplus(self.idle_cap)
        };
        self.empty(surplus);
    }

    /// Give the memory of everything that is not in use back to the system.
    pub fn trim(&self) {
        let surplus = self.lock().ranges.take_surplus(0);
        self.empty(surplus);
    }

    /// What the arena holds now.
    #[must_use]
    pub fn statistics(&self) -> ArenaStatistics {
        let books = self.lock();
        ArenaStatistics {
            used_bytes: books.ranges.used_bytes(),
            warm_bytes: books.ranges.warm_bytes(),
            file_bytes: books.file_bytes,
            span_bytes: self.mapping.len() as u64,
            used_ranges: books.ranges.used_count(),
            warm_ranges: books.ranges.warm_count(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // Nothing panics between two changes that belong together.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write bytes of a range that is being filled: the `present` first ones where they are, the rest through the file,
    /// which makes memory without clearing it first and tells when there is none.
    fn write(&self, range: u64, place: u64, bytes: &[u8], present: u64) -> io::Result<()> {
        let present = usize::try_from(present).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (copied, written) = bytes.split_at(present);
        if !copied.is_empty() {
            let offset = usize::try_from(place).map_err(|_| io::ErrorKind::InvalidInput)?;
            if copied.len() >= POPULATED_LEN && self.note_mapped(range, place + present as u64 - range) {
                // Maps many pages at a time, where each first touch would cost a fault of its own.
                self.mapping.populate(offset, copied.len());
            }
            // SAFETY: 1. `begin_fill` has reserved these bytes: no other thread fills them, and the range is not given
            //            back. Readers look at a range once it was filled and sent, which is their own duty.
            //         2. the file was grown to the end of the range before it was given out, and never shrinks.
            unsafe { self.mapping.copy_in(offset, copied) };
        }
        if written.is_empty() { Ok(()) } else { self.file.write_at(written, place + present as u64) }
    }

    /// Remember that the range is mapped up to `end`; true when it was not before.
    fn note_mapped(&self, range: u64, end: u64) -> bool {
        let mut books = self.lock();
        let mapped = books.mapped.entry(range).or_insert(0);
        let is_new = *mapped < end;
        *mapped = end.max(*mapped);
        is_new
    }

    /// Refuse what the machine cannot hold, after giving back what lies warm.
    fn check_memory(&self, wanted_bytes: u64) -> Result<(), AllocateError> {
        let fits = |available: Option<u64>| available.is_none_or(|available| available >= wanted_bytes);
        if fits(available_memory()) {
            return Ok(());
        }
        self.trim();
        match available_memory() {
            Some(available_bytes) if available_bytes < wanted_bytes => {
                Err(AllocateError::NoMemory { wanted_bytes, available_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Make the file reach to the end of all ranges.
    fn grow(&self, books: &mut Books) -> io::Result<()> {
        let end = books.ranges.end();
        if end > books.file_bytes {
            let len = end.next_multiple_of(GROWTH).min(self.mapping.len() as u64);
            self.file.grow(len)?;
            books.file_bytes = len;
        }
        Ok(())
    }

    /// Give memory back, outside the lock: it takes milliseconds a gigabyte.
    fn empty(&self, surplus: Vec<Extent>) {
        for extent in surplus {
            // Refused, the memory stays where it is and is written over when the range is used again.
            let _ = self.file.release(extent.offset, extent.len);
            let mut books = self.lock();
            books.mapped.remove(&extent.offset);
            books.ranges.note_empty(extent);
        }
    }
}

/// Map as much of `span` as the process may have.
fn map_span(file: &SharedFile, span: u64) -> io::Result<Mapping> {
    let page = page_size() as u64;
    let mut span = span.clamp(page, isize::MAX as u64) / page * page;
    loop {
        let len = usize::try_from(span).map_err(|_| io::ErrorKind::OutOfMemory)?;
        match Mapping::new(file, 0, len, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && span / 2 >= LEAST_SPAN => {
                span = span / 2 / page * page;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn arena(idle_cap: usize) -> Arena {
        Arena::with_limits("whichever-test", 1 << 30, idle_cap as u64).unwrap()
    }

    fn read(arena: &Arena, range: &Range, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        arena.file().read_at(&mut bytes, range.offset + at).unwrap();
        bytes
    }

    #[test]
    fn what_was_filled_is_read_by_those_who_map_the_file() {
        let arena = arena(MIB);
        let range = arena.allocate(10_000).unwrap();
        arena.fill(&range, 0, &[1; 6_000]).unwrap();
        arena.fill(&range, 6_000, &[2; 4_000]).unwrap();
        let offset = range.offset;
        let reader = Mapping::new(arena.file(), offset, 10_000, Access::CopyOnWrite).unwrap();
        // SAFETY: nobody writes the range any more, and the file was grown beyond it.
        let seen = unsafe { std::slice::from_raw_parts(reader.as_ptr(), 10_000) };
        assert_eq!((&seen[..6_000], &seen[6_000..]), ([1; 6_000].as_slice(), [2; 4_000].as_slice()));
    }

    #[test]
    fn a_range_is_warm_the_second_time_and_holds_the_new_bytes() {
        let arena = arena(MIB);
        let cold = arena.allocate(10_000).unwrap();
        assert!(!cold.warm);
        arena.fill(&cold, 0, &[1; 10_000]).unwrap();
        arena.free(cold.offset);
        let warm = arena.allocate(9_500).unwrap();
        assert_eq!((warm.offset, warm.warm), (cold.offset, true));
        // Across the border between what is there and what is not.
        arena.fill(&warm, 9_000, &[3; 2_000]).unwrap();
        assert_eq!(read(&arena, &warm, 8_999, 2_002), [&[1][..], &[3; 2_000], &[0]].concat());
    }

    #[test]
    fn beyond_the_cap_freed_memory_goes_back() {
        let arena = arena(MIB);
        let ranges: Vec<_> = (0..4).map(|_| arena.allocate(MIB / 2).unwrap()).collect();
        for range in &ranges {
            arena.fill(range, 0, &vec![1; MIB / 2]).unwrap();
        }
        for range in &ranges {
            arena.free(range.offset);
        }
        let left = arena.statistics();
        assert_eq!((left.used_bytes, left.warm_bytes, left.warm_ranges), (0, MIB as u64, 2));
        arena.trim();
        assert_eq!(arena.statistics().warm_bytes, 0);
        assert_eq!(read(&arena, &ranges[3], 0, MIB / 2), vec![0; MIB / 2]);
    }

    #[test]
    fn what_no_machine_can_hold_is_refused_and_the_arena_stays_usable() {
        let arena = Arena::with_limits("whichever-test", 1 << 46, 0).unwrap();
        let wanted = usize::try_from(available_memory().unwrap() * 2).unwrap();
        assert!(matches!(arena.allocate(wanted), Err(AllocateError::NoMemory { .. })));
        assert!(matches!(arena.allocate(usize::MAX), Err(AllocateError::NoSpace { .. })));
        assert_eq!(arena.statistics().used_bytes, 0);
        arena.allocate(1).unwrap();
    }

    #[test]
    fn a_full_span_is_an_error_until_something_is_freed() {
        let arena = Arena::with_limits("whichever-test", MIB as u64, MIB as u64).unwrap();
        let first = arena.allocate(MIB).unwrap();
        assert!(matches!(arena.allocate(1), Err(AllocateError::NoSpace { wanted_bytes: 1 })));
        arena.free(first.offset);
        arena.allocate(MIB).unwrap();
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let arena = arena(MIB);
        let range = arena.allocate(4096).unwrap();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(arena.fill(&range, 4000, &[0; 97])), io::ErrorKind::InvalidInput);
        assert_eq!(kind(arena.fill(&range, usize::MAX, &[0])), io::ErrorKind::InvalidInput);
        arena.free(range.offset);
        assert_eq!(kind(arena.fill(&range, 0, &[0])), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn an_address_inside_is_known_by_its_offset() {
        let arena = arena(MIB);
        let inside = arena.base().wrapping_add(5_000);
        assert_eq!(arena.contains(inside, 10), Some(5_000));
        assert_eq!(arena.contains(inside, 1 << 30), None);
        assert_eq!(arena.contains(arena.base().wrapping_sub(1), 1), None);
        assert_eq!(arena.contains([0_u8; 4].as_ptr(), 4), None);
    }

    #[test]
    fn threads_that_share_an_arena_never_meet_in_a_range() {
        let arena = arena(8 * MIB);
        std::thread::scope(|scope| {
            for thread in 1..=4_u8 {
                let arena = &arena;
                scope.spawn(move || {
                    for round in 0..200_usize {
                        let len = 1 + (round * 7_919 * usize::from(thread)) % 300_000;
                        let range = arena.allocate(len).unwrap();
                        arena.fill(&range, 0, &vec![thread; len]).unwrap();
                        assert!(read(arena, &range, 0, len).iter().all(|byte| *byte == thread));
                        arena.free(range.offset);
                    }
                });
            }
        });
        let left = arena.statistics();
        assert_eq!((left.used_bytes, left.used_ranges), (0, 0));
        assert!(left.warm_bytes <= 8 * MIB as u64);
    }
}

//! A depot: a queue of records in shared memory, for any number of producers and consumers in any number of processes.
//!
//! One lock guards it, which survives its holder. Guarantee: a put and a get each happen with one store of one word, so a
//! process killed at any instant has done them or has not; PROTOCOL.md says what else it may leave, and how that is
//! mended. Memory is taken in chunks as records need it and given back as they leave. Nothing here waits longer than it
//! was allowed to. What other processes wrote is checked and never trusted.

mod chunks;
mod place;
mod words;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use whichever_sys::{
    Access, FutexWait, Mapping, NotTaken, SharedFile, Taken, monotonic_ns, page_size, total_memory,
};

use self::chunks::{Chunks, NoChunk, Nonsense};
use self::words::{CHUNK, DepotWords, End, MAGIC, NO_CHUNK, TABLE_AT};
use crate::memory::{Bytes, Shared, Table, overlay};
use crate::sync::Ordering;

pub use self::place::{Address, open_address};

/// Address space of one depot, at most and at least: a process may have thousands of them.
const MOST_SPAN: u64 = 16 << 30;
const LEAST_SPAN: u64 = 64 << 20;
/// Attempts to take the lock before the caller is told that it is busy. A holder mostly copies some hundred bytes.
const ATTEMPTS: u32 = 200;
/// The longest sleep: what was left unsaid by a process that was killed between a change and its call is seen then.
const SLICE: Duration = Duration::from_millis(100);
const HEADER: u64 = 8;
/// Bytes in use from which on fresh memory is `Cold`. Getting it costs several times what the copy does.
const COLD_FROM: u64 = 8 << 20;
/// Where the chunks begin at most: behind the words and the longest table.
const MOST_START: u64 = (TABLE_AT + MOST_SPAN / CHUNK * 4).next_multiple_of(CHUNK);

/// Why something was not done.
#[derive(Debug)]
pub enum DepotError {
    /// Another process or thread is at it: try again, and allow more time.
    Busy,
    /// No place for the record now.
    Full,
    /// No record now.
    Empty,
    /// It was closed: takes nothing more, and has nothing more to give.
    Closed,
    /// The next record has so many bytes, more than was allowed.
    Long(u64),
    /// It would take memory that is not there yet, though much is in use: who can wait a moment may get warm memory that
    /// consumers are done with.
    Cold,
    /// All its address space is in use.
    NoSpace,
    /// There is no memory for the record.
    NoMemory(io::Error),
    /// Some process has written over it.
    Broken,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepotWant {
    /// A record.
    Item,
    /// A place for one.
    Place,
    /// That all records were called finished.
    End,
}

/// What a depot holds at one moment, and what was done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DepotState {
    /// Records put since it was made.
    pub puts: u64,
    /// Records taken out.
    pub gets: u64,
    /// Records put and not called finished.
    pub unfinished: u64,
    /// The most records there may be; 0 for no limit.
    pub limit: u64,
    /// Takes nothing more.
    pub closed: bool,
    /// The most records that were there at once.
    pub most: u64,
    /// Times somebody slept for want of a record.
    pub get_waits: u64,
    /// Times somebody slept for want of a place.
    pub put_waits: u64,
    /// Bytes that the records take.
    pub used_bytes: u64,
    /// Bytes of memory that are held for records, used or not.
    pub held_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Depot {
    file: SharedFile,
    words: Shared<DepotWords>,
    next: Table,
    bytes: Bytes,
    start: u64,
}

// SAFETY: all but `bytes` may be shared anyway, and `bytes` is used by the holder of the depot's lock alone.
unsafe impl Sync for Depot {}

/// The lock, held.
struct Held<'a>(&'a Depot);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: a `Held` is made by the thread that has taken the lock, and is not sent to another.
        unsafe { self.0.words.lock.0.unlock() };
    }
}

impl Depot {
    /// Make an empty depot for at most `limit` records; 0 for no limit. `unfinished` records count as got but not finished.
    ///
    /// # Errors
    /// The limit of open files, hardly any address space, or `Unsupported`.
    pub fn create(limit: u64, unfinished: u64) -> io::Result<Self> {
        let file = SharedFile::create(place::FILE_NAME)?;
        let mut span = total_memory().unwrap_or(MOST_SPAN).clamp(LEAST_SPAN, MOST_SPAN);
        file.grow(MOST_START)?;
        let depot = loop {
            match Self::over(file.as_fd().try_clone_to_owned().map(SharedFile::from_fd)?, span / CHUNK) {
                Err(error) if span <= LEAST_SPAN => return Err(error),
                Err(_) => span /= 2,
                Ok(depot) => break depot,
            }
        };
        let words = &depot.words;
        words.chunks.store(span / CHUNK, Ordering::Relaxed);
        words.limit.store(limit, Ordering::Relaxed);
        words.unfinished_before.store(unfinished, Ordering::Relaxed);
        words.key.store(RandomState::new().hash_one(monotonic_ns()), Ordering::Relaxed);
        words.free.store(NO_CHUNK, Ordering::Relaxed);
        // SAFETY: nobody else has the file yet.
        unsafe { words.lock.0.init() };
        depot.chunks().begin().map_err(|error| match error {
            NoChunk::Io(error) => error,
            NoChunk::NoSpace | NoChunk::Nonsense => io::ErrorKind::OutOfMemory.into(),
        })?;
        words.magic.store(MAGIC, Ordering::Release);
        Ok(depot)
    }

    /// Open the depot in a file that came from another process.
    ///
    /// # Errors
    /// `InvalidData` when it is no depot, or of another version; no address space.
    pub fn open(file: SharedFile) -> io::Result<Self> {
        if file.len()? < TABLE_AT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let head = Arc::new(Mapping::new(&file, 0, page_size(), Access::ReadWrite)?);
        let words = overlay::<DepotWords>(&head);
        let chunks = words.chunks.load(Ordering::Relaxed);
        if words.magic.load(Ordering::Acquire) != MAGIC || chunks == 0 || chunks > MOST_SPAN / CHUNK {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Self::over(file, chunks)
    }

    fn over(file: SharedFile, chunks: u64) -> io::Result<Self> {
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let start = (TABLE_AT + chunks * 4).next_multiple_of(CHUNK);
        let len = usize::try_from(start + chunks * CHUNK).map_err(too_large)?;
        let mapping = Arc::new(Mapping::new(&file, 0, len, Access::ReadWrite)?);
        mapping.leave_out_of_dumps();
        let count = usize::try_from(chunks).map_err(too_large)?;
        let data = usize::try_from(start).map_err(too_large)?;
        Ok(Self {
            words: overlay(&mapping),
            next: Table::new(&mapping, usize::try_from(TABLE_AT).map_err(too_large)?, count),
            bytes: Bytes::new(&mapping, data, len - data),
            file,
            start,
        })
    }

    /// Put one record made of `parts`. Waits for the lock up to `limit`. Takes fresh memory only if `eager`, or there is
    /// little in use.
    ///
    /// # Errors
    /// Why it was not put.
    pub fn put(&self, parts: &[&[u8]], eager: bool, limit: Duration) -> Result<(), DepotError> {
        let expected = {
            let _held = self.hold(limit)?;
            self.put_held(parts, eager)?;
            self.words.for_item.0.is_expected()
        };
        if expected {
            self.words.for_item.0.answer();
        }
        Ok(())
    }

    fn put_held(&self, parts: &[&[u8]], eager: bool) -> Result<(), DepotError> {
        let words = &*self.words;
        let (tail, head) = (words.tail.0.load(), words.head.0.load());
        if words.closed.load(Ordering::Relaxed) != 0 {
            return Err(DepotError::Closed);
        }
        let items = tail.count.saturating_sub(head.count);
        let limit = words.limit.load(Ordering::Relaxed);
        if limit != 0 && items >= limit {
            return Err(DepotError::Full);
        }
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let after = tail.position + HEADER + len.next_multiple_of(HEADER);
        let fresh = after / CHUNK - tail.index();
        let used_bytes = tail.position.saturating_sub(head.position);
        if !eager && used_bytes > COLD_FROM && u64::from(words.free_count.load(Ordering::Relaxed)) < fresh {
            return Err(DepotError::Cold);
        }
        let chunks = self.chunks();
        chunks.extend(tail.chunk, fresh).map_err(|error| self.failed(error))?;
        let chunk = chunks.write_record(tail, len, parts, fresh).map_err(|error| self.broken(error))?;
        words.tail.0.commit(End { count: tail.count + 1, position: after, chunk });
        let most = words.most.load(Ordering::Relaxed);
        words.most.store(most.max(items + 1), Ordering::Relaxed);
        Ok(())
    }

    /// Take the next record and append its bytes to `into`, unless it has more than `at_most`. Waits for the lock up to
    /// `limit`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, into: &mut Vec<u8>, at_most: usize, limit: Duration) -> Result<(), DepotError> {
        let expected = {
            let _held = self.hold(limit)?;
            self.get_held(into, at_most as u64)?;
            self.words.for_place.0.is_expected()
        };
        if expected {
            self.words.for_place.0.answer();
        }
        Ok(())
    }

    fn get_held(&self, into: &mut Vec<u8>, at_most: u64) -> Result<(), DepotError> {
        let words = &*self.words;
        let (tail, head) = (words.tail.0.load(), words.head.0.load());
        if tail.count == head.count {
            let closed = words.closed.load(Ordering::Relaxed) != 0;
            return Err(if closed { DepotError::Closed } else { DepotError::Empty });
        }
        let chunks = self.chunks();
        let len = chunks.record_len(head, tail).map_err(|error| self.broken(error))?;
        if len > at_most {
            return Err(DepotError::Long(len));
        }
        let after = head.position + HEADER + len.next_multiple_of(HEADER);
        let passed = after / CHUNK - head.index();
        let chunk = chunks.read_record(head, len, into, passed).map_err(|error| self.broken(error))?;
        words.head.0.commit(End { count: head.count + 1, position: after, chunk });
        chunks.free(head.chunk, passed).map_err(|error| self.broken(error))
    }

    /// Call one record finished. False when there was none to finish.
    ///
    /// # Errors
    /// Busy, or broken.
    pub fn finish(&self, limit: Duration) -> Result<bool, DepotError> {
        let expected = {
            let _held = self.hold(limit)?;
            if self.unfinished() == 0 {
                return Ok(false);
            }
            let finished = self.words.finished.load(Ordering::Relaxed);
            self.words.finished.store(finished + 1, Ordering::Relaxed);
            self.unfinished() == 0 && self.words.for_end.0.is_expected()
        };
        if expected {
            self.words.for_end.0.answer();
        }
        Ok(true)
    }

    /// Take nothing more. With `immediate`, also drop what is there; it counts as finished.
    ///
    /// # Errors
    /// Busy, or broken.
    pub fn close(&self, immediate: bool, limit: Duration) -> Result<(), DepotError> {
        {
            let _held = self.hold(limit)?;
            let words = &*self.words;
            words.closed.store(1, Ordering::Relaxed);
            let (tail, head) = (words.tail.0.load(), words.head.0.load());
            if immediate && tail.count != head.count {
                words.head.0.commit(tail);
                let dropped = tail.count - head.count;
                let finished = words.finished.load(Ordering::Relaxed) + dropped.min(self.unfinished());
                words.finished.store(finished, Ordering::Relaxed);
                self.chunks()
                    .free(head.chunk, tail.index() - head.index())
                    .map_err(|error| self.broken(error))?;
            }
        }
        for call in [&self.words.for_item.0, &self.words.for_place.0, &self.words.for_end.0] {
            call.answer();
        }
        Ok(())
    }

    /// Sleep until it may be worth to look again, or a slice of time is over; at once if what is wanted is there. Looks
    /// at signals are the caller's, in between.
    ///
    /// # Errors
    /// Busy, or broken.
    pub fn sleep(&self, want: DepotWant, limit: Duration) -> Result<FutexWait, DepotError> {
        let call = match want {
            DepotWant::Item => &self.words.for_item.0,
            DepotWant::Place => &self.words.for_place.0,
            DepotWant::End => &self.words.for_end.0,
        };
        {
            let _held = self.hold(SLICE)?;
            if self.is_there_held(want) {
                return Ok(FutexWait::Changed);
            }
            self.count_wait(want);
            call.expect();
        }
        Ok(call.sleep(Some(limit.min(SLICE))))
    }

    /// Sleep until a record is taken out that `gets` does not count yet, for `limit` at most.
    ///
    /// # Errors
    /// Busy, or broken.
    pub fn sleep_until_taken(&self, gets: u64, limit: Duration) -> Result<(), DepotError> {
        {
            let _held = self.hold(SLICE)?;
            if self.words.head.0.count() != gets {
                return Ok(());
            }
            self.words.for_place.0.expect();
        }
        self.words.for_place.0.sleep(Some(limit.min(SLICE)));
        Ok(())
    }

    /// Whether what is wanted is there, as far as can be told without the lock.
    #[must_use]
    pub fn is_there(&self, want: DepotWant) -> bool {
        self.is_there_held(want)
    }

    fn is_there_held(&self, want: DepotWant) -> bool {
        let state = self.state();
        let items = state.puts.saturating_sub(state.gets);
        match want {
            DepotWant::Item => items > 0 || state.closed,
            DepotWant::Place => state.limit == 0 || items < state.limit || state.closed,
            DepotWant::End => state.unfinished == 0,
        }
    }

    /// What it holds, as far as can be told without the lock.
    #[must_use]
    pub fn state(&self) -> DepotState {
        let words = &*self.words;
        // In this order: what was put is never less than what was taken out of it.
        let head = words.head.0.load();
        let tail = words.tail.0.load();
        DepotState {
            puts: tail.count,
            gets: head.count,
            unfinished: self.unfinished(),
            limit: words.limit.load(Ordering::Relaxed),
            closed: words.closed.load(Ordering::Relaxed) != 0,
            most: words.most.load(Ordering::Relaxed),
            get_waits: words.get_waits.load(Ordering::Relaxed),
            put_waits: words.put_waits.load(Ordering::Relaxed),
            used_bytes: tail.position.saturating_sub(head.position),
            held_bytes: u64::from(words.made.load(Ordering::Relaxed)) * CHUNK,
        }
    }

    /// Change how many records there may be.
    ///
    /// # Errors
    /// Busy, or broken.
    pub fn set_limit(&self, records: u64, limit: Duration) -> Result<(), DepotError> {
        let _held = self.hold(limit)?;
        self.words.limit.store(records, Ordering::Relaxed);
        Ok(())
    }

    fn unfinished(&self) -> u64 {
        let words = &*self.words;
        let all = words.tail.0.count() + words.unfinished_before.load(Ordering::Relaxed);
        all.saturating_sub(words.finished.load(Ordering::Relaxed))
    }

    fn count_wait(&self, want: DepotWant) {
        let counter = match want {
            DepotWant::Item => &self.words.get_waits,
            DepotWant::Place => &self.words.put_waits,
            DepotWant::End => return,
        };
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Take the lock, and mend what a dead holder left.
    fn hold(&self, limit: Duration) -> Result<Held<'_>, DepotError> {
        let lock = &self.words.lock.0;
        // SAFETY: `init` was called before the magic word was written, without which nobody has this depot.
        let mut taken = unsafe { lock.try_lock() };
        let mut attempts = 0;
        while taken == Err(NotTaken::Busy) && attempts < ATTEMPTS {
            attempts += 1;
            std::hint::spin_loop();
            // SAFETY: as above.
            taken = unsafe { lock.try_lock() };
        }
        if taken == Err(NotTaken::Busy) && !limit.is_zero() {
            // SAFETY: as above.
            taken = unsafe { lock.lock(limit) };
        }
        let held = match taken {
            Ok(Taken::Whole) => Held(self),
            Ok(Taken::OwnerDied) => {
                let held = Held(self);
                self.mend()?;
                held
            }
            Err(NotTaken::Busy) => return Err(DepotError::Busy),
            Err(NotTaken::Broken) => return Err(DepotError::Broken),
        };
        if self.words.broken.load(Ordering::Relaxed) != 0 {
            return Err(DepotError::Broken);
        }
        Ok(held)
    }

    /// The holder before us died with the lock. What it put or got counts if it was committed; chunks that it had
    /// taken, or not yet given back, are free.
    fn mend(&self) -> Result<(), DepotError> {
        let (tail, head) = (self.words.tail.0.load(), self.words.head.0.load());
        let count = (tail.index() + 1).saturating_sub(head.index());
        self.chunks().mend(head.chunk, count).map_err(|error| self.broken(error))
    }

    fn chunks(&self) -> Chunks<'_> {
        Chunks {
            words: &self.words,
            next: &self.next,
            bytes: &self.bytes,
            file: &self.file,
            start: self.start,
        }
    }

    fn failed(&self, error: NoChunk) -> DepotError {
        match error {
            NoChunk::NoSpace => DepotError::NoSpace,
            NoChunk::Io(error) => DepotError::NoMemory(error),
            NoChunk::Nonsense => self.broken(Nonsense),
        }
    }

    /// Nobody is to use it any more.
    fn broken(&self, _nonsense: Nonsense) -> DepotError {
        self.words.broken.store(1, Ordering::Relaxed);
        DepotError::Broken
    }
}

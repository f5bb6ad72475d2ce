//! A ring of records: one producer, one consumer, each in a process of its own.
//!
//! Guarantee: records arrive whole, in order and once. A producer killed in the middle of a push leaves nothing of it;
//! a consumer never trusts what the other side wrote about lengths. A record is contiguous and 8-aligned.
//!
//! Positions count bytes since the ring was made and never wrap; a position's place is its remainder by the capacity.
//! A record is a header word (its length), its bytes, and padding to 8. One that would cross the end of the ring starts
//! at its beginning instead, behind a header that says `SKIP`.

use crate::memory::{Bytes, Shared};
use crate::sync::{AtomicU64, Ordering};

/// Bytes of a record's header.
const HEADER: usize = 8;
/// In place of a length: the rest of the ring up to its end is empty.
const SKIP: u64 = u64::MAX;
/// The smallest ring: room for a record of a few words beside one that skips.
#[cfg(not(loom))]
pub(crate) const LEAST_CAPACITY: usize = 64;

/// Keeps words apart that different cores write; two lines, since the hardware fetches them in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// What the two ends of a ring tell each other.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct RingWords {
    /// Where the next record will start. Written by the producer alone.
    tail: Line<AtomicU64>,
    /// Where the next record to take starts; the bytes before are free. Written by the consumer alone.
    head: Line<AtomicU64>,
}

impl RingWords {
    /// Whether no end has moved yet.
    #[cfg(not(loom))]
    pub(crate) fn is_unused_by_consumer(&self) -> bool {
        self.head.0.load(Ordering::Acquire) == 0
    }

    /// Whether nothing has been pushed yet.
    #[cfg(not(loom))]
    pub(crate) fn is_unused_by_producer(&self) -> bool {
        self.tail.0.load(Ordering::Acquire) == 0
    }
}

/// Why a record was not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room now; there will be when the consumer takes something.
    Full,
    /// Longer than `max_record`: it will never fit.
    TooLarge,
}

impl std::fmt::Display for PushError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Full => "the ring is full",
            Self::TooLarge => "the record is larger than the ring takes",
        })
    }
}

impl std::error::Error for PushError {}

/// The end that writes records.
#[derive(Debug)]
pub struct Producer {
    words: Shared<RingWords>,
    bytes: Bytes,
    /// Our own `tail`; the shared one is for the consumer to read.
    tail: u64,
    /// The consumer's `head` as we last saw it: at least this much is free.
    seen_head: u64,
}

impl Producer {
    /// Duty of the caller: this is the ring's only producer.
    pub(crate) fn new(words: Shared<RingWords>, bytes: Bytes) -> Self {
        Self { words, bytes, tail: 0, seen_head: 0 }
    }

    /// Write one record, the parts one after the other, and let the consumer see it. Wakes nobody: ring its bell.
    ///
    /// # Errors
    /// `Full` or `TooLarge`; nothing was written.
    pub fn try_push(&mut self, parts: &[&[u8]]) -> Result<(), PushError> {
        let len = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        if len > self.max_record() {
            return Err(PushError::TooLarge);
        }
        let to_end = self.bytes.len() - self.place();
        let skipped = if room(len) > to_end { to_end } else { 0 };
        if !self.has_room((skipped + room(len)) as u64) {
            return Err(PushError::Full);
        }
        if skipped > 0 {
            self.write(self.place(), &SKIP.to_ne_bytes());
            self.tail += skipped as u64;
        }
        let mut place = self.place();
        self.write(place, &(len as u64).to_ne_bytes());
        place += HEADER;
        for part in parts {
            self.write(place, part);
            place += part.len();
        }
        self.tail += room(len) as u64;
        // Pairs with the consumer's load of `tail`: who sees it sees the record.
        self.words.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// The longest record that fits: a quarter of the ring, so that any of them fits into an empty ring wherever it
    /// stands, and the consumer works on one while others are written.
    #[must_use]
    pub fn max_record(&self) -> usize {
        self.bytes.len() / 4
    }

    /// Whether the consumer has taken everything.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.words.head.0.load(Ordering::Acquire) == self.tail
    }

    /// Bytes that are free now. A record takes 8 more than its length, rounded up to 8, and perhaps skips some.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        let free = self.free_before(self.words.head.0.load(Ordering::Acquire));
        usize::try_from(free).unwrap_or(0)
    }

    fn place(&self) -> usize {
        place(self.tail, self.bytes.len())
    }

    /// Whether `wanted` bytes from `tail` on are ours; asks the consumer's word only when the last look is not enough.
    fn has_room(&mut self, wanted: u64) -> bool {
        if self.free_before(self.seen_head) >= wanted {
            return true;
        }
        // Pairs with the consumer's store of `head`: it has read what we are about to write over.
        self.seen_head = self.words.head.0.load(Ordering::Acquire);
        self.free_before(self.seen_head) >= wanted
    }

    /// Free bytes, if the consumer stands at `head`; none when it cannot stand there, so that a consumer gone mad stops
    /// its producer instead of letting it write over unread records.
    fn free_before(&self, head: u64) -> u64 {
        let capacity = self.bytes.len() as u64;
        let unread = self.tail.wrapping_sub(head);
        capacity.saturating_sub(unread)
    }

    fn write(&self, place: usize, bytes: &[u8]) {
        // SAFETY: the caller in this file has made sure of room from `tail` on: the consumer is past these bytes and
        //         will not look until `tail` is published, and there is no other producer.
        unsafe { self.bytes.write(place, bytes) };
    }
}

/// The end that takes records.
#[derive(Debug)]
pub struct Consumer {
    words: Shared<RingWords>,
    bytes: Bytes,
    /// Our own `head`; the shared one is for the producer to read.
    head: u64,
    /// The producer's `tail` as we last saw it: records up to here are there.
    seen_tail: u64,
    /// `head` when `has_made_room` last said yes.
    told_head: u64,
    /// The producer wrote something impossible.
    corrupt: bool,
}

impl Consumer {
    /// Duty of the caller: this is the ring's only consumer.
    pub(crate) fn new(words: Shared<RingWords>, bytes: Bytes) -> Self {
        Self { words, bytes, head: 0, seen_tail: 0, told_head: 0, corrupt: false }
    }

    /// Take the next record, if there is one. Its room is free again once `read` has returned; should `read` panic, the
    /// record stays.
    pub fn pop<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let len = self.next_len()?;
        let place = place(self.head, self.bytes.len()) + HEADER;
        // SAFETY: the record lies between `head` and a `tail` the producer has published; it does not write there before
        //         it sees `head` move past, which the store below tells it.
        let result = unsafe { self.bytes.read(place, len, read) };
        self.head += room(len) as u64;
        // Pairs with the producer's load of `head`: our reading is over.
        self.words.head.0.store(self.head, Ordering::Release);
        Some(result)
    }

    /// Whether a quarter of the ring was taken since the last yes: then the producer may be waiting for it. One that has no
    /// room waits beside more than that (a record with what it skips needs half of the ring), so whoever rings for a yes
    /// alone wakes it, and does not wake one that sleeps because it has nothing to do.
    pub fn has_made_room(&mut self) -> bool {
        let much = self.head - self.told_head >= self.bytes.len() as u64 / 4;
        if much {
            self.told_head = self.head;
        }
        much
    }

    /// Whether there is no record now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Pairs with the producer's store of `tail`: who is told "not empty" finds the record.
        self.corrupt || self.words.tail.0.load(Ordering::Acquire) == self.head
    }

    /// Whether the producer has written something impossible. Such a ring counts as closed: nothing more is taken.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.corrupt
    }

    /// The length of the record at `head`, after skipping to the beginning where the producer did.
    fn next_len(&mut self) -> Option<usize> {
        if self.corrupt || !self.has_more() {
            return None;
        }
        let mut header = self.header();
        if header == SKIP {
            let skipped = self.bytes.len() - place(self.head, self.bytes.len());
            // A producer skips only what a record did not fit into, and publishes it together with that record.
            if skipped == self.bytes.len() || self.unread() <= skipped as u64 {
                return self.give_up();
            }
            self.head += skipped as u64;
            header = self.header();
        }
        let to_end = self.bytes.len() - place(self.head, self.bytes.len());
        match usize::try_from(header) {
            Ok(len)
                if len <= self.bytes.len() / 4
                    && room(len) <= to_end
                    && room(len) as u64 <= self.unread() =>
            {
                Some(len)
            }
            _ => self.give_up(),
        }
    }

    /// Whether there is anything from `head` on; asks the producer's word only when all we know of is taken.
    fn has_more(&mut self) -> bool {
        if self.unread() == 0 {
            // Pairs with the producer's store of `tail`: records up to there are whole.
            self.seen_tail = self.words.tail.0.load(Ordering::Acquire);
            if self.unread() > self.bytes.len() as u64 || !self.seen_tail.is_multiple_of(HEADER as u64) {
                self.corrupt = true;
            }
        }
        !self.corrupt && self.unread() > 0
    }

    fn unread(&self) -> u64 {
        self.seen_tail.wrapping_sub(self.head)
    }

    fn header(&self) -> u64 {
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("a header has 8 bytes"));
        let at = place(self.head, self.bytes.len());
        // SAFETY: `head` is before a published `tail`, and both are multiples of 8: a header is there, and its producer
        //         does not write it until `head` moves past.
        unsafe { self.bytes.read(at, HEADER, number) }
    }

    fn give_up(&mut self) -> Option<usize> {
        self.corrupt = true;
        None
    }
}

/// Bytes a record of this length takes.
fn room(len: usize) -> usize {
    HEADER + len.next_multiple_of(HEADER)
}

/// Where a position lies in a ring of this capacity, a power of two.
fn place(position: u64, capacity: usize) -> usize {
    usize::try_from(position & (capacity as u64 - 1)).expect("a place is less than the capacity")
}

#[cfg(test)]
#[cfg(not(loom))]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::Arc;

    use whichever_sys::{Access, Mapping, SharedFile};

    use super::*;
    use crate::memory::{Overlay, overlay};

    // SAFETY: 1. and 2. two atomics.
    unsafe impl Overlay for RingWords {}

    const WORDS: usize = 4096;

    struct Ends {
        producer: Producer,
        consumer: Consumer,
        words: Shared<RingWords>,
        file: SharedFile,
    }

    fn ring(capacity: usize) -> Ends {
        let file = SharedFile::create("whichever-test").unwrap();
        file.grow((WORDS + capacity) as u64).unwrap();
        let mapping = Arc::new(Mapping::new(&file, 0, WORDS + capacity, Access::ReadWrite).unwrap());
        let words: Shared<RingWords> = overlay(&mapping);
        let bytes = || Bytes::new(&mapping, WORDS, capacity);
        Ends {
            producer: Producer::new(words.clone(), bytes()),
            consumer: Consumer::new(words.clone(), bytes()),
            words,
            file,
        }
    }

    fn pop(consumer: &mut Consumer) -> Option<Vec<u8>> {
        consumer.pop(<[u8]>::to_vec)
    }

    #[test]
    fn records_arrive_whole_and_in_order() {
        let mut ends = ring(64);
        ends.producer.try_push(&[b"ab", b"", b"cde"]).unwrap();
        ends.producer.try_push(&[]).unwrap();
        assert!(!ends.consumer.is_empty() && !ends.producer.is_drained());
        assert_eq!(pop(&mut ends.consumer), Some(b"abcde".to_vec()));
        assert_eq!(pop(&mut ends.consumer), Some(vec![]));
        assert_eq!(pop(&mut ends.consumer), None);
        assert!(ends.consumer.is_empty() && ends.producer.is_drained());
    }

    #[test]
    fn a_full_ring_takes_nothing_until_something_is_taken() {
        let mut ends = ring(64);
        let record = [7; 16];
        assert_eq!(ends.producer.try_push(&[&record]), Ok(()));
        assert_eq!(ends.producer.try_push(&[&record]), Ok(()));
        assert_eq!(ends.producer.free_bytes(), 16);
        assert_eq!(ends.producer.try_push(&[&record]), Err(PushError::Full));
        assert_eq!(pop(&mut ends.consumer), Some(record.to_vec()));
        // Sixteen bytes are left before the end: the record skips them and goes to the beginning.
        assert_eq!(ends.producer.try_push(&[&record]), Ok(()));
        assert_eq!(ends.producer.free_bytes(), 0);
        assert_eq!(ends.producer.try_push(&[]), Err(PushError::Full));
        assert_eq!(pop(&mut ends.consumer), Some(record.to_vec()));
        assert_eq!(pop(&mut ends.consumer), Some(record.to_vec()));
        assert_eq!(ends.producer.free_bytes(), 64);
    }

    #[test]
    fn the_longest_record_fits_an_empty_ring_wherever_it_stands() {
        let mut ends = ring(1024);
        let longest = vec![9; ends.producer.max_record()];
        for small in 0..300 {
            ends.producer.try_push(&[&vec![1; small % 50]]).unwrap();
            pop(&mut ends.consumer).unwrap();
            ends.producer.try_push(&[&longest]).unwrap();
            assert_eq!(pop(&mut ends.consumer).as_deref(), Some(&longest[..]));
        }
        assert_eq!(ends.producer.try_push(&[&longest, b"x"]), Err(PushError::TooLarge));
    }

    #[test]
    fn a_reader_that_panics_finds_the_record_again() {
        let mut ends = ring(64);
        ends.producer.try_push(&[b"again"]).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ends.consumer.pop(|_| std::panic::resume_unwind(Box::new("no")))
        }));
        assert!(panicked.is_err());
        assert_eq!(pop(&mut ends.consumer), Some(b"again".to_vec()));
    }

    /// What a consumer makes of this `tail` and these bytes.
    fn consumed(tail: u64, bytes: &[u8]) -> (Option<Vec<u8>>, bool) {
        let mut ends = ring(64);
        ends.file.write_at(bytes, WORDS as u64).unwrap();
        ends.words.tail.0.store(tail, Ordering::Release);
        let popped = pop(&mut ends.consumer);
        let corrupt = ends.consumer.is_corrupt();
        assert_eq!(ends.consumer.is_empty(), corrupt || popped.is_some());
        (popped, corrupt)
    }

    #[test]
    fn impossible_lengths_close_the_ring() {
        assert_eq!(consumed(8, &0_u64.to_ne_bytes()), (Some(vec![]), false));
        for (tail, header) in [
            (72, 0),            // more than the ring holds
            (12, 0),            // between two words
            (8, 1),             // beyond what was published
            (64, 17),           // longer than any record
            (64, u64::MAX - 1), // no length at all
            (64, SKIP),         // a skip over the whole ring
        ] {
            assert_eq!(
                consumed(tail, &u64::to_ne_bytes(header)),
                (None, true),
                "tail {tail}, header {header}"
            );
        }
    }

    #[test]
    fn a_skip_without_a_record_behind_it_closes_the_ring() {
        let mut ends = ring(64);
        ends.producer.try_push(&[&[1; 16]]).unwrap();
        pop(&mut ends.consumer).unwrap();
        ends.file.write_at(&SKIP.to_ne_bytes(), WORDS as u64 + 24).unwrap();
        ends.words.tail.0.store(64, Ordering::Release);
        assert_eq!(pop(&mut ends.consumer), None);
        assert!(ends.consumer.is_corrupt());
    }

    #[test]
    fn a_consumer_that_stands_where_it_cannot_stops_the_producer() {
        let mut ends = ring(64);
        for head in [1 << 40, u64::MAX] {
            ends.words.head.0.store(head, Ordering::Release);
            ends.producer.try_push(&[&[1; 16]]).unwrap();
            let refused = (0..4).any(|_| ends.producer.try_push(&[&[1; 16]]) == Err(PushError::Full));
            assert!(refused, "head {head}");
            ends = ring(64);
        }
    }
}

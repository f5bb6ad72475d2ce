//! A tray: where a worker puts the results of a batch one by one, until it sends them together.
//!
//! A range of the worker's own arena: two words, then codes. Guarantee: whoever reads the tray of a worker that was killed
//! at any instruction finds exactly the results of the items that had ended and had not been sent. So a batch costs no
//! record for each item, and a death still costs one item.
//!
//! ```text
//! 0   first position, u64: of the item whose code is the first
//! 8   count << 32 | bytes, u64: one word, so that both are from the same moment
//! 16  codes
//! ```

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use whichever_sys::SharedFile;

use crate::arena::Arena;

const WORDS: usize = 16;

/// A worker's tray. One thread uses it.
#[derive(Debug)]
pub struct Tray {
    /// Start of the range, inside the arena's mapping, which outlives us.
    base: *mut u8,
    offset: u64,
    capacity: usize,
    count: u32,
    bytes: usize,
}

// SAFETY: the pointer leads into the arena's mapping, which any thread may use; `&mut self` keeps writers apart.
unsafe impl Send for Tray {}

impl Tray {
    /// A tray for `capacity` bytes of codes. It must not outlive `arena`, whose range it never gives back.
    ///
    /// # Errors
    /// When the arena has no memory.
    pub fn create(arena: &Arena, capacity: usize) -> io::Result<Self> {
        let range = arena
            .allocate(WORDS + capacity)
            .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error.to_string()))?;
        arena.fill(&range, 0, &vec![0; WORDS + capacity])?;
        let start = usize::try_from(range.offset).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let base = arena.base().wrapping_add(start);
        Ok(Self { base, offset: range.offset, capacity, count: 0, bytes: 0 })
    }

    /// Where it lies in the arena's file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many results lie in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The codes in it.
    #[must_use]
    pub fn codes(&self) -> &[u8] {
        let start = self.base.wrapping_add(WORDS);
        // SAFETY: 1. `bytes <= capacity`, and the range holds as many behind the words.
        //         2. only we write to it, and only by `&mut self`.
        unsafe { std::slice::from_raw_parts(start, self.bytes) }
    }

    /// Empty it; the next code is that of the item at position `first`.
    pub fn begin(&mut self, first: u64) {
        (self.count, self.bytes) = (0, 0);
        // In this order: who sees the new position finds no code beside it.
        self.word(8).store(0, Ordering::Release);
        self.word(0).store(first, Ordering::Release);
    }

    /// Put the next item's result in. False when there is no room.
    pub fn push(&mut self, code: &[u8]) -> bool {
        let end = self.bytes + code.len();
        if end > self.capacity {
            return false;
        }
        let start = self.base.wrapping_add(WORDS + self.bytes);
        // SAFETY: 1. `start` has room for the code: checked above.
        //         2. nobody else writes there, and nobody reads behind what the word below says.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), start, code.len()) };
        (self.count, self.bytes) = (self.count + 1, end);
        // `Release`: who sees the count finds the codes.
        self.word(8).store(u64::from(self.count) << 32 | end as u64, Ordering::Release);
        true
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        let address = self.base.wrapping_add(at).cast::<u64>();
        // SAFETY: 1. the range begins at a page, so the words are aligned, and it holds both.
        //         2. they are only ever used as atomics here; readers are other processes, through the file.
        unsafe { AtomicU64::from_ptr(address) }
    }
}

/// What lay in a tray.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrayContent {
    /// Position of the first item.
    pub first: u64,
    /// Number of items.
    pub count: u32,
    /// Their codes.
    pub codes: Vec<u8>,
}

/// Read a worker's tray, while it lives or after. None when it is empty, was emptied meanwhile, or makes no sense.
#[must_use]
pub fn read_tray(file: &SharedFile, offset: u64) -> Option<TrayContent> {
    let (first, count, bytes) = read_words(file, offset)?;
    if count == 0 || offset.checked_add(bytes)? > file.len().ok()? {
        return None;
    }
    let mut codes = vec![0; usize::try_from(bytes).ok()?];
    file.read_at(&mut codes, offset + WORDS as u64).ok()?;
    // Codes are only appended, and no two batches begin at the same position: what was read belongs together if the
    // tray still has the same beginning.
    let (first_after, count_after, _) = read_words(file, offset)?;
    (first_after == first && count_after >= count).then_some(TrayContent { first, count, codes })
}

fn read_words(file: &SharedFile, offset: u64) -> Option<(u64, u32, u64)> {
    let mut words = [0; WORDS];
    file.read_at(&mut words, offset).ok()?;
    let [first, packed] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&words[at..at + 8]);
        u64::from_ne_bytes(word)
    });
    Some((first, u32::try_from(packed >> 32).ok()?, packed & u64::from(u32::MAX)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_read_through_the_file() {
        let arena = Arena::create("tray").unwrap();
        let mut tray = Tray::create(&arena, 16).unwrap();
        assert_eq!(read_tray(arena.file(), tray.offset()), None);
        tray.begin(7);
        assert!(tray.push(b"one") && tray.push(b"") && tray.push(b"three"));
        let content = read_tray(arena.file(), tray.offset()).unwrap();
        assert_eq!((content.first, content.count, &content.codes[..]), (7, 3, &b"onethree"[..]));
        assert_eq!(tray.codes(), b"onethree");
    }

    #[test]
    fn a_full_tray_takes_nothing_more() {
        let arena = Arena::create("tray").unwrap();
        let mut tray = Tray::create(&arena, 8).unwrap();
        tray.begin(1);
        assert!(tray.push(b"12345678"));
        assert!(!tray.push(b"9"));
        assert_eq!(read_tray(arena.file(), tray.offset()).unwrap().count, 1);
        tray.begin(2);
        assert_eq!((tray.count(), read_tray(arena.file(), tray.offset())), (0, None));
    }

    #[test]
    fn a_mad_tray_is_no_tray() {
        let file = SharedFile::create("mad").unwrap();
        file.grow(4096).unwrap();
        file.write_at(&[0xff; 16], 0).unwrap();
        assert_eq!(read_tray(&file, 0), None);
        assert_eq!(read_tray(&file, 5000), None);
    }
}

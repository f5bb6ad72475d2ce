//! A link: everything one caller and one worker share, in one file.
//!
//! Layout: a page of words, then the bytes of the request ring, then those of the result ring. Guarantee: whoever opens
//! a link has checked what it is and is the only worker on it.

use crate::desk::{Desk, DeskWords};
use crate::memory::{Bytes, Shared};
use crate::ring::{Consumer, Producer, RingWords};
use crate::sync::{AtomicU32, AtomicU64};

/// The words at the start of a link.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct LinkWords {
    identity: Identity,
    requests: RingWords,
    results: RingWords,
    desk: DeskWords,
}

/// What the file is; written before it is sent anywhere.
#[derive(Debug, Default)]
#[repr(C)]
struct Identity {
    /// `MAGIC`.
    magic: AtomicU64,
    /// `VERSION` of this layout.
    version: AtomicU32,
    /// 0 until a worker has opened the link, then 1.
    opened: AtomicU32,
    /// Bytes of each ring.
    capacity: AtomicU64,
}

/// The caller's end of a link.
#[derive(Debug)]
pub struct CallerEnd {
    /// Tasks to the worker.
    pub requests: Producer,
    /// Results from the worker.
    pub results: Consumer,
    /// The words both share.
    pub desk: Desk,
}

/// The worker's end of a link.
#[derive(Debug)]
pub struct WorkerEnd {
    /// Tasks from the caller.
    pub requests: Consumer,
    /// Results to the caller.
    pub results: Producer,
    /// The words both share.
    pub desk: Desk,
}

/// The bytes of both rings.
type RingBytes = (Bytes, Bytes);

fn caller_end(words: &Shared<LinkWords>, (requests, results): RingBytes) -> CallerEnd {
    CallerEnd {
        requests: Producer::new(words.part(|link| &link.requests), requests),
        results: Consumer::new(words.part(|link| &link.results), results),
        desk: Desk::new(words.part(|link| &link.desk)),
    }
}

fn worker_end(words: &Shared<LinkWords>, (requests, results): RingBytes) -> WorkerEnd {
    WorkerEnd {
        requests: Consumer::new(words.part(|link| &link.requests), requests),
        results: Producer::new(words.part(|link| &link.results), results),
        desk: Desk::new(words.part(|link| &link.desk)),
    }
}

/// Both ends of a link on the heap, for loom to explore.
#[cfg(loom)]
#[must_use]
pub fn model_link(capacity: usize) -> (CallerEnd, WorkerEnd) {
    let words = Shared::boxed(LinkWords::default());
    let bytes = (Bytes::zeroed(capacity), Bytes::zeroed(capacity));
    (caller_end(&words, bytes.clone()), worker_end(&words, bytes))
}

#[cfg(not(loom))]
pub use file::{DEFAULT_CAPACITY, OpenError, create_link, open_link};

#[cfg(not(loom))]
mod file {
    use std::io;
    use std::sync::Arc;

    use whichever_sys::{Access, Mapping, SharedFile};

    use super::{CallerEnd, LinkWords, RingBytes, WorkerEnd, caller_end, worker_end};
    use crate::memory::{Bytes, Overlay, Shared, overlay};
    use crate::ring::LEAST_CAPACITY;
    use crate::sync::Ordering;

    /// Bytes of each ring, unless asked otherwise: holds thousands of small tasks, and records up to 64 KiB.
    pub const DEFAULT_CAPACITY: usize = 256 * 1024;
    /// Larger rings would only hold what belongs into an arena.
    const MOST_CAPACITY: usize = 1 << 30;
    /// Where the rings begin: a multiple of every page size there is.
    const HEADER_BYTES: usize = 64 * 1024;
    /// "whchlink", read as bytes on a little-endian machine.
    const MAGIC: u64 = u64::from_le_bytes(*b"whchlink");
    /// Changes with every change of the layout or of the records' framing.
    const VERSION: u32 = 1;

    const _: () = assert!(size_of::<LinkWords>() <= HEADER_BYTES, "the words fit before the rings");

    // SAFETY: 1. and 2. atomics all the way down, which hold any bits.
    unsafe impl Overlay for LinkWords {}

    /// Why a file was not opened as a link.
    #[derive(Debug)]
    pub enum OpenError {
        /// The system did not let us look.
        Io(io::Error),
        /// It is something else, or too short for what it says.
        NotALink,
        /// Another version of this crate has made it.
        Version {
            /// The version it names.
            found: u32,
        },
        /// Another worker has opened it before.
        Taken,
    }

    impl std::fmt::Display for OpenError {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Self::Io(error) => write!(formatter, "the link cannot be mapped: {error}"),
                Self::NotALink => formatter.write_str("the file is no link"),
                Self::Version { found } => {
                    write!(formatter, "the link has version {found}, this is version {VERSION}")
                }
                Self::Taken => formatter.write_str("another worker has opened this link"),
            }
        }
    }

    impl std::error::Error for OpenError {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            if let Self::Io(error) = self { Some(error) } else { None }
        }
    }

    impl From<io::Error> for OpenError {
        fn from(error: io::Error) -> Self {
            Self::Io(error)
        }
    }

    /// Make a link with rings of `capacity` bytes each, a power of two.
    ///
    /// # Errors
    /// `InvalidInput` for another capacity; the limit of open files; or `Unsupported`.
    pub fn create_link(capacity: usize) -> io::Result<(SharedFile, CallerEnd)> {
        if !is_capacity(capacity) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = SharedFile::create("whichever-link")?;
        file.grow(file_bytes(capacity))?;
        let (words, bytes) = map(&file, capacity)?;
        words.identity.capacity.store(capacity as u64, Ordering::Relaxed);
        words.identity.version.store(VERSION, Ordering::Relaxed);
        words.identity.magic.store(MAGIC, Ordering::Release);
        let end = caller_end(&words, bytes);
        Ok((file, end))
    }

    /// Become the worker of a link that the caller has sent. The file may be closed afterwards: the mapping stays.
    ///
    /// # Errors
    /// See `OpenError`.
    #[expect(clippy::needless_pass_by_value, reason = "nobody needs the descriptor any more")]
    pub fn open_link(file: SharedFile) -> Result<WorkerEnd, OpenError> {
        let capacity = checked_capacity(&file)?;
        let (words, bytes) = map(&file, capacity)?;
        if words.identity.opened.swap(1, Ordering::AcqRel) != 0
            || !words.requests.is_unused_by_consumer()
            || !words.results.is_unused_by_producer()
        {
            return Err(OpenError::Taken);
        }
        Ok(worker_end(&words, bytes))
    }

    /// The capacity a link claims, if the file is one and is as long as that needs.
    fn checked_capacity(file: &SharedFile) -> Result<usize, OpenError> {
        let len = file.len()?;
        if len < HEADER_BYTES as u64 {
            return Err(OpenError::NotALink);
        }
        let mapping = Arc::new(Mapping::new(file, 0, HEADER_BYTES, Access::ReadWrite)?);
        let identity = overlay::<LinkWords>(&mapping).part(|link| &link.identity);
        if identity.magic.load(Ordering::Acquire) != MAGIC {
            return Err(OpenError::NotALink);
        }
        let found = identity.version.load(Ordering::Relaxed);
        if found != VERSION {
            return Err(OpenError::Version { found });
        }
        let capacity = usize::try_from(identity.capacity.load(Ordering::Relaxed)).unwrap_or(0);
        if is_capacity(capacity) && len == file_bytes(capacity) {
            Ok(capacity)
        } else {
            Err(OpenError::NotALink)
        }
    }

    fn map(file: &SharedFile, capacity: usize) -> io::Result<(Shared<LinkWords>, RingBytes)> {
        let mapping = Arc::new(Mapping::new(file, 0, HEADER_BYTES + 2 * capacity, Access::ReadWrite)?);
        let requests = Bytes::new(&mapping, HEADER_BYTES, capacity);
        let results = Bytes::new(&mapping, HEADER_BYTES + capacity, capacity);
        Ok((overlay(&mapping), (requests, results)))
    }

    fn is_capacity(capacity: usize) -> bool {
        capacity.is_power_of_two() && (LEAST_CAPACITY..=MOST_CAPACITY).contains(&capacity)
    }

    fn file_bytes(capacity: usize) -> u64 {
        (HEADER_BYTES + 2 * capacity) as u64
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::fd::AsFd;

    use whichever_sys::SharedFile;

    use super::*;

    fn duplicate(file: &SharedFile) -> SharedFile {
        SharedFile::from_fd(file.as_fd().as_fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn requests_go_one_way_and_results_the_other() {
        let (file, mut caller) = create_link(DEFAULT_CAPACITY).unwrap();
        let mut worker = open_link(file).unwrap();
        caller.requests.try_push(&[b"task"]).unwrap();
        assert_eq!(worker.requests.pop(<[u8]>::to_vec), Some(b"task".to_vec()));
        worker.results.try_push(&[b"result"]).unwrap();
        assert_eq!(caller.results.pop(<[u8]>::to_vec), Some(b"result".to_vec()));
    }

    #[test]
    fn tasks_may_wait_in_the_link_before_its_worker_opens_it() {
        let (file, mut caller) = create_link(64).unwrap();
        caller.requests.try_push(&[b"early"]).unwrap();
        assert_eq!(open_link(file).unwrap().requests.pop(<[u8]>::to_vec), Some(b"early".to_vec()));
    }

    #[test]
    fn a_link_has_one_worker() {
        let (file, _caller) = create_link(64).unwrap();
        open_link(duplicate(&file)).unwrap();
        assert!(matches!(open_link(file), Err(OpenError::Taken)));
    }

    #[test]
    fn a_capacity_that_is_no_power_of_two_is_refused() {
        for capacity in [0, 32, 96, (1 << 30) + 1, 1 << 31] {
            assert_eq!(create_link(capacity).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn another_file_is_no_link() {
        let empty = SharedFile::create("whichever-test").unwrap();
        assert!(matches!(open_link(duplicate(&empty)), Err(OpenError::NotALink)));
        empty.grow(1 << 20).unwrap();
        assert!(matches!(open_link(empty), Err(OpenError::NotALink)));
    }

    #[test]
    fn a_link_of_another_version_or_length_is_refused() {
        let (file, _caller) = create_link(64).unwrap();
        file.write_at(&9_u32.to_ne_bytes(), 8).unwrap();
        assert!(matches!(open_link(duplicate(&file)), Err(OpenError::Version { found: 9 })));
        file.write_at(&1_u32.to_ne_bytes(), 8).unwrap();
        for capacity in [0_u64, 63, 128, u64::MAX, 1 << 62] {
            file.write_at(&capacity.to_ne_bytes(), 16).unwrap();
            assert!(matches!(open_link(duplicate(&file)), Err(OpenError::NotALink)), "{capacity}");
        }
    }
}

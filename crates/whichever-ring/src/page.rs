//! The page of a pool: the bell that all its workers ring and one thread of the caller sleeps on.

use crate::bell::Bell;
use crate::memory::Shared;
use crate::ring::Line;
use crate::sync::{AtomicU64, FutexWord};

/// The words on the page.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct PageWords {
    /// Says what the file is; written before it is sent anywhere.
    magic: Line<AtomicU64>,
    bell: Line<FutexWord>,
}

/// The page of a pool. Clones are the same page.
#[derive(Clone, Debug)]
pub struct Page {
    words: Shared<PageWords>,
}

impl Page {
    /// The pool's bell.
    #[must_use]
    pub fn bell(&self) -> Bell<'_> {
        Bell::new(&self.words.bell.0)
    }
}

/// A page on the heap, for loom to explore.
#[cfg(loom)]
#[must_use]
pub fn model_page() -> Page {
    Page { words: Shared::boxed(PageWords::default()) }
}

#[cfg(not(loom))]
pub use file::{create_page, open_page};

#[cfg(not(loom))]
mod file {
    use std::io;
    use std::sync::Arc;

    use whichever_sys::{Access, Mapping, SharedFile, page_size};

    use super::{Page, PageWords};
    use crate::memory::{Overlay, overlay};
    use crate::sync::Ordering;

    /// "whchbell", read as bytes on a little-endian machine. Another layout gets another name.
    const MAGIC: u64 = u64::from_le_bytes(*b"whchbell");

    // SAFETY: 1. and 2. atomics all the way down, which hold any bits.
    unsafe impl Overlay for PageWords {}

    /// Make the page of a pool.
    ///
    /// # Errors
    /// The limit of open files, or `Unsupported`.
    pub fn create_page() -> io::Result<(SharedFile, Page)> {
        let file = SharedFile::create("whichever-bell")?;
        file.grow(page_size() as u64)?;
        let page = map(&file)?;
        page.words.magic.0.store(MAGIC, Ordering::Release);
        Ok((file, page))
    }

    /// Open the page that a pool's caller has sent. The file may be closed afterwards: the mapping stays.
    ///
    /// # Errors
    /// `InvalidData` when it is something else.
    #[expect(clippy::needless_pass_by_value, reason = "nobody needs the descriptor any more")]
    pub fn open_page(file: SharedFile) -> io::Result<Page> {
        if file.len()? < page_size() as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let page = map(&file)?;
        let known = page.words.magic.0.load(Ordering::Acquire) == MAGIC;
        if known { Ok(page) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn map(file: &SharedFile) -> io::Result<Page> {
        let mapping = Arc::new(Mapping::new(file, 0, page_size(), Access::ReadWrite)?);
        Ok(Page { words: overlay(&mapping) })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[cfg(target_os = "linux")]
mod tests {
    use whichever_sys::SharedFile;

    use super::*;

    #[test]
    fn another_file_is_no_page() {
        let file = SharedFile::create("whichever-test").unwrap();
        file.grow(1 << 16).unwrap();
        assert_eq!(open_page(file).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
        let short = SharedFile::create("whichever-test").unwrap();
        assert_eq!(open_page(short).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
}

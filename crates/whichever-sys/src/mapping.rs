//! Parts of a shared file as memory of this process.
//!
//! Guarantee: a `Mapping` stays where it is until it is dropped. Its bytes belong to other processes too, so safe code
//! gets a raw pointer and no slice. Touching what lies beyond the end of the file is a fault: grow the file first.

use std::io;
use std::ptr::NonNull;

use crate::SharedFile;

/// Who sees what is written through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody who maps the file.
    ReadWrite,
    /// Nothing may be written; what others write is seen.
    ReadOnly,
    /// Nobody else: a page that is written becomes a copy of our own.
    CopyOnWrite,
}

/// A part of a shared file in the memory of this process.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    access: Access,
}

// SAFETY: the mapping is an address range that belongs to the process, not to a thread; dropping it elsewhere is fine.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out addresses and copies under duties of `copy_in`; it reads and writes nothing by itself.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Map `len` bytes of `file` from `offset`, a multiple of the page size. The part may reach beyond the file's end.
    ///
    /// # Errors
    /// No address space, too many mappings, or `InvalidInput` for a length of 0 or a crooked offset.
    pub fn new(file: &SharedFile, offset: u64, len: usize, access: Access) -> io::Result<Self> {
        os::map(file.as_fd(), offset, len, access).map(|start| Self { start, len, access })
    }

    /// The first byte. The others follow, up to `len`.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes of address space.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Let the system read the pages of this part in one go instead of one fault each; a hint that may do nothing.
    pub fn populate(&self, offset: usize, len: usize) {
        self.advise(offset, len, os::POPULATE_READ);
    }

    /// The same for pages that will be written; makes those that do not exist yet.
    pub fn populate_for_writing(&self, offset: usize, len: usize) {
        self.advise(offset, len, os::POPULATE_WRITE);
    }

    /// Leave the whole mapping out of core dumps: writing a sparse one out would take minutes.
    pub fn leave_out_of_dumps(&self) {
        self.advise(0, self.len, os::DONT_DUMP);
    }

    /// Copy `bytes` to `offset`.
    ///
    /// # Panics
    /// When the part is not inside the mapping, or the mapping is read-only.
    ///
    /// # Safety
    /// 1. Nobody, in this process or another, reads or writes these bytes meanwhile.
    /// 2. The file is long enough for them.
    pub unsafe fn copy_in(&self, offset: usize, bytes: &[u8]) {
        assert!(self.access != Access::ReadOnly, "a read-only mapping is not written");
        assert!(self.contains(offset, bytes.len()), "the copy ends beyond the mapping");
        // SAFETY: `offset` is inside the mapping, as checked above.
        let place = unsafe { self.as_ptr().add(offset) };
        // SAFETY: 1. both ranges are valid for their length: checked above, and by duty 2.
        //         2. they do not overlap, and nobody looks: duty 1.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }

    fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    fn advise(&self, offset: usize, len: usize, advice: os::Advice) {
        if len > 0 && self.contains(offset, len) {
            os::advise(self.as_ptr() as usize + offset, len, advice);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        os::unmap(self.start, self.len);
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::ptr::NonNull;

    use super::Access;

    pub(super) type Advice = libc::c_int;
    pub(super) const POPULATE_READ: Advice = libc::MADV_POPULATE_READ;
    pub(super) const POPULATE_WRITE: Advice = libc::MADV_POPULATE_WRITE;
    pub(super) const DONT_DUMP: Advice = libc::MADV_DONTDUMP;

    pub(super) fn map(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        access: Access,
    ) -> io::Result<NonNull<u8>> {
        let (protection, sharing) = match access {
            Access::ReadWrite => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED),
            Access::ReadOnly => (libc::PROT_READ, libc::MAP_SHARED),
            Access::CopyOnWrite => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE),
        };
        let offset = offset.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: without MAP_FIXED the kernel chooses addresses that nothing else uses; the rest are numbers it checks.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                sharing | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: 1. `start` and `len` are what mmap gave, and this runs once, in drop.
        //         2. no reference into it is left: all were borrowed from, or kept alive, the mapping.
        unsafe { libc::munmap(start.as_ptr().cast(), len) };
    }

    pub(super) fn advise(address: usize, len: usize, advice: Advice) {
        // The kernel wants the first byte of a page; beginning earlier in the same mapping does no harm.
        let skipped = address % crate::page_size();
        let page = (address - skipped) as *mut libc::c_void;
        // SAFETY: the advice changes no contents, and what is not mapped is reported, not touched.
        unsafe { libc::madvise(page, len + skipped, advice) };
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::ptr::NonNull;

    use super::Access;

    pub(super) type Advice = ();
    pub(super) const POPULATE_READ: Advice = ();
    pub(super) const POPULATE_WRITE: Advice = ();
    pub(super) const DONT_DUMP: Advice = ();

    pub(super) fn map(
        _fd: BorrowedFd<'_>,
        _offset: u64,
        _len: usize,
        _access: Access,
    ) -> io::Result<NonNull<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn unmap(_start: NonNull<u8>, _len: usize) {}

    pub(super) fn advise(_address: usize, _len: usize, _advice: Advice) {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> SharedFile {
        let file = SharedFile::create("whichever-test").unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    fn write(mapping: &Mapping, offset: usize, bytes: &[u8]) {
        // SAFETY: the tests below use their files from one thread, within their length.
        unsafe { mapping.copy_in(offset, bytes) };
    }

    fn start(mapping: &Mapping) -> [u8; 3] {
        // SAFETY: the files of these tests have three bytes or more, and nobody writes at this moment.
        unsafe { mapping.as_ptr().cast::<[u8; 3]>().read() }
    }

    #[test]
    fn what_one_mapping_writes_every_other_sees() {
        let file = file(b"abc");
        let one = Mapping::new(&file, 0, 3, Access::ReadWrite).unwrap();
        let other = Mapping::new(&file, 0, 3, Access::ReadOnly).unwrap();
        write(&one, 1, b"X");
        assert_eq!(start(&other), *b"aXc");
        let mut read = [0; 3];
        file.read_at(&mut read, 0).unwrap();
        assert_eq!(read, *b"aXc");
    }

    #[test]
    fn a_write_to_a_copy_on_write_mapping_stays_there() {
        let file = file(b"abc");
        let shared = Mapping::new(&file, 0, 3, Access::ReadWrite).unwrap();
        let copy = Mapping::new(&file, 0, 3, Access::CopyOnWrite).unwrap();
        write(&copy, 0, b"Y");
        assert_eq!((start(&copy), start(&shared)), (*b"Ybc", *b"abc"));
    }

    #[test]
    fn a_mapping_reaches_beyond_the_end_and_is_filled_by_growth() {
        let file = file(b"abc");
        let mapping = Mapping::new(&file, 0, 1 << 30, Access::ReadWrite).unwrap();
        mapping.populate(0, 1 << 30);
        file.grow(1 << 20).unwrap();
        mapping.populate_for_writing(5_000, 8_192);
        write(&mapping, 1 << 19, b"far");
        let mut read = [0; 3];
        file.read_at(&mut read, 1 << 19).unwrap();
        assert_eq!(read, *b"far");
    }

    #[test]
    fn a_mapping_left_out_of_dumps_says_so() {
        let mapping = Mapping::new(&file(b"abc"), 0, 1 << 20, Access::ReadWrite).unwrap();
        mapping.leave_out_of_dumps();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = format!("{:x}-", mapping.as_ptr() as usize);
        let flags =
            maps.lines().skip_while(|line| !line.starts_with(&own)).find(|line| line.starts_with("VmFlags"));
        assert!(flags.unwrap().split(' ').any(|flag| flag == "dd"), "{flags:?}");
    }

    #[test]
    fn an_empty_or_crooked_mapping_is_an_error() {
        let file = file(b"abc");
        assert!(Mapping::new(&file, 0, 0, Access::ReadOnly).is_err());
        assert!(Mapping::new(&file, 1, 3, Access::ReadOnly).is_err());
    }

    #[test]
    #[should_panic(expected = "beyond the mapping")]
    fn a_copy_beyond_the_mapping_is_refused() {
        let mapping = Mapping::new(&file(b"abc"), 0, 3, Access::ReadWrite).unwrap();
        write(&mapping, usize::MAX, b"x");
    }
}

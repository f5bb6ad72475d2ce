//! Files that live in memory and can be mapped by several processes.
//!
//! Guarantee: a `SharedFile` never shrinks through these calls, so what was inside it stays readable; what was
//! released reads as zeros. Memory that runs out is an error of `write_at`, not a signal.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A file without a name in any folder; its memory goes back when the last descriptor and mapping are gone.
#[derive(Debug)]
pub struct SharedFile(OwnedFd);

impl SharedFile {
    /// Make an empty file. `name` shows in `/proc/PID/maps`; two files may have the same.
    ///
    /// # Errors
    /// The limit of open files, or `Unsupported` on a platform without memory files.
    pub fn create(name: &str) -> io::Result<Self> {
        os::create(name).map(Self)
    }

    /// Take over a descriptor that another process has sent.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor, to be sent to another process.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Bytes from start to end, holes included.
    ///
    /// # Errors
    /// What the kernel says about the descriptor.
    pub fn len(&self) -> io::Result<u64> {
        os::len(self.as_fd())
    }

    /// Whether the file has no bytes at all.
    ///
    /// # Errors
    /// As `len`.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Make the file at least `len` bytes long. Costs no memory until the new part is written. Only one process
    /// may grow a file: two that do so at once could undo each other's step.
    ///
    /// # Errors
    /// A limit on the size of files, or what else the kernel says.
    pub fn grow(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { os::set_len(self.as_fd(), len) } else { Ok(()) }
    }

    /// Have memory for this part, which may lie beyond the end: writing to it through a mapping then never faults.
    ///
    /// # Errors
    /// `StorageFull` or `OutOfMemory` when there is none.
    pub fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 { Ok(()) } else { os::allocate(self.as_fd(), offset, len) }
    }

    /// A number that no other file of this machine has as long as this one lives.
    ///
    /// # Errors
    /// What the kernel says about the descriptor.
    pub fn inode(&self) -> io::Result<u64> {
        os::inode(self.as_fd())
    }

    /// Write all of `bytes` at `offset`; the file must be long enough already or will grow.
    ///
    /// # Errors
    /// `StorageFull` or `OutOfMemory` when there is no memory for new pages.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        os::write_at(self.as_fd(), bytes, offset)
    }

    /// Fill `into` with what is at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        os::read_at(self.as_fd(), into, offset)
    }

    /// The same for memory that nothing was written to yet; all of it has been when this succeeds.
    ///
    /// # Errors
    /// As `read_at`.
    pub fn read_uninit_at(&self, into: &mut [MaybeUninit<u8>], offset: u64) -> io::Result<()> {
        os::read_uninit_at(self.as_fd(), into, offset)
    }

    /// Give the memory of whole pages in this part back to the system; they read as zeros from now on.
    ///
    /// # Errors
    /// What the kernel says about the range.
    pub fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 { Ok(()) } else { os::punch(self.as_fd(), offset, len) }
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::ffi::CString;
    use std::fs::File;
    use std::io;
    use std::mem::{ManuallyDrop, MaybeUninit};
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::os::unix::fs::{FileExt, MetadataExt};

    pub(super) fn create(name: &str) -> io::Result<OwnedFd> {
        let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: `name` is a string that ends in a zero and outlives the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The standard library's file over a descriptor that stays its owner's.
    fn file(fd: BorrowedFd<'_>) -> ManuallyDrop<File> {
        // SAFETY: the descriptor is open as long as the borrow lives, and ManuallyDrop never closes it.
        ManuallyDrop::new(unsafe { File::from_raw_fd(fd.as_raw_fd()) })
    }

    pub(super) fn len(fd: BorrowedFd<'_>) -> io::Result<u64> {
        Ok(file(fd).metadata()?.len())
    }

    pub(super) fn set_len(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
        file(fd).set_len(len)
    }

    pub(super) fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> io::Result<()> {
        file(fd).write_all_at(bytes, offset)
    }

    pub(super) fn read_at(fd: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<()> {
        file(fd).read_exact_at(into, offset)
    }

    pub(super) fn read_uninit_at(
        fd: BorrowedFd<'_>,
        mut into: &mut [MaybeUninit<u8>],
        mut offset: u64,
    ) -> io::Result<()> {
        while !into.is_empty() {
            let start = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
            // SAFETY: 1. the kernel writes at most `into.len()` bytes, to memory that is ours.
            //         2. the descriptor is borrowed, so it is open.
            let read = unsafe { libc::pread(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), start) };
            match usize::try_from(read) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    into = into.get_mut(read..).unwrap_or_default();
                    offset += read as u64;
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
        Ok(file(fd).metadata()?.ino())
    }

    pub(super) fn allocate(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
        fallocate(fd, 0, offset, len)
    }

    pub(super) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
        fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len)
    }

    fn fallocate(fd: BorrowedFd<'_>, mode: libc::c_int, offset: u64, len: u64) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let (offset, len) = (offset.try_into().map_err(too_large)?, len.try_into().map_err(too_large)?);
        // SAFETY: takes numbers only; the descriptor is borrowed, so it is open.
        let failed = unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, len) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{BorrowedFd, OwnedFd};

    fn unsupported<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn create(_name: &str) -> io::Result<OwnedFd> {
        unsupported()
    }

    pub(super) fn len(_fd: BorrowedFd<'_>) -> io::Result<u64> {
        unsupported()
    }

    pub(super) fn set_len(_fd: BorrowedFd<'_>, _len: u64) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn write_at(_fd: BorrowedFd<'_>, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn read_at(_fd: BorrowedFd<'_>, _into: &mut [u8], _offset: u64) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn read_uninit_at(
        _fd: BorrowedFd<'_>,
        _into: &mut [MaybeUninit<u8>],
        _offset: u64,
    ) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn inode(_fd: BorrowedFd<'_>) -> io::Result<u64> {
        unsupported()
    }

    pub(super) fn allocate(_fd: BorrowedFd<'_>, _offset: u64, _len: u64) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn punch(_fd: BorrowedFd<'_>, _offset: u64, _len: u64) -> io::Result<()> {
        unsupported()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn memory_that_was_never_written_to_is_filled_or_refused() {
        let file = SharedFile::create("uninit").unwrap();
        file.grow(8).unwrap();
        file.write_at(b"12345678", 0).unwrap();
        let mut into = [MaybeUninit::uninit(); 4];
        file.read_uninit_at(&mut into, 2).unwrap();
        // SAFETY: the read has filled it.
        let read: Vec<u8> = into.iter().map(|byte| unsafe { byte.assume_init() }).collect();
        assert_eq!(read, b"3456");
        assert!(file.read_uninit_at(&mut into, 6).is_err());
    }

    /// Memory the file really takes.
    fn used(file: &SharedFile) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        std::fs::metadata(path).unwrap().blocks() * 512
    }

    #[test]
    fn a_file_grows_without_memory_and_never_shrinks() {
        let file = SharedFile::create("whichever-test").unwrap();
        assert!(file.is_empty().unwrap());
        file.grow(1 << 40).unwrap();
        file.grow(1).unwrap();
        assert_eq!((file.len().unwrap(), used(&file)), (1 << 40, 0));
    }

    #[test]
    fn what_was_released_takes_no_memory_and_reads_as_zeros() {
        let file = SharedFile::create("whichever-test").unwrap();
        file.write_at(&[7; 3 * 65_536], 0).unwrap();
        let full = used(&file);
        file.release(65_536, 65_536).unwrap();
        file.release(0, 0).unwrap();
        assert_eq!(full - used(&file), 65_536);
        let mut bytes = [1; 2];
        file.read_at(&mut bytes, 65_535).unwrap();
        assert_eq!(bytes, [7, 0]);
        assert_eq!(file.len().unwrap(), 3 * 65_536);
    }

    #[test]
    fn an_allocated_part_has_its_memory_before_it_is_written() {
        let file = SharedFile::create("whichever-test").unwrap();
        file.allocate(65_536, 65_536).unwrap();
        file.allocate(0, 0).unwrap();
        assert_eq!((file.len().unwrap(), used(&file)), (131_072, 65_536));
        assert_ne!(file.inode().unwrap(), SharedFile::create("whichever-test").unwrap().inode().unwrap());
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let file = SharedFile::create("whichever-test").unwrap();
        file.write_at(b"abc", 0).unwrap();
        let error = file.read_at(&mut [0; 4], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_name_is_seen_in_the_system_and_must_have_no_zero() {
        let file = SharedFile::create("whichever-test").unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())).unwrap();
        assert!(link.to_string_lossy().contains("whichever-test"), "{link:?}");
        assert_eq!(SharedFile::create("a\0b").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

//! Memory of a process as bytes: a copy or an error, never a fault.

use std::io;

/// Copy memory at `address` of process `pid` into `buffer`.
///
/// Reading one's own process needs no capability. Pages that are not mapped are an error.
///
/// # Errors
/// What the kernel says, or `UnexpectedEof` when only part of the range is mapped.
pub fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    match os::vm_read(pid, address, buffer) {
        Ok(count) if count == buffer.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        // Sandboxes may filter the call while the file below stays readable.
        Err(error) if os::is_filtered(&error) => os::file_read(pid, address, buffer),
        Err(error) => Err(error),
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn vm_read(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: 1. `local` describes `buffer`, which is ours to write until this returns.
        //         2. `remote` is only looked at by the kernel, which answers EFAULT for what is not mapped.
        let count = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    pub(super) fn is_filtered(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
    }

    pub(super) fn file_read(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        File::open(format!("/proc/{pid}/mem"))?.read_exact_at(buffer, address)
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;

    pub(super) fn vm_read(_pid: u32, _address: u64, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_filtered(_error: &io::Error) -> bool {
        false
    }

    pub(super) fn file_read(_pid: u32, _address: u64, _buffer: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_read_both_ways() {
        let secret = *b"sixteen bytes...";
        let address = secret.as_ptr() as u64;
        let (mut by_call, mut by_file) = ([0; 16], [0; 16]);
        read_memory(std::process::id(), address, &mut by_call).unwrap();
        os::file_read(std::process::id(), address, &mut by_file).unwrap();
        assert_eq!((by_call, by_file), (secret, secret));
    }

    #[test]
    fn memory_that_is_not_mapped_is_an_error() {
        assert!(read_memory(std::process::id(), 8, &mut [0; 8]).is_err());
        assert!(read_memory(std::process::id(), u64::MAX - 16, &mut [0; 8]).is_err());
    }
}

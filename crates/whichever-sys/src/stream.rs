//! Bytes in and out of sockets that do not block. Descriptors are plain numbers, as in `epoll`.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// Receive into `room`; says how many bytes came, all of them now initialised. None is the end of the stream.
///
/// # Errors
/// What the kernel says; `WouldBlock` when there is nothing.
pub fn receive(fd: RawFd, room: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: `room` is ours to write for its length; the kernel checks the number.
    let count = unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Send what fits of `bytes`; says how many did. A peer that is gone is an error, never a signal.
///
/// # Errors
/// What the kernel says; `WouldBlock` when nothing fits.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` may be read for its length; the kernel checks the number.
    let count = unsafe {
        libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Most parts that one call takes: what every kernel grants.
pub const MOST_PARTS: usize = 1024;

/// Send what fits of `parts`, of which there are [`MOST_PARTS`] at most, in one call; says how many bytes did.
///
/// # Errors
/// As [`send`].
pub fn send_parts(fd: RawFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: the struct is plain numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len().min(MOST_PARTS);
    // SAFETY: 1. an `IoSlice` is an `iovec` by its promise; the kernel only reads them and what they point to.
    //         2. `message` lives until the call is over.
    let count = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn receive_all(fd: RawFd, room: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(room);
        let count = receive(fd, bytes.spare_capacity_mut()).unwrap();
        // SAFETY: `receive` has initialised that many.
        unsafe { bytes.set_len(count) };
        bytes
    }

    #[test]
    fn parts_arrive_in_one_piece() {
        let (near, far) = UnixStream::pair().unwrap();
        let parts = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b" and body")];
        assert_eq!(send_parts(near.as_raw_fd(), &parts).unwrap(), 13);
        assert_eq!(send(near.as_raw_fd(), b"!").unwrap(), 1);
        assert_eq!(receive_all(far.as_raw_fd(), 100), b"head and body!");
    }

    #[test]
    fn an_empty_socket_would_block_and_a_closed_one_has_ended() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut room = [MaybeUninit::uninit(); 8];
        assert_eq!(receive(far.as_raw_fd(), &mut room).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(near);
        assert_eq!(receive(far.as_raw_fd(), &mut room).unwrap(), 0);
        assert_eq!(send(far.as_raw_fd(), b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

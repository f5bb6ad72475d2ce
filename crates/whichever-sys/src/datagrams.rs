//! Datagrams, many in one system call. Descriptors are plain numbers, as in `epoll`.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::RawFd;

use crate::Address;

/// The longest datagram that goes over IP.
pub const IP_DATAGRAM: usize = 64 * 1024;
/// What one call receives together.
const ROOM: usize = 2 * 1024 * 1024;
/// Most datagrams of one call.
pub const MOST_DATAGRAMS: usize = 32;
const _: () = assert!(MOST_DATAGRAMS * IP_DATAGRAM <= ROOM);

/// Room for what one call receives.
pub struct Datagrams {
    room: Box<[MaybeUninit<u8>]>,
    /// How much of the room each datagram has.
    slot: usize,
    senders: [Address; MOST_DATAGRAMS],
    lengths: [usize; MOST_DATAGRAMS],
    count: usize,
    /// How many the next call makes ready for: to do so costs as much as to receive one.
    expected: usize,
}

impl Default for Datagrams {
    fn default() -> Self {
        Self {
            // The kernel gives memory to what is written to, not to what is asked for.
            room: Box::new_uninit_slice(ROOM),
            slot: IP_DATAGRAM,
            senders: [Address::empty(); MOST_DATAGRAMS],
            lengths: [0; MOST_DATAGRAMS],
            count: 0,
            expected: 1,
        }
    }
}

impl Datagrams {
    /// Receive what is there, up to [`MOST_DATAGRAMS`] of at most `longest` bytes each; says how many came.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when there is nothing.
    pub fn receive(&mut self, fd: RawFd, longest: usize) -> io::Result<usize> {
        self.slot = longest.clamp(1, ROOM);
        let most = (ROOM / self.slot).min(self.expected);
        self.count = 0;
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MOST_DATAGRAMS];
        let mut slots = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: self.slot }; MOST_DATAGRAMS];
        let spaces = self.room.chunks_exact_mut(self.slot).zip(&mut self.senders);
        for ((header, slot), (space, sender)) in headers.iter_mut().zip(&mut slots).zip(spaces).take(most) {
            slot.iov_base = space.as_mut_ptr().cast();
            let header = header.write(empty_header(slot));
            header.msg_hdr.msg_name = std::ptr::from_mut(&mut sender.storage).cast();
            header.msg_hdr.msg_namelen =
                libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0);
        }
        let wanted = libc::c_uint::try_from(most).unwrap_or(1);
        // SAFETY: 1. the first `most` headers point to a slot, a space and an address each, which are ours to write and live
        //            until the call is over. 2. the kernel checks the number.
        let count = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr().cast(), wanted, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.expected = (self.count * 2).min(MOST_DATAGRAMS);
        for (index, header) in headers[..self.count].iter().enumerate() {
            // SAFETY: the first `most` were written above, and the kernel takes no more.
            let header = unsafe { header.assume_init_ref() };
            self.senders[index].length = header.msg_hdr.msg_namelen;
            self.lengths[index] = usize::try_from(header.msg_len).unwrap_or(0).min(self.slot);
        }
        Ok(self.count)
    }

    /// A datagram that was received last, and its sender.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], &Address)> {
        if index >= self.count {
            return None;
        }
        let slot = &self.room[index * self.slot..][..self.lengths[index]];
        // SAFETY: the kernel has written as many bytes as it said.
        let bytes = unsafe { std::slice::from_raw_parts(slot.as_ptr().cast::<u8>(), slot.len()) };
        Some((bytes, &self.senders[index]))
    }
}

/// A message of one part, to or from nobody yet.
fn empty_header(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: the struct is plain numbers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = part;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Send datagrams, the first [`MOST_DATAGRAMS`] in one call; says how many the kernel took.
///
/// # Errors
/// Why it did not take the first; `WouldBlock` when it takes none now.
pub fn send_datagrams(fd: RawFd, datagrams: &[(&[u8], Option<&Address>)]) -> io::Result<usize> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MOST_DATAGRAMS];
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MOST_DATAGRAMS];
    for ((header, part), (bytes, address)) in headers.iter_mut().zip(&mut parts).zip(datagrams) {
        part.iov_base = bytes.as_ptr().cast_mut().cast();
        part.iov_len = bytes.len();
        let header = header.write(empty_header(part));
        if let Some(address) = address {
            header.msg_hdr.msg_name = std::ptr::from_ref(&address.storage).cast_mut().cast();
            header.msg_hdr.msg_namelen = address.length;
        }
    }
    let wanted = libc::c_uint::try_from(datagrams.len().min(MOST_DATAGRAMS)).unwrap_or(1);
    // SAFETY: 1. the first `wanted` headers point to parts, bytes and addresses that live until the call is over.
    //         2. of these the kernel writes only the headers' lengths. 3. it checks the number.
    let count = unsafe {
        libc::sendmmsg(fd, headers.as_mut_ptr().cast(), wanted, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn many_datagrams_cross_in_one_call_each_and_know_their_sender() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (near, far) = (UdpSocket::bind(local).unwrap(), UdpSocket::bind(local).unwrap());
            let address = Address::ip(far.local_addr().unwrap());
            let texts: [&[u8]; 4] = [b"one", b"", b"three", &[7; 60_000]];
            let outgoing: Vec<_> = texts.iter().map(|text| (*text, Some(&address))).collect();
            assert_eq!(send_datagrams(near.as_raw_fd(), &outgoing).unwrap(), 4);
            let mut arrived = Datagrams { expected: MOST_DATAGRAMS, ..Datagrams::default() };
            assert_eq!(arrived.receive(far.as_raw_fd(), IP_DATAGRAM).unwrap(), 4);
            for (index, text) in texts.iter().enumerate() {
                let (bytes, sender) = arrived.get(index).unwrap();
                assert_eq!(bytes, *text);
                assert_eq!(sender.as_ip(), Some(near.local_addr().unwrap()));
            }
            assert!(arrived.get(4).is_none());
            let nothing = arrived.receive(far.as_raw_fd(), IP_DATAGRAM).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_burst_makes_ready_for_more_at_once_and_silence_for_less() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut arrived = Datagrams::default();
        for sent in [1, 2, 4] {
            let outgoing = vec![(b"x".as_slice(), None); 5];
            assert_eq!(send_datagrams(near.as_raw_fd(), &outgoing).unwrap(), 5);
            assert_eq!(arrived.receive(far.as_raw_fd(), IP_DATAGRAM).unwrap(), sent);
        }
        while arrived.receive(far.as_raw_fd(), IP_DATAGRAM).is_ok() {}
        assert!(arrived.expected <= MOST_DATAGRAMS);
    }

    #[test]
    fn a_connected_socket_needs_no_address_and_a_nameless_sender_has_none() {
        let (near, far) = UnixDatagram::pair().unwrap();
        assert_eq!(send_datagrams(near.as_raw_fd(), &[(b"hello", None)]).unwrap(), 1);
        let mut arrived = Datagrams::default();
        assert_eq!(arrived.receive(far.as_raw_fd(), 256 * 1024).unwrap(), 1);
        let (bytes, sender) = arrived.get(0).unwrap();
        assert_eq!(bytes, b"hello");
        assert!(sender.as_ip().is_none());
        assert!(sender.as_unix().is_none());
    }

    #[test]
    fn the_first_datagram_that_fails_gives_its_reason() {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = Address::ip(near.local_addr().unwrap());
        let long = vec![0; 70_000];
        let error = send_datagrams(near.as_raw_fd(), &[(&long, Some(&address))]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(
            send_datagrams(near.as_raw_fd(), &[(b"short", Some(&address)), (&long, Some(&address))]).unwrap(),
            1
        );
    }
}

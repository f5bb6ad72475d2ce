//! Sockets of connections: made, accepted, asked for their names. None of them blocks, and no program that is started
//! inherits one.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::Address;

const KIND: libc::c_int = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// Accept a connection, and say who it is from.
///
/// # Errors
/// What the kernel says; `WouldBlock` when nobody connects.
pub fn accept(listener: RawFd) -> io::Result<(OwnedFd, Address)> {
    let mut peer = Address::empty();
    peer.length = room();
    // SAFETY: the address and its length are ours to write, as much of it as the length says; the kernel checks the number.
    let fd = unsafe {
        let storage = std::ptr::from_mut(&mut peer.storage).cast();
        libc::accept4(listener, storage, &raw mut peer.length, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    };
    owned(fd).map(|fd| (fd, peer))
}

/// Make a socket for a connection to such an address.
///
/// # Errors
/// What the kernel says.
pub fn stream_socket(to: SocketAddr) -> io::Result<OwnedFd> {
    let domain = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no memory.
    owned(unsafe { libc::socket(domain, KIND, libc::IPPROTO_TCP) })
}

/// Begin to connect; says whether that is done. On this machine it mostly is.
///
/// # Errors
/// What the kernel says of the connection.
pub fn connect(fd: RawFd, to: SocketAddr) -> io::Result<bool> {
    let address = Address::ip(to);
    // The kernel answers the first call before it has heard of the peer, and the second when it has.
    Ok(try_to_connect(fd, &address)? || try_to_connect(fd, &address)?)
}

fn try_to_connect(fd: RawFd, to: &Address) -> io::Result<bool> {
    // SAFETY: the address lives until the call is over, and is as long as it says; the kernel checks the number.
    let done = unsafe { libc::connect(fd, std::ptr::from_ref(&to.storage).cast(), to.length) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR) => Ok(false),
        Some(libc::EISCONN) => Ok(true),
        _ => Err(error),
    }
}

/// The address of a socket's own end.
///
/// # Errors
/// What the kernel says.
pub fn own_address(fd: RawFd) -> io::Result<Address> {
    let mut own = Address::empty();
    own.length = room();
    // SAFETY: the address and its length are ours to write, as much of it as the length says; the kernel checks the number.
    let done =
        unsafe { libc::getsockname(fd, std::ptr::from_mut(&mut own.storage).cast(), &raw mut own.length) };
    if done == 0 { Ok(own) } else { Err(io::Error::last_os_error()) }
}

/// Have small messages leave at once, rather than wait for more. What is no TCP has nothing to set.
pub fn send_at_once(fd: RawFd) {
    let yes: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: the option is a number of this length, which the kernel reads; it checks the descriptor.
    unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, std::ptr::from_ref(&yes).cast(), length)
    };
}

/// Shut a connection down, as `shutdown(2)` numbers its ways.
///
/// # Errors
/// What the kernel says.
pub fn shut_down(fd: RawFd, way: i32) -> io::Result<()> {
    // SAFETY: takes numbers, which the kernel checks.
    if unsafe { libc::shutdown(fd, way) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn room() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0)
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::{receive, send};

    #[test]
    fn a_connection_on_this_machine_is_made_at_once_and_both_ends_know_each_other() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(local).unwrap();
            listener.set_nonblocking(true).unwrap();
            assert_eq!(
                accept(listener.as_raw_fd()).err().map(|error| error.kind()),
                Some(ErrorKind::WouldBlock)
            );
            let there = listener.local_addr().unwrap();
            let near = stream_socket(there).unwrap();
            assert!(connect(near.as_raw_fd(), there).unwrap());
            let (far, peer) = accept(listener.as_raw_fd()).unwrap();
            let (near, far) = (near.as_raw_fd(), far.as_raw_fd());
            assert_eq!(peer.as_ip(), own_address(near).unwrap().as_ip());
            assert_eq!(own_address(far).unwrap().as_ip(), Some(there));
            send_at_once(near);
            send(near, b"x").unwrap();
            shut_down(near, libc::SHUT_WR).unwrap();
            let mut room = [std::mem::MaybeUninit::uninit(); 8];
            assert_eq!(receive(far, &mut room).unwrap(), 1);
            assert_eq!(receive(far, &mut room).unwrap(), 0);
        }
    }

    #[test]
    fn a_port_where_nobody_listens_refuses_at_once() {
        let there = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let near = stream_socket(there).unwrap();
        assert_eq!(connect(near.as_raw_fd(), there).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_peer_without_a_name_has_no_address() {
        let folder = std::env::temp_dir().join(format!("whichever-accept-{}", std::process::id()));
        let listener = UnixListener::bind(&folder).unwrap();
        let _near = UnixStream::connect(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let (far, peer) = accept(listener.as_raw_fd()).unwrap();
        assert!(peer.as_ip().is_none() && peer.as_unix().is_none());
        let own = own_address(far.as_raw_fd()).unwrap();
        assert_eq!(own.as_unix().unwrap(), folder.as_os_str().as_encoded_bytes());
        send_at_once(far.as_raw_fd());
    }
}

//! Addresses of sockets, between Rust's and the kernel's.

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Where a socket is, or where a datagram comes from or goes to, as the kernel has it.
#[derive(Clone, Copy)]
pub struct Address {
    pub(crate) storage: libc::sockaddr_storage,
    /// How many bytes of it count; none for a sender without a name.
    pub(crate) length: libc::socklen_t,
}

impl Address {
    pub(crate) const fn empty() -> Self {
        // SAFETY: the struct is plain numbers, for which zero is a value.
        Self { storage: unsafe { std::mem::zeroed() }, length: 0 }
    }

    /// The address of an IP socket.
    #[must_use]
    pub fn ip(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::of(&libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(address) => Self::of(&libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo().to_be(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            }),
        }
    }

    /// The address of a Unix socket, by its path or its abstract name; None if that is too long.
    #[must_use]
    pub fn unix(name: &[u8]) -> Option<Self> {
        // SAFETY: the struct is plain numbers, for which zero is a value.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = family(libc::AF_UNIX);
        let room = address.sun_path.len();
        if name.len() >= room || name.is_empty() {
            return None;
        }
        for (place, byte) in address.sun_path.iter_mut().zip(name) {
            *place = byte.cast_signed();
        }
        let mut made = Self::of(&address);
        // A path ends with a zero; an abstract name begins with one, and ends where its length says.
        let ending = usize::from(name[0] != 0);
        made.length = libc::socklen_t::try_from(size_of::<libc::sa_family_t>() + name.len() + ending).ok()?;
        Some(made)
    }

    fn of<T>(address: &T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        let mut made = Self::empty();
        let place = std::ptr::from_mut(&mut made.storage).cast::<T>();
        // SAFETY: 1. `storage` is large enough for each kind of address, by the assertion, and aligned for all of them.
        //         2. `address` is plain numbers.
        unsafe { std::ptr::copy_nonoverlapping(address, place, 1) };
        made.length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        made
    }

    /// The address, if it is one of IP.
    #[must_use]
    pub fn as_ip(&self) -> Option<SocketAddr> {
        let start = std::ptr::from_ref(&self.storage);
        match i32::from(self.storage.ss_family) {
            libc::AF_INET if self.holds::<libc::sockaddr_in>() => {
                // SAFETY: the family and the length say that it is one; the storage is aligned for it.
                let own = unsafe { &*start.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(own.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(own.sin_port)).into())
            }
            libc::AF_INET6 if self.holds::<libc::sockaddr_in6>() => {
                // SAFETY: the family and the length say that it is one; the storage is aligned for it.
                let own = unsafe { &*start.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(own.sin6_addr.s6_addr);
                let flow = u32::from_be(own.sin6_flowinfo);
                Some(SocketAddrV6::new(ip, u16::from_be(own.sin6_port), flow, own.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// The name, if it is a Unix socket's that has one: a path, or a zero and an abstract name.
    #[must_use]
    pub fn as_unix(&self) -> Option<Vec<u8>> {
        let head = size_of::<libc::sa_family_t>();
        let length = usize::try_from(self.length).unwrap_or(0).min(size_of::<libc::sockaddr_un>());
        if i32::from(self.storage.ss_family) != libc::AF_UNIX || length <= head {
            return None;
        }
        // SAFETY: the family says that it is one; the storage is aligned for it and larger.
        let own = unsafe { &*std::ptr::from_ref(&self.storage).cast::<libc::sockaddr_un>() };
        let name: Vec<u8> = own.sun_path[..length - head].iter().map(|byte| byte.cast_unsigned()).collect();
        let is_abstract = name[0] == 0;
        let end = if is_abstract { None } else { name.iter().position(|byte| *byte == 0) };
        Some(name[..end.unwrap_or(name.len())].to_vec())
    }

    fn holds<T>(&self) -> bool {
        usize::try_from(self.length).unwrap_or(0) >= size_of::<T>()
    }
}

fn family(number: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).expect("families are small numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_names_survive_the_way_to_the_kernel_and_back() {
        for name in [b"/tmp/a path".as_slice(), b"\0abstract\0name"] {
            assert_eq!(Address::unix(name).unwrap().as_unix().unwrap(), name);
        }
        assert!(Address::unix(&[b'x'; 200]).is_none());
        assert!(Address::unix(b"").is_none());
    }
}

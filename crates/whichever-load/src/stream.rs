//! A connection of any kind, as a descriptor that sends and receives without waiting.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::str::FromStr;

/// What the connection goes over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// TCP, without Nagle's delay.
    Tcp,
    /// A Unix stream socket; the address is a path.
    Unix,
    /// UDP from a port of its own.
    Udp,
    /// TLS 1.3 or 1.2 over TCP, to a server called `localhost`.
    Tls,
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "tcp" => Ok(Self::Tcp),
            "unix" => Ok(Self::Unix),
            "udp" => Ok(Self::Udp),
            "tls" => Ok(Self::Tls),
            _ => Err(()),
        }
    }
}

/// An open connection.
pub(crate) enum Stream {
    /// See `Kind`.
    Tcp(TcpStream),
    /// See `Kind`.
    Unix(UnixStream),
    /// See `Kind`.
    Udp(UdpSocket),
    /// See `Kind`.
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::Connection>),
}

impl Stream {
    /// Connect, and wait for nothing from then on; `authority` is the file that a TLS server's certificate is
    /// checked against.
    pub(crate) fn connect(kind: Kind, address: &str, authority: Option<&str>) -> io::Result<Self> {
        match kind {
            Kind::Tcp => tcp(address).and_then(nonblocking_tcp).map(Self::Tcp),
            Kind::Unix => {
                let stream = UnixStream::connect(address)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(stream))
            }
            Kind::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Udp(socket))
            }
            Kind::Tls => over_tls(address, authority),
        }
    }

    /// Send some of `bytes`; `WouldBlock` when nothing can go now.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Udp(socket) => socket.send(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(connection) => connection.send(bytes),
        }
    }

    /// Receive what is there; `WouldBlock` when that is nothing, zero at the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Udp(socket) => socket.recv(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(connection) => connection.receive(buffer),
        }
    }

    /// Whether a short read says that nothing more is there for now. Of datagrams, one is on its way at a time.
    pub(crate) fn is_drained_by_a_short_read(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_) | Self::Udp(_))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(connection) => connection.as_fd(),
        }
    }
}

fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn nonblocking_tcp(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(feature = "tls")]
fn over_tls(address: &str, authority: Option<&str>) -> io::Result<Stream> {
    let file = authority.ok_or_else(|| io::Error::other("TLS needs the authority's certificate"))?;
    let connection = crate::tls::Connection::open(tcp(address)?, file)?;
    Ok(Stream::Tls(Box::new(connection)))
}

#[cfg(not(feature = "tls"))]
fn over_tls(_address: &str, _authority: Option<&str>) -> io::Result<Stream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "built without TLS: cargo build --features tls"))
}

//! The bare server: what it takes to echo when there is nothing but the kernel.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::stream::Kind;

const BUFFER_BYTES: usize = 256 * 1024;
/// Events for one call of the kernel.
const EVENTS: usize = 1024;
/// What the listening socket's events are known by.
const LISTENER: u64 = u64::MAX;

/// Answer until the process is killed.
pub(crate) fn echo(kind: Kind, address: &str) -> io::Result<()> {
    match kind {
        Kind::Udp => echo_datagrams(&UdpSocket::bind(address)?),
        Kind::Tcp => {
            let listener = TcpListener::bind(address)?;
            serve(&listener, || {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Peer::Tcp(stream))
            })
        }
        Kind::Unix => {
            // What a server that was killed has left.
            let _ = fs::remove_file(address);
            let listener = UnixListener::bind(address)?;
            serve(&listener, || {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Peer::Unix(stream))
            })
        }
        Kind::Tls => Err(io::Error::new(ErrorKind::Unsupported, "there is no floor of TLS")),
    }
}

fn ready() -> io::Result<()> {
    writeln!(io::stdout(), "ready")
}

/// A datagram socket that waits in the call needs no epoll at all; with it, the floor is comparable to a loop.
fn echo_datagrams(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, socket, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    ready()?;
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        let (bytes, sender) = socket.recv_from(&mut buffer)?;
        // A datagram may be lost; the client sends another.
        let _ = socket.send_to(&buffer[..bytes], sender);
    }
}

enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

struct Connection {
    peer: Peer,
    /// What the socket did not take; nothing is read before it has gone.
    left: Vec<u8>,
}

impl Connection {
    /// Send what was left, or read and answer; false at the end.
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.left.is_empty() {
            let sent = self.peer.write(&self.left)?;
            self.left.drain(..sent);
            return Ok(true);
        }
        let bytes = self.peer.read(buffer)?;
        let sent = match self.peer.write(&buffer[..bytes]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        self.left.extend_from_slice(&buffer[sent..bytes]);
        Ok(bytes > 0)
    }
}

struct Server {
    poll: OwnedFd,
    connections: HashMap<u64, Connection>,
    next: u64,
}

impl Server {
    fn admit(&mut self, peer: Peer) -> io::Result<()> {
        epoll::add(&self.poll, &peer, EventData::new_u64(self.next), EventFlags::IN)?;
        self.connections.insert(self.next, Connection { peer, left: Vec::new() });
        self.next += 1;
        Ok(())
    }

    /// Serve one connection, and wait for what it now needs.
    fn serve(&mut self, key: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&key) else { return Ok(()) };
        let waited_to_write = !connection.left.is_empty();
        let goes_on = match connection.serve(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            // A peer that has gone ends its own connection only.
            other => other.unwrap_or(false),
        };
        let waits_to_write = !connection.left.is_empty();
        if waits_to_write != waited_to_write {
            let interest = if waits_to_write { EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.poll, &connection.peer, EventData::new_u64(key), interest)?;
        }
        if !goes_on {
            self.connections.remove(&key);
        }
        Ok(())
    }
}

fn serve(listener: &impl AsFd, accept: impl Fn() -> io::Result<Peer>) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut server = Server { poll, connections: HashMap::new(), next: 0 };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    ready()?;
    loop {
        events.clear();
        epoll::wait(&server.poll, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => server.admit(accept()?)?,
                key => server.serve(key, &mut buffer)?,
            }
        }
    }
}

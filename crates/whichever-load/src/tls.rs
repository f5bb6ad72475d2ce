//! TLS over a TCP connection that does not wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// A connection after its handshake.
pub(crate) struct Connection {
    session: ClientConnection,
    socket: TcpStream,
}

impl Connection {
    /// Shake hands, waiting for the server; the socket waits for nothing afterwards.
    pub(crate) fn open(mut socket: TcpStream, authority: &str) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(io::Error::other)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self { session, socket })
    }

    /// Encrypt some of `bytes` and send what the socket takes; the rest goes with the next call.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.session.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ if taken == 0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(taken),
        }
    }

    /// Decrypt what has arrived.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What did not fit into the socket before goes first, or neither side would move.
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        match self.session.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return other,
        }
        if self.session.read_tls(&mut self.socket)? == 0 {
            return Ok(0);
        }
        self.session.process_new_packets().map_err(io::Error::other)?;
        self.session.reader().read(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

//! Where another process finds a depot: by the descriptor of one that has it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use whichever_sys::SharedFile;

use super::Depot;
use crate::sync::Ordering;

/// How the file is called in `/proc`.
pub(super) const FILE_NAME: &str = "whichever-queue";
/// How a link to it in `/proc` begins.
const LINK: &str = "/memfd:whichever-queue";

/// Where a depot is, in numbers that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// A process that has it.
    pub pid: u32,
    /// Its descriptor there.
    pub fd: u32,
    /// The file's number, and the random one inside: nobody can mistake another file for it.
    pub inode: u64,
    /// See `inode`.
    pub key: u64,
}

impl Depot {
    /// Where others find it as long as this process has it. Each address counts as under way until it is opened.
    ///
    /// # Errors
    /// What the kernel says about the file.
    pub fn address(&self) -> io::Result<Address> {
        let fd = u32::try_from(self.file.as_fd().as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let inode = self.file.inode()?;
        let key = self.words.key.load(Ordering::Relaxed);
        self.words.under_way.fetch_add(1, Ordering::Relaxed);
        Ok(Address { pid: std::process::id(), fd, inode, key })
    }

    /// Its file, for who has other means to send it.
    #[must_use]
    pub fn file(&self) -> &SharedFile {
        &self.file
    }

    /// Whether an address of it may be under way to another process.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.words.under_way.load(Ordering::Relaxed) != 0
    }

    /// The random number inside, by which a process knows what it has open already.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.words.key.load(Ordering::Relaxed)
    }

    /// One address has arrived.
    pub fn arrived(&self) {
        let less = |count: u32| count.checked_sub(1);
        // Fails only where there is nothing to count down.
        let _ = self.words.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Open the depot at `address`.
///
/// # Errors
/// `NotFound` when the process that had it, or its descriptor, is gone; `PermissionDenied`; no address space.
pub fn open_address(address: Address) -> io::Result<Depot> {
    let path = format!("/proc/{}/fd/{}", address.pid, address.fd);
    // Looked at before it is opened: to open a stranger's file may do something.
    if !std::fs::read_link(&path)?.to_string_lossy().starts_with(LINK) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(path)?;
    let file = SharedFile::from_fd(file.into());
    if file.inode()? != address.inode {
        return Err(io::ErrorKind::NotFound.into());
    }
    let depot = Depot::open(file)?;
    if depot.key() != address.key {
        return Err(io::ErrorKind::NotFound.into());
    }
    depot.arrived();
    Ok(depot)
}

/// `O_NONBLOCK`: should it be a pipe after all, nobody waits for its other end.
const NONBLOCK: i32 = 0o4000;

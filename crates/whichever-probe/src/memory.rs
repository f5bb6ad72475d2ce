//! Memory of the process that is read: bytes at an address, or an error.

use std::io;

/// Where bytes come from: a live process, or a recorded one in tests.
pub trait Memory {
    /// Fill `buffer` with the bytes at `address`.
    ///
    /// # Errors
    /// The range is not mapped, or may not be read.
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The 64-bit word at `address`.
    ///
    /// # Errors
    /// As `read`.
    fn word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The memory of a running process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory {
    pid: u32,
}

impl ProcessMemory {
    /// This process, which may always be read.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { pid: std::process::id() }
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        whichever_sys::read_memory(self.pid, address, buffer)
    }
}

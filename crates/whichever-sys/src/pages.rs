//! The size of a page: what the kernel maps and gives back as a whole.

/// Bytes of a page, a power of two. Read once.
#[must_use]
pub fn page_size() -> usize {
    #[cfg(unix)]
    {
        use std::sync::OnceLock;
        static SIZE: OnceLock<usize> = OnceLock::new();
        // SAFETY: takes a number only.
        *SIZE.get_or_init(|| usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096))
    }
    #[cfg(not(unix))]
    4096
}

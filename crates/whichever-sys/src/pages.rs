//! The size of a page: what the kernel maps and gives back as a whole.

/// Bytes of a page, a power of two. Read once.
#[must_use]
pub fn page_size() -> usize {
    #[cfg(unix)]
    {
        use std::sync::atomic::{AtomicUsize, Ordering};
        /// 0 until it was read. No `OnceLock`: a child forked while another thread fills it would wait for ever.
        static SIZE: AtomicUsize = AtomicUsize::new(0);
        let known = SIZE.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        // SAFETY: takes a number only.
        let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        SIZE.store(size, Ordering::Relaxed);
        size
    }
    #[cfg(not(unix))]
    4096
}

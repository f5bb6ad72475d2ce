//! What the kernel has counted for a thread and for ended children.

/// Counters of one thread since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Page faults served without reading a file.
    pub minor_faults: u64,
    /// Times the thread gave its core up by itself.
    pub voluntary_switches: u64,
}

/// Counters of the calling thread; zeros where the platform counts only whole processes.
#[must_use]
pub fn thread_usage() -> Usage {
    #[cfg(target_os = "linux")]
    if let Some(usage) = read(libc::RUSAGE_THREAD) {
        return Usage {
            minor_faults: u64::try_from(usage.ru_minflt).unwrap_or(0),
            voluntary_switches: u64::try_from(usage.ru_nvcsw).unwrap_or(0),
        };
    }
    Usage::default()
}

/// CPU nanoseconds, user and system, of child processes that ended and were waited for.
#[must_use]
pub fn children_cpu_ns() -> u64 {
    #[cfg(unix)]
    if let Some(usage) = read(libc::RUSAGE_CHILDREN) {
        return nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
    }
    0
}

#[cfg(unix)]
fn nanoseconds(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_usec).unwrap_or(0) * 1_000
}

#[cfg(unix)]
fn read(who: libc::c_int) -> Option<libc::rusage> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a place for one rusage.
    let failed = unsafe { libc::getrusage(who, usage.as_mut_ptr()) } != 0;
    // SAFETY: rusage is plain numbers, valid when zeroed, and getrusage has filled it or left it.
    (!failed).then(|| unsafe { usage.assume_init() })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn touching_fresh_memory_counts_minor_faults() {
        let before = thread_usage().minor_faults;
        let pages = std::hint::black_box(vec![1_u8; 4 << 20]);
        assert!(thread_usage().minor_faults > before, "{} bytes touched", pages.len());
    }

    #[test]
    fn a_child_that_ended_has_cost_cpu() {
        let before = children_cpu_ns();
        std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
            .status()
            .unwrap();
        assert!(children_cpu_ns() > before);
    }
}

//! Clocks in nanoseconds, and sleeping until one of their instants.
//!
//! Guarantee: `monotonic_ns` never fails. A CPU clock that this platform lacks is `None`.

use std::time::Duration;

#[cfg(unix)]
const NS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds of the monotonic clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    os::read(os::MONOTONIC).unwrap_or(0)
}

/// CPU nanoseconds of the calling thread.
#[must_use]
pub fn thread_cpu_ns() -> Option<u64> {
    os::read(os::THREAD_CPU)
}

/// CPU nanoseconds of the whole process, ended threads included.
#[must_use]
pub fn process_cpu_ns() -> Option<u64> {
    os::read(os::PROCESS_CPU)
}

/// CPU nanoseconds of another thread of this process, fresh even while it runs; `None` when it is gone.
#[must_use]
pub fn thread_cpu_ns_of(thread: u32) -> Option<u64> {
    os::read(os::thread_clock(thread)?)
}

/// Sleep until `monotonic_ns()` reads `instant_ns`, or a signal handler has run.
pub fn sleep_until(instant_ns: u64) {
    let now = monotonic_ns();
    if instant_ns > now {
        os::sleep_until(instant_ns, Duration::from_nanos(instant_ns - now));
    }
}

#[cfg(unix)]
mod os {
    use super::{Duration, NS_PER_SECOND};

    pub(super) use libc::{
        CLOCK_MONOTONIC as MONOTONIC, CLOCK_PROCESS_CPUTIME_ID as PROCESS_CPU,
        CLOCK_THREAD_CPUTIME_ID as THREAD_CPU,
    };

    pub(super) fn read(clock: libc::clockid_t) -> Option<u64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for one timespec; a clock that does not exist is reported, not assumed.
        let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
        if failed {
            return None;
        }
        Some(u64::try_from(time.tv_sec).ok()? * NS_PER_SECOND + u64::try_from(time.tv_nsec).ok()?)
    }

    /// The kernel's encoding of a thread's CPU clock: the inverted id, then 4 (one thread) + 2 (scheduler time).
    #[cfg(target_os = "linux")]
    pub(super) fn thread_clock(thread: u32) -> Option<libc::clockid_t> {
        let thread = i32::try_from(thread).ok().filter(|thread| *thread > 0)?;
        Some((!thread << 3) | 6)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn thread_clock(_thread: u32) -> Option<libc::clockid_t> {
        None
    }

    #[cfg(target_os = "linux")]
    pub(super) fn sleep_until(instant_ns: u64, _ahead: Duration) {
        let (Ok(tv_sec), Ok(tv_nsec)) =
            ((instant_ns / NS_PER_SECOND).try_into(), (instant_ns % NS_PER_SECOND).try_into())
        else {
            return;
        };
        let time = libc::timespec { tv_sec, tv_nsec };
        // SAFETY: 1. `time` is a valid timespec with nanoseconds below one second.
        //         2. the remainder pointer may be null for an absolute sleep.
        unsafe {
            libc::clock_nanosleep(MONOTONIC, libc::TIMER_ABSTIME, &raw const time, std::ptr::null_mut())
        };
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn sleep_until(_instant_ns: u64, ahead: Duration) {
        std::thread::sleep(ahead);
    }
}

#[cfg(not(unix))]
mod os {
    use std::sync::OnceLock;
    use std::time::Instant;

    use super::Duration;

    #[derive(Clone, Copy, PartialEq)]
    pub(super) enum Clock {
        Monotonic,
        Cpu,
    }
    pub(super) const MONOTONIC: Clock = Clock::Monotonic;
    pub(super) const PROCESS_CPU: Clock = Clock::Cpu;
    pub(super) const THREAD_CPU: Clock = Clock::Cpu;

    pub(super) fn read(clock: Clock) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        if clock == Clock::Cpu {
            return None;
        }
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).ok()
    }

    pub(super) fn thread_clock(_thread: u32) -> Option<Clock> {
        None
    }

    pub(super) fn sleep_until(_instant_ns: u64, ahead: Duration) {
        std::thread::sleep(ahead);
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_its_instant_and_burns_no_cpu() {
        let (start, cpu) = (monotonic_ns(), thread_cpu_ns().unwrap());
        sleep_until(start + 20_000_000);
        assert!(monotonic_ns() >= start + 20_000_000);
        assert!(thread_cpu_ns().unwrap() - cpu < 10_000_000);
    }

    #[test]
    fn a_thread_is_seen_from_outside_as_it_sees_itself() {
        let before = thread_cpu_ns().unwrap();
        let outside = thread_cpu_ns_of(crate::thread_id()).unwrap();
        let after = thread_cpu_ns().unwrap();
        assert!(before <= outside && outside <= after);
    }

    #[test]
    fn a_thread_that_does_not_exist_has_no_clock() {
        assert_eq!(thread_cpu_ns_of(0), None);
        assert_eq!(thread_cpu_ns_of(u32::MAX), None);
    }
}

//! Ground truth for the probe's tests: native work whose length is known by a clock inside of it.
//!
//! A library with a C ABI, for `ctypes`: loaded as `PyDLL` a call keeps the GIL, as `CDLL` it releases it. Each
//! call returns the nanoseconds it took by its own clock, and notes when it ended: what passes from that
//! instant until Python goes on is the wait for the GIL. Not part of what is installed.

use std::cell::Cell;
use std::time::Duration;

use whichever_sys::{monotonic_ns, thread_cpu_ns};

thread_local! {
    /// When this thread's last call ended, by the monotonic clock.
    static ENDED_NS: Cell<u64> = const { Cell::new(0) };
}

/// Use `cpu_ns` of CPU; returns the CPU nanoseconds used, exact to one reading of the clock.
#[unsafe(no_mangle)]
pub extern "C" fn truth_spin(cpu_ns: u64) -> u64 {
    let cpu = || thread_cpu_ns().unwrap_or(u64::MAX);
    let start = cpu();
    while cpu().saturating_sub(start) < cpu_ns {
        for _ in 0..100 {
            std::hint::black_box(0);
        }
    }
    let used = cpu() - start;
    ended();
    used
}

/// Sleep for `ns`; returns the wall nanoseconds that passed.
#[unsafe(no_mangle)]
pub extern "C" fn truth_sleep(ns: u64) -> u64 {
    timed(|| std::thread::sleep(Duration::from_nanos(ns)))
}

/// Read one byte from a descriptor; returns the wall nanoseconds it took.
#[unsafe(no_mangle)]
pub extern "C" fn truth_read(descriptor: i32) -> u64 {
    timed(|| {
        let _ = io::read_byte(descriptor);
    })
}

/// Write one byte to a descriptor in `ns` from now, from a native thread.
#[unsafe(no_mangle)]
pub extern "C" fn truth_feed_after(descriptor: i32, ns: u64) {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_nanos(ns));
        let _ = io::write_byte(descriptor);
    });
}

/// When this thread's last call ended, in nanoseconds of the monotonic clock.
#[unsafe(no_mangle)]
pub extern "C" fn truth_ended_ns() -> u64 {
    ENDED_NS.get()
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = monotonic_ns();
    work();
    ended() - start
}

fn ended() -> u64 {
    let now = monotonic_ns();
    ENDED_NS.set(now);
    now
}

#[cfg(unix)]
mod io {
    use std::fs::File;
    use std::io::{Read, Result, Write};
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;

    pub(super) fn read_byte(descriptor: i32) -> Result<()> {
        borrow(descriptor).read_exact(&mut [0])
    }

    pub(super) fn write_byte(descriptor: i32) -> Result<()> {
        borrow(descriptor).write_all(&[1])
    }

    fn borrow(descriptor: i32) -> ManuallyDrop<File> {
        // SAFETY: 1. the caller keeps the descriptor open during the call; one that is not gives an error.
        //         2. it is never closed here: the file is not dropped.
        ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) })
    }
}

#[cfg(not(unix))]
mod io {
    pub(super) fn read_byte(_descriptor: i32) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(super) fn write_byte(_descriptor: i32) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_takes_what_it_was_told_to() {
        assert!(truth_spin(2_000_000) >= 2_000_000);
        assert!(truth_sleep(2_000_000) >= 2_000_000);
        assert!(truth_ended_ns() <= monotonic_ns());
    }
}

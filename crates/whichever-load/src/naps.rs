//! Threads that nap at once, and nothing else: the floor of a pool whose tasks wait.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// A thread that waits for its task, naps, and says that it has.
struct Napper {
    is_called: Arc<AtomicBool>,
    has_napped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Wake so many threads that are there, one after the other, and wait for each to have napped; the ideal time over the
/// time it took.
pub(crate) fn efficiency(threads: usize, nap: Duration) -> io::Result<f64> {
    let caller = thread::current();
    let barrier = Arc::new(Barrier::new(threads + 1));
    let nappers: Vec<Napper> =
        (0..threads).map(|_| start(nap, caller.clone(), Arc::clone(&barrier))).collect::<io::Result<_>>()?;
    barrier.wait();
    // By then all of them sleep.
    thread::sleep(nap);
    let begin = Instant::now();
    for napper in &nappers {
        napper.is_called.store(true, Ordering::Release);
        napper.thread.thread().unpark();
    }
    for napper in &nappers {
        while !napper.has_napped.load(Ordering::Acquire) {
            thread::park();
        }
    }
    let took = begin.elapsed();
    for napper in nappers {
        napper.thread.join().map_err(|_| io::Error::other("a thread that was to nap has failed"))?;
    }
    Ok(nap.as_secs_f64() / took.as_secs_f64())
}

fn start(nap: Duration, caller: Thread, barrier: Arc<Barrier>) -> io::Result<Napper> {
    let (is_called, has_napped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (called, napped) = (Arc::clone(&is_called), Arc::clone(&has_napped));
    let thread = thread::Builder::new().spawn(move || {
        barrier.wait();
        while !called.load(Ordering::Acquire) {
            thread::park();
        }
        thread::sleep(nap);
        napped.store(true, Ordering::Release);
        caller.unpark();
    })?;
    Ok(Napper { is_called, has_napped, thread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nap_at_once_and_no_shorter_than_they_are_to() {
        let efficiency = efficiency(4, Duration::from_millis(20)).expect("four threads can be started");
        assert!(efficiency > 0.0 && efficiency <= 1.0, "{efficiency}");
    }
}

//! `_core.Scout`: a thread beside the interpreter that sees when the program waits although there is more to do.
//!
//! The program waits when nobody holds the GIL, its threads use hardly any CPU, and none of them queues for a core: on a
//! busy machine a program that computes may long get none. The scout looks at all three from outside, so a program that
//! computes is not slowed by it; only when it waits does the scout take the GIL and ask its owner what to do. Sleeping
//! costs it nothing: it looks only while it is armed, and ever less often while there is nothing to be done.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use whichever_sys::{monotonic_ns, process_cpu_ns, thread_cpu_ns_of, thread_id, usable_cores};

use super::queued::{is_runnable, other_is_runnable};
use crate::gil::{Gil, visit};
use crate::pool::forks;

/// From one look to the next.
const TICK: Duration = Duration::from_micros(500);
/// The same where its owner has had nothing to do for long.
const LONGEST_TICK: Duration = Duration::from_millis(8);
/// Share of a core below which the program does next to nothing.
const IDLE_CORES: f64 = 0.5;
/// The same for a build without a GIL, for each usable core.
const IDLE_SHARE: f64 = 0.5;
/// Looks in a row that must find it so.
const LOOKS: u32 = 3;
/// Share of the latest looks that must, so that a program that is busy most of the time is not taken for one that waits.
const WAITS: f64 = 0.2;
/// Weight of one look in that share: about 16 ms count.
const WEIGHT: f64 = 1.0 / 32.0;
/// For its end to be waited for, at most.
const LONGEST_WAIT_SECONDS: f64 = 10.0;

/// See the module. Private: see `whichever.Pool`.
#[pyclass(frozen, module = "whichever._core")]
pub(crate) struct Scout {
    shared: Mutex<Arc<Shared>>,
    /// Called in the scout's thread, attached; returns whether there was something to do.
    waits: Py<PyAny>,
}

struct Shared {
    born: u32,
    armed: AtomicBool,
    /// The thread that runs tasks; 0 when others do. The clock of one thread is exact, that of all is some milliseconds old.
    watched: AtomicU32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    has_thread: bool,
    is_closed: bool,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            born: forks(),
            armed: AtomicBool::new(false),
            watched: AtomicU32::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until its thread has ended, at most so long.
    fn await_end(&self, most: Duration) {
        let state = self.lock();
        let has_thread = |state: &mut State| state.has_thread;
        drop(
            self.changed.wait_timeout_while(state, most, has_thread).unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Sleep until it is armed. False when it is closed.
    fn await_order(&self) -> bool {
        let mut state = self.lock();
        while !state.is_closed && !self.armed.load(Ordering::Acquire) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_closed
    }
}

#[pymethods]
impl Scout {
    #[new]
    fn new(waits: Py<PyAny>) -> Self {
        Self { shared: Mutex::new(Shared::new()), waits }
    }

    /// Look from now on: at the calling thread if it runs the tasks, else at all.
    #[pyo3(signature = (*, here = false))]
    fn arm(&self, py: Python<'_>, here: bool) -> PyResult<()> {
        let shared = self.shared();
        shared.watched.store(if here { thread_id() } else { 0 }, Ordering::Relaxed);
        if shared.armed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut state = shared.lock();
        if state.is_closed {
            shared.armed.store(false, Ordering::Release);
            return Err(PyRuntimeError::new_err("the scout is closed"));
        }
        if state.has_thread {
            drop(state);
            shared.changed.notify_one();
            return Ok(());
        }
        let watch = Watch {
            shared: Arc::clone(&shared),
            gil: if crate::gil::has_gil(py)? { Gil::find(py) } else { None },
            has_gil: crate::gil::has_gil(py)?,
            waits: self.waits.clone_ref(py),
        };
        let thread = std::thread::Builder::new().name("whichever-scout".to_owned());
        // It starts threads that run tasks: its signal mask, which they inherit, is that of whoever uses the pool.
        // Without the thread nobody sees that the program waits: it is slower, and right.
        state.has_thread = thread.spawn(move || watch.run()).is_ok();
        Ok(())
    }

    /// Look no more.
    fn disarm(&self) {
        self.shared().armed.store(false, Ordering::Release);
    }

    /// End its thread, and wait for it for so many seconds: none must come for the GIL when the interpreter is gone.
    #[pyo3(signature = (wait = 0.0))]
    fn close(&self, py: Python<'_>, wait: f64) {
        let shared = self.end();
        if wait > 0.0 {
            py.detach(|| shared.await_end(Duration::from_secs_f64(wait.min(LONGEST_WAIT_SECONDS))));
        }
    }
}

impl Scout {
    /// Have its thread end.
    fn end(&self) -> Arc<Shared> {
        let shared = self.shared();
        shared.lock().is_closed = true;
        shared.armed.store(false, Ordering::Release);
        shared.changed.notify_all();
        shared
    }

    /// What it shares with its thread; a forked child, which has none of its parent's threads, begins anew.
    fn shared(&self) -> Arc<Shared> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.born != forks() {
            *shared = Shared::new();
        }
        Arc::clone(&shared)
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        let _shared = self.end();
    }
}

/// The thread's part.
struct Watch {
    shared: Arc<Shared>,
    gil: Option<&'static Gil>,
    has_gil: bool,
    waits: Py<PyAny>,
}

impl Watch {
    fn run(self) {
        whichever_sys::tighten_timers();
        while self.shared.await_order() {
            if !self.look() {
                break;
            }
        }
        let Self { shared, waits, .. } = self;
        let _gone = visit(move |_attached| drop(waits));
        shared.lock().has_thread = false;
        shared.changed.notify_all();
    }

    /// Look while it is armed. False when the interpreter is gone.
    fn look(&self) -> bool {
        let most = if self.has_gil { IDLE_CORES } else { IDLE_SHARE * usable_cores().cores };
        let (mut last, mut looks, mut waits, mut tick) = (self.clocks(), 0, 1.0, TICK);
        while self.shared.armed.load(Ordering::Acquire) {
            std::thread::sleep(tick);
            let now = self.clocks();
            if now.watched != last.watched {
                tick = TICK;
            }
            let is_idle = now.cores_since(&last) < most && self.gil.is_none_or(|gil| gil.holder().is_none());
            last = now;
            looks = if is_idle { looks + 1 } else { 0 };
            waits += WEIGHT * (f64::from(u8::from(is_idle)) - waits);
            if looks < LOOKS || waits < WAITS {
                continue;
            }
            if self.is_queued() {
                looks = 0;
                continue;
            }
            let told = visit(|py| {
                self.waits.bind(py).call0().and_then(|useful| useful.is_truthy()).unwrap_or_else(|error| {
                    error.write_unraisable(py, None);
                    false
                })
            });
            let Some(was_useful) = told else { return false };
            tick = if was_useful { TICK } else { (2 * tick).min(LONGEST_TICK) };
            last = self.clocks();
        }
        true
    }

    /// Whether a thread that was to be seen waiting could go on if it got a core.
    fn is_queued(&self) -> bool {
        match self.shared.watched.load(Ordering::Relaxed) {
            0 => other_is_runnable(thread_id()),
            watched => is_runnable(watched),
        }
    }

    fn clocks(&self) -> Clocks {
        let watched = self.shared.watched.load(Ordering::Relaxed);
        let cpu_ns = if watched == 0 { process_cpu_ns() } else { thread_cpu_ns_of(watched) };
        Clocks { watched, now_ns: monotonic_ns(), cpu_ns }
    }
}

/// What the clocks said at one look.
struct Clocks {
    watched: u32,
    now_ns: u64,
    cpu_ns: Option<u64>,
}

impl Clocks {
    /// Cores that were used since; many where that cannot be told.
    fn cores_since(&self, before: &Self) -> f64 {
        match (before.cpu_ns, self.cpu_ns) {
            (Some(earlier), Some(cpu)) if self.watched == before.watched => {
                cpu.saturating_sub(earlier) as f64 / self.now_ns.saturating_sub(before.now_ns).max(1) as f64
            }
            _ => f64::INFINITY,
        }
    }
}

//! One native thread for all loops of the process, which sees when a callback keeps a loop from going on.
//!
//! It looks at each loop some times in the time that counts as slow. Only a loop that is awake and still in the step of the
//! look before is looked at closely: what does its thread do, as far as memory and `/proc` tell, without the GIL? When the
//! step has become slow, the thread takes the GIL once, for the names in the loop's stack. The loop says the rest itself
//! when the callback is over, in its own thread. Of a step that goes on and on the thread warns once while it runs: the
//! loop may never come to it.
//!
//! It sleeps while no loop runs, and while all of them have slept for a while: then the first that wakes rings. A ring that
//! is missed by a hair costs nothing but a warning that might have been, and the next wake rings again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use whichever_probe::{Doing, Interpreter, Onlooker};
use whichever_sys::{SignalsBlocked, monotonic_ns, thread_id};

use super::pulse::{Looks, Pulse};
use super::turn_on_core::Counted;
use crate::gil::{Gil, has_gil, thread_state, visit};
use crate::outside;
use crate::pool::forks;

/// Looks in the time that counts as slow, so that one look does not decide what the callback did.
const LOOKS: u64 = 5;
/// From one look to the next, at least and at most.
const SHORTEST_TICK: Duration = Duration::from_millis(5);
const LONGEST_TICK: Duration = Duration::from_millis(25);
/// A step that takes so many times what counts as slow may never be over.
const STUCK_TIMES: u64 = 10;
/// After so many looks at nothing but sleeping loops it sleeps as well.
const QUIET_LOOKS: u32 = 40;

/// A loop that runs, for as long as this is kept.
pub(super) struct Watched {
    shared: Arc<Shared>,
    number: u64,
}

/// What is known of a loop that runs.
struct Watch {
    /// Which one it is, of all that ever ran.
    number: u64,
    pulse: Arc<Pulse>,
    /// Its thread: the kernel's number, the address of its thread state, Python's number.
    native_id: u32,
    state: u64,
    python_thread: u64,
}

struct Shared {
    born: u32,
    watches: Mutex<Vec<Arc<Watch>>>,
    /// Whether the thread sleeps until it is rung for.
    is_parked: AtomicBool,
    thread: OnceLock<Thread>,
    /// The GIL, where it can be read and there is one.
    gil: Option<&'static Gil>,
    has_gil: bool,
}

impl Watched {
    /// Have a loop watched that the calling thread runs. None where there can be no watchdog.
    pub(super) fn new(py: Python<'_>, pulse: &Arc<Pulse>, python_thread: u64) -> Option<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let shared = Shared::of_this_process(py)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let watch = Watch {
            number,
            pulse: Arc::clone(pulse),
            native_id: thread_id(),
            state: thread_state(py),
            python_thread,
        };
        shared.watches().push(Arc::new(watch));
        shared.ring();
        Some(Self { shared, number })
    }

    /// The loop has woken.
    pub(super) fn ring(&self) {
        self.shared.ring();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // In the child of a fork the thread is gone, and may have taken the lock with it.
        if self.shared.born == forks() {
            self.shared.watches().retain(|watch| watch.number != self.number);
        }
    }
}

impl Shared {
    /// What loops share with the thread, which is started for the first of them. A forked child begins anew.
    fn of_this_process(py: Python<'_>) -> Option<Arc<Self>> {
        static CURRENT: Mutex<Option<Arc<Shared>>> = Mutex::new(None);
        let own = |current: &Option<Arc<Self>>| current.clone().filter(|shared| shared.born == forks());
        let lock = || CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = own(&lock()) {
            return Some(shared);
        }
        // Asked without the lock, for it runs Python code.
        let has_gil = has_gil(py).ok()?;
        let mut current = lock();
        if let Some(shared) = own(&current) {
            return Some(shared);
        }
        let shared = Arc::new(Self {
            born: forks(),
            watches: Mutex::default(),
            is_parked: AtomicBool::new(false),
            thread: OnceLock::new(),
            gil: if has_gil { Gil::find(py) } else { None },
            has_gil,
        });
        let threads = Arc::clone(&shared);
        let _blocked = SignalsBlocked::new();
        let thread =
            std::thread::Builder::new().name("whichever-watchdog".into()).spawn(|| threads.run()).ok()?;
        shared.thread.get_or_init(|| thread.thread().clone());
        *current = Some(Arc::clone(&shared));
        Some(shared)
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Arc<Watch>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn ring(&self) {
        if self.is_parked.load(Ordering::Relaxed)
            && self.is_parked.swap(false, Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn run(self: Arc<Self>) {
        let mut seen = HashMap::new();
        let mut quiet = 0;
        loop {
            let watches = self.next(quiet >= QUIET_LOOKS);
            std::thread::sleep(tick(&watches));
            seen.retain(|number, _| watches.iter().any(|watch| watch.number == *number));
            quiet += 1;
            for watch in &watches {
                let known = seen.entry(watch.number).or_insert_with(Seen::new);
                if known.look(watch, &self) {
                    quiet = 0;
                }
            }
        }
    }

    /// The loops that run, once there is one; when all was quiet, once somebody has rung.
    fn next(&self, quiet: bool) -> Vec<Arc<Watch>> {
        self.is_parked.store(quiet, Ordering::Relaxed);
        loop {
            while self.is_parked.load(Ordering::Relaxed) {
                std::thread::park();
            }
            let watches = self.watches();
            if !watches.is_empty() {
                return watches.clone();
            }
            // Under the lock: whoever comes next finds that he has to ring.
            self.is_parked.store(true, Ordering::Relaxed);
        }
    }

    fn interpreter(&self) -> Option<&Interpreter> {
        self.gil.map(Gil::interpreter)
    }
}

fn tick(watches: &[Arc<Watch>]) -> Duration {
    let slow = watches.iter().map(|watch| watch.pulse.slow_ns.load(Ordering::Relaxed)).min();
    Duration::from_nanos(slow.unwrap_or(u64::MAX) / LOOKS).clamp(SHORTEST_TICK, LONGEST_TICK)
}

/// What the thread has seen of a loop.
struct Seen {
    /// The step it was in; None while it slept.
    step: Option<u64>,
    /// The look before the first at this step, and that one.
    between_ns: (u64, u64),
    looks: Looks,
    is_told: bool,
    /// Whether it was warned of while it runs.
    is_stuck: bool,
    /// What the kernel had counted at the last look at this step.
    counted: Option<Counted>,
}

impl Seen {
    fn new() -> Self {
        let now = monotonic_ns();
        Self {
            step: None,
            between_ns: (now, now),
            looks: Looks::default(),
            is_told: false,
            is_stuck: false,
            counted: None,
        }
    }

    /// Look at the loop. Says whether it was not simply asleep all the time.
    fn look(&mut self, watch: &Watch, shared: &Shared) -> bool {
        let now = monotonic_ns();
        let step = watch.pulse.awake_step();
        let stays = step.is_some() && step == self.step;
        if !stays {
            self.step = step;
            self.between_ns = (self.between_ns.1, now);
            (self.is_told, self.is_stuck) = (false, false);
            self.looks = Looks::default();
            self.counted = None;
        }
        let Some(step) = step else {
            self.between_ns.1 = now;
            return false;
        };
        self.watch_closely(watch, shared, step, now);
        true
    }

    fn watch_closely(&mut self, watch: &Watch, shared: &Shared, step: u64, now: u64) {
        let began = watch.pulse.began_ns(step, self.between_ns);
        // Opened for each look: a descriptor that stayed open would be missed by whoever counts his own.
        let onlooker = Onlooker::open(watch.native_id, watch.state).ok();
        let doing = onlooker.and_then(|mut own| own.look(shared.interpreter(), now));
        if watch.pulse.awake_step() != Some(step) {
            return;
        }
        if let Some(doing) = doing {
            let doing = self.in_fact(watch, now, doing);
            self.looks.add(doing);
        }
        let lasts = now.saturating_sub(began);
        let slow = watch.pulse.slow_ns.load(Ordering::Relaxed);
        if self.is_told {
            watch.pulse.find_more(step, |finding| finding.looks = self.looks.clone());
            if !self.is_stuck && lasts >= slow.saturating_mul(STUCK_TIMES) {
                self.is_stuck = true;
                self.warn(watch, shared, step, lasts);
            }
        } else if lasts >= slow {
            self.is_told = true;
            let other = watch.pulse.find(step, began, self.looks.clone());
            let _gone = visit(|py| {
                drop(other);
                // Without a GIL the stack of a thread that runs is nobody else's to read.
                if shared.has_gil && watch.pulse.awake_step() == Some(step) {
                    let sight = sight(py, watch.python_thread);
                    watch.pulse.find_more(step, |finding| finding.sight = sight);
                }
            });
        }
    }

    /// What a thread did since the last look that is `doing` this: nothing, if it could have computed and had no core.
    fn in_fact(&mut self, watch: &Watch, now: u64, doing: Doing) -> Doing {
        let counted = Counted::now(watch.native_id, now);
        let before = std::mem::replace(&mut self.counted, counted);
        match (doing, counted, before) {
            (Doing::Held | Doing::Released, Some(counted), Some(before))
                if counted.has_queued_since(&before) =>
            {
                Doing::Queued
            }
            _ => doing,
        }
    }

    /// Warn of a step that still runs.
    fn warn(&self, watch: &Watch, shared: &Shared, step: u64, lasts_ns: u64) {
        let doing = self.looks.in_words();
        let _gone = visit(|py| {
            if watch.pulse.awake_step() != Some(step) {
                return;
            }
            let thread = shared.has_gil.then_some(watch.python_thread);
            ask(py, "warn_of_stuck", (thread, lasts_ns as f64 * 1e-9, doing));
        });
    }
}

/// What the stack of a thread says.
fn sight(py: Python<'_>, python_thread: u64) -> Option<Py<PyAny>> {
    ask(py, "sight", (python_thread,))
}

/// Call a function of the Python half. What it raises has nobody to go to.
fn ask<'py, A>(py: Python<'py>, function: &str, args: A) -> Option<Py<PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    PyErr: From<A::Error>,
{
    let said = py
        .import("whichever.loop._slow")
        .and_then(|module| outside::call_method(module.as_any(), &PyString::new(py, function), args));
    match said {
        Ok(said) => Some(said.unbind()),
        Err(error) => {
            error.write_unraisable(py, None);
            None
        }
    }
}

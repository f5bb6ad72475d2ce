//! Meters the tasks of one thread: exact clocks around them, and the sampler beside them.
//!
//! Guarantees: the sampler's thread ends with `stop` or the drop, whichever comes first. In the child of a
//! fork there is no sampler: tasks go on, are timed, and nothing waits for the thread that is not there.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use whichever_model::{BlockedKind, Evidence, Sight};
use whichever_sys::{SignalsBlocked, monotonic_ns, thread_id};

use crate::border::BorderReader;
use crate::descriptors::Descriptors;
use crate::interpreter::{Interpreter, ProbeError, PythonThread};
use crate::others::SAMPLER_NAME;
use crate::sampler::{Sampler, Shared};
use crate::tasks::{Need, Tasks};
use crate::thread::{ThreadReader, ThreadState};
use crate::timeline::Span;

/// Faster than this the sampler would be busy with nothing else.
const HIGHEST_RATE_HZ: f64 = 20_000.0;
/// Slower than this a sample says nothing of a task.
const LOWEST_RATE_HZ: f64 = 1.0;
/// Pairs of borders read to learn what one costs.
const CALIBRATIONS: u32 = 5;

/// How to meter.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Samples per second, on average.
    pub rate_hz: f64,
    /// Whether to use exact clocks only, as where nothing else can be read.
    pub clocks_only: bool,
    /// Whether the interpreter uses a GIL, as it says itself.
    pub has_gil: bool,
    /// Address of the calling thread's Python thread state.
    pub thread_state: u64,
}

/// Why a task was not begun or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// Another thread than the one that started metering.
    WrongThread,
    /// A task of this meter is running.
    Running,
    /// No task of this meter is running.
    NotRunning,
}

impl fmt::Display for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WrongThread => "a meter belongs to the thread that entered it: enter one in this thread",
            Self::Running => "a task of this meter is running already: nest with a meter of its own",
            Self::NotRunning => "no task of this meter is running: begin() comes before end()",
        })
    }
}

impl std::error::Error for TaskError {}

/// What can be read here, found once at the start.
#[derive(Debug)]
struct Probe {
    interpreter: Option<Interpreter>,
    refused: Option<ProbeError>,
    /// Whether threads' calls can be read.
    states: bool,
}

/// Meters tasks of the thread that started it.
#[derive(Debug)]
pub struct Metering {
    metered: PythonThread,
    pid: u32,
    has_gil: bool,
    probe: Probe,
    borders: BorderReader,
    shared: Arc<Shared>,
    tasks: Mutex<Tasks>,
    last_task: AtomicU64,
    sampler: Mutex<Option<JoinHandle<()>>>,
    /// For looks from other threads: see `blocked_now`.
    watcher: Mutex<Option<(ThreadReader, Descriptors)>>,
}

impl Metering {
    /// Start metering the calling thread, which is attached to the interpreter.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let metered = PythonThread { state: options.thread_state, native_id: thread_id() };
        let probe = Probe::open(options, metered);
        let borders = BorderReader::new();
        let border_cpu_ns = border_cost(&borders);
        let shared = Arc::new(Shared::default());
        let sampler = probe.states.then(|| {
            let period_ns = 1e9 / options.rate_hz.clamp(LOWEST_RATE_HZ, HIGHEST_RATE_HZ);
            spawn(&shared, &probe, metered, period_ns as u64)
        });
        Self {
            metered,
            pid: std::process::id(),
            has_gil: options.has_gil,
            probe,
            borders,
            shared,
            tasks: Mutex::new(Tasks::new(border_cpu_ns)),
            last_task: AtomicU64::new(0),
            sampler: Mutex::new(sampler.flatten()),
            watcher: Mutex::new(None),
        }
    }

    /// A task begins in the calling thread.
    ///
    /// # Errors
    /// `WrongThread` or `Running`.
    pub fn begin(&self) -> Result<(), TaskError> {
        self.check_thread()?;
        let mut tasks = self.tasks();
        if tasks.is_running() {
            return Err(TaskError::Running);
        }
        if tasks.before(monotonic_ns()) == Need::Border {
            tasks.open(self.borders.before_tasks());
        }
        // Relaxed: only the metered thread counts.
        let task = self.last_task.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.enter_task(task);
        tasks.begin(monotonic_ns());
        Ok(())
    }

    /// The task returned, or raised and is not counted.
    ///
    /// # Errors
    /// `WrongThread` or `NotRunning`.
    pub fn end(&self, returned: bool) -> Result<(), TaskError> {
        let now_ns = monotonic_ns();
        self.check_thread()?;
        self.shared.enter_task(0);
        let mut tasks = self.tasks();
        if !tasks.is_running() {
            return Err(TaskError::NotRunning);
        }
        let need = if returned { tasks.end(now_ns) } else { tasks.fail(now_ns) };
        if need == Need::Border {
            tasks.close(self.borders.after_tasks());
        }
        if !returned && !self.is_forked() {
            self.shared.record().forget(self.last_task.load(Ordering::Relaxed));
        }
        Ok(())
    }

    /// End the sampler. Calling it again does nothing. Call it detached: it waits for up to a period.
    pub fn stop(&self) {
        self.flush();
        self.shared.stop();
        let sampler = self.sampler.try_lock().ok().and_then(|mut sampler| sampler.take());
        match sampler {
            // The thread is the parent's: here its handle means nothing.
            Some(sampler) if self.is_forked() => std::mem::forget(sampler),
            Some(sampler) => drop(sampler.join()),
            None => {}
        }
    }

    /// Wall seconds of each task that returned, in order.
    #[must_use]
    pub fn task_seconds(&self) -> Vec<f64> {
        self.tasks().seconds().to_vec()
    }

    /// Everything seen so far, for `tally`.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        self.flush();
        let mut evidence =
            Evidence { sight: self.sight(), totals: self.tasks().totals(), ..Evidence::default() };
        evidence.unknown.extend(self.probe.refused.as_ref().map(|error| format!("the GIL: {error}")));
        evidence.unknown.extend(self.probe.blind_spots());
        if !self.borders.knows_delay() {
            evidence.unknown.push("queued: this kernel does not tell run-queue delay".to_owned());
        }
        let record = if self.is_forked() { self.shared.try_record() } else { Some(self.shared.record()) };
        let Some(record) = record else { return evidence };
        (evidence.samples, evidence.bursts) = record.counted();
        evidence.totals.foreign_cpu = record.foreign_cpu;
        let seconds = record.last_tick_ns.saturating_sub(record.started_ns) as f64 * 1e-9;
        if seconds > 0.0 {
            evidence.rate_hz = record.ticks as f64 / seconds;
            evidence.sampler_load = record.sampler_cpu_ns as f64 * 1e-9 / seconds;
        }
        evidence
    }

    /// When metering started, the spans seen so far, and how many were merged to bound them.
    #[must_use]
    pub fn timeline(&self) -> (u64, Vec<Span>, u64) {
        let record = if self.is_forked() { self.shared.try_record() } else { Some(self.shared.record()) };
        record.map_or((0, Vec::new(), 0), |record| {
            let (spans, merged) = record.timeline.spans();
            (record.started_ns, spans, merged)
        })
    }

    /// Looks in which the GIL changed hands meanwhile.
    #[must_use]
    pub fn raced(&self) -> u64 {
        self.shared.try_record().map_or(0, |record| record.raced)
    }

    /// What the metered thread is blocked on at this instant, in a call that waits for one thing only. A thread
    /// that asks for itself is not blocked.
    #[must_use]
    pub fn blocked_now(&self) -> Option<BlockedKind> {
        if self.check_thread().is_ok() {
            return None;
        }
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.is_none() && self.probe.states {
            let reader = ThreadReader::open(self.metered.native_id, self.metered.state).ok()?;
            *watcher = Some((reader, Descriptors::default()));
        }
        let (reader, descriptors) = watcher.as_mut()?;
        match reader.look(self.probe.interpreter.as_ref(), descriptors, monotonic_ns())?.state {
            ThreadState::Blocked(kind) | ThreadState::HeldBlocked(kind) if kind != BlockedKind::Poll => {
                Some(kind)
            }
            _ => None,
        }
    }

    fn sight(&self) -> Sight {
        let active = match &self.probe.interpreter {
            Some(interpreter) => interpreter.gil().is_ok_and(|words| words.active),
            None => self.has_gil,
        };
        match (self.probe.states, &self.probe.interpreter) {
            (true, Some(_)) if active => Sight::Full,
            (true, _) if !active => Sight::WithoutGil,
            (true, _) => Sight::StatesOnly,
            (false, _) if active => Sight::ClocksOnly,
            (false, _) => Sight::ClocksOnlyWithoutGil,
        }
    }

    /// Count the tasks that still wait for a border.
    fn flush(&self) {
        if self.check_thread().is_err() {
            return;
        }
        let mut tasks = self.tasks();
        if tasks.has_open_batch() && !tasks.is_running() {
            tasks.finish(self.borders.after_tasks());
        }
    }

    fn check_thread(&self) -> Result<(), TaskError> {
        if thread_id() == self.metered.native_id { Ok(()) } else { Err(TaskError::WrongThread) }
    }

    fn is_forked(&self) -> bool {
        std::process::id() != self.pid
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Metering {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Probe {
    fn open(options: Options, metered: PythonThread) -> Self {
        if options.clocks_only {
            return Self { interpreter: None, refused: None, states: false };
        }
        let states = ThreadReader::open(metered.native_id, metered.state).is_ok();
        match Interpreter::of_this_process(metered) {
            Ok(interpreter) => Self { interpreter: Some(interpreter), refused: None, states },
            Err(error) => Self { interpreter: None, refused: Some(error), states },
        }
    }

    /// What the interpreter's memory does not tell on this C library.
    fn blind_spots(&self) -> Option<String> {
        if self.interpreter.as_ref().is_none_or(Interpreter::is_fast) {
            return None;
        }
        // Elsewhere than in glibc a waiter's futex lies on its stack, and the words are not known to be static.
        let what = "waiting: time spent waiting for the GIL may count as blocked on a lock; releases are not counted";
        Some(what.to_owned())
    }
}

/// The least CPU that a pair of borders was seen to cost.
fn border_cost(borders: &BorderReader) -> u64 {
    let once = |_| {
        let before = borders.before_tasks();
        borders.after_tasks().cpu_ns.saturating_sub(before.cpu_ns)
    };
    (0..CALIBRATIONS).map(once).min().unwrap_or(0)
}

/// Start the sampler's thread; without one there are clocks alone.
fn spawn(
    shared: &Arc<Shared>,
    probe: &Probe,
    metered: PythonThread,
    period_ns: u64,
) -> Option<JoinHandle<()>> {
    let sampler = Sampler::new(Arc::clone(shared), probe.interpreter.clone(), metered, period_ns).ok()?;
    let _blocked = SignalsBlocked::new();
    std::thread::Builder::new().name(SAMPLER_NAME.to_owned()).spawn(move || sampler.run()).ok()
}

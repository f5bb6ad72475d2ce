//! The sampler: a native thread that looks at the metered thread at random instants.
//!
//! It never takes the GIL, blocks every signal, and works for some ten microseconds at a time. The period is
//! jittered by half to either side, so that work with a period of its own is seen in all of its phases.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use whichever_model::{Bursts, Samples};
use whichever_sys::{Cores, monotonic_ns, thread_cpu_ns};

use crate::border::add_sampler_cpu;
use crate::burst;
use crate::descriptors::Descriptors;
use crate::interpreter::{Interpreter, PythonThread};
use crate::others::{OtherThreads, POLL_PERIOD_NS};
use crate::thread::{ThreadReader, ThreadState};
use crate::timeline::{SpanState, Timeline};

/// The sampler looks whether it should stop at least this often.
const LONGEST_SLEEP_NS: u64 = 5_000_000;
/// Other Python threads are looked at one by one, one every so many looks at the metered one.
const LOOKS_PER_OTHER: u64 = 4;
/// So many other Python threads are looked at; who holds the GIL is seen for all.
const MOST_OTHERS: usize = 32;

/// What the metered thread and the sampler share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Number of the running task; 0 between tasks. Written by the metered thread only.
    task: AtomicU64,
    stop: AtomicBool,
    record: Mutex<Record>,
}

impl Shared {
    /// Say that this task runs from now on; 0 for none.
    pub(crate) fn enter_task(&self, task: u64) {
        // Relaxed: the number stands alone; the sampler reads it before and after each look.
        self.task.store(task, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        // Relaxed: joining the thread is what orders its last writes.
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record, unless somebody holds it: for the child of a fork, where that somebody does not exist.
    pub(crate) fn try_record(&self) -> Option<MutexGuard<'_, Record>> {
        self.record.try_lock().ok()
    }
}

/// What the sampler has seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Of tasks that are over, or still good.
    counted: Samples,
    bursts: Bursts,
    /// Of the last task seen, which may still raise.
    pending_task: u64,
    pending: Samples,
    pending_bursts: Bursts,
    /// The last task that raised.
    failed_task: u64,
    /// Looks in which the GIL changed hands.
    pub(crate) raced: u64,
    pub(crate) ticks: u64,
    pub(crate) started_ns: u64,
    pub(crate) last_tick_ns: u64,
    pub(crate) sampler_cpu_ns: u64,
    pub(crate) foreign_cpu: f64,
    pub(crate) timeline: Timeline,
}

impl Record {
    /// All samples and bursts of tasks that did not raise.
    pub(crate) fn counted(&self) -> (Samples, Bursts) {
        let mut samples = self.counted.clone();
        samples.add(&self.pending);
        (samples, sum(self.bursts, self.pending_bursts))
    }

    /// Forget what was seen of a task that raised.
    pub(crate) fn forget(&mut self, task: u64) {
        self.failed_task = task;
        if self.pending_task == task {
            self.pending = Samples::default();
            self.pending_bursts = Bursts::default();
        }
    }

    fn add(&mut self, task: u64, state: ThreadState, bursts: Bursts) {
        if task == self.failed_task {
            return;
        }
        if task != self.pending_task {
            let pending = std::mem::take(&mut self.pending);
            self.counted.add(&pending);
            self.bursts = sum(self.bursts, std::mem::take(&mut self.pending_bursts));
            self.pending_task = task;
        }
        self.pending_bursts = sum(self.pending_bursts, bursts);
        count(&mut self.pending, state);
    }
}

fn sum(one: Bursts, other: Bursts) -> Bursts {
    Bursts { releases: one.releases + other.releases, cpu: one.cpu + other.cpu }
}

fn count(samples: &mut Samples, state: ThreadState) {
    let counter = match state {
        ThreadState::Held { on_core: true } => &mut samples.held_running,
        ThreadState::Held { on_core: false } => &mut samples.held_queued,
        ThreadState::HeldBlocked(_) => &mut samples.held_blocked,
        ThreadState::Free { on_core: true } => &mut samples.released_running,
        ThreadState::Free { on_core: false } => &mut samples.free_queued,
        ThreadState::Waiting { woken: false } => &mut samples.waiting,
        ThreadState::Waiting { woken: true } => &mut samples.waiting_woken,
        ThreadState::Blocked(kind) => samples.blocked.entry(kind).or_default(),
    };
    *counter += 1;
}

/// The sampler's side; `run` is its thread.
pub(crate) struct Sampler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) interpreter: Option<Interpreter>,
    pub(crate) metered: PythonThread,
    pub(crate) period_ns: u64,
    reader: ThreadReader,
    descriptors: Descriptors,
    python: Vec<PythonThread>,
    readers: Vec<ThreadReader>,
    others: OtherThreads,
    next_burst_ns: u64,
    next_poll_ns: u64,
    last_poll_ns: u64,
    looks_since_poll: (u64, u64),
    cores: Cores,
    random: u64,
}

impl Sampler {
    /// Everything opened, so that what fails fails in the caller.
    pub(crate) fn new(
        shared: Arc<Shared>,
        interpreter: Option<Interpreter>,
        metered: PythonThread,
        period_ns: u64,
    ) -> std::io::Result<Self> {
        let now_ns = monotonic_ns();
        let mut sampler = Self {
            reader: ThreadReader::open(metered.native_id, metered.state)?,
            shared,
            interpreter,
            metered,
            period_ns,
            descriptors: Descriptors::default(),
            python: Vec::new(),
            readers: Vec::new(),
            others: OtherThreads::default(),
            next_burst_ns: now_ns,
            next_poll_ns: now_ns + POLL_PERIOD_NS,
            last_poll_ns: now_ns,
            looks_since_poll: (0, 0),
            cores: Cores::of_this_thread(),
            random: now_ns | 1,
        };
        sampler.shared.record().started_ns = now_ns;
        sampler.poll(now_ns);
        Ok(sampler)
    }

    /// Look until told to stop.
    pub(crate) fn run(mut self) {
        whichever_sys::tighten_timers();
        let _ = whichever_sys::raise_priority();
        let mut cpu_ns = 0;
        let mut next_ns = monotonic_ns();
        // Relaxed: see `Shared::stop`.
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now_ns = monotonic_ns();
            if now_ns < next_ns {
                whichever_sys::sleep_until(next_ns.min(now_ns + LONGEST_SLEEP_NS));
                continue;
            }
            self.tick(now_ns);
            let used_ns = thread_cpu_ns().unwrap_or(0);
            add_sampler_cpu(used_ns.saturating_sub(cpu_ns));
            cpu_ns = used_ns;
            self.shared.record().sampler_cpu_ns = used_ns;
            // Late is late: the instants stay apart by what was drawn.
            next_ns = next_ns.max(now_ns.saturating_sub(self.period_ns)) + self.jittered_period_ns();
        }
        self.poll(monotonic_ns());
    }

    fn tick(&mut self, now_ns: u64) {
        // Relaxed: see `Shared::enter_task`.
        let task = self.shared.task.load(Ordering::Relaxed);
        self.looks_since_poll.1 += 1;
        if task != 0 {
            self.looks_since_poll.0 += 1;
            self.look(task, now_ns);
        }
        {
            let mut record = self.shared.record();
            record.ticks += 1;
            record.last_tick_ns = now_ns;
        }
        if now_ns >= self.next_poll_ns {
            self.poll(now_ns);
        }
    }

    fn look(&mut self, task: u64, now_ns: u64) {
        let Some(look) = self.reader.look(self.interpreter.as_ref(), &mut self.descriptors, now_ns) else {
            return;
        };
        let is_over = self.shared.task.load(Ordering::Relaxed) != task;
        let ran = matches!(look.state, ThreadState::Held { .. } | ThreadState::Free { .. });
        if is_over && !ran {
            // The task ended during the look: what blocks now may be the caller. A running state was the
            // task's, since it was read first.
            return;
        }
        let bursts = if ran && !is_over { self.burst(now_ns) } else { Bursts::default() };
        {
            let mut record = self.shared.record();
            record.raced += u64::from(look.raced);
            record.add(task, look.state, bursts);
        }
        self.draw(look.state, now_ns);
    }

    fn burst(&mut self, now_ns: u64) -> Bursts {
        match &self.interpreter {
            Some(interpreter) if interpreter.is_fast() && now_ns >= self.next_burst_ns => {
                let seen = burst::watch(interpreter, self.metered.state, self.metered.native_id);
                self.next_burst_ns = now_ns + burst::BURST_PERIOD_NS;
                if seen.cpu <= 0.0 {
                    // The sampler sat on the core that the metered thread wants.
                    self.cores.leave_current();
                }
                seen
            }
            _ => Bursts::default(),
        }
    }

    /// Put the metered thread, the holder and now and then another thread on the timeline.
    fn draw(&mut self, state: ThreadState, now_ns: u64) {
        let patience_ns = 4 * self.period_ns;
        let holder = self.interpreter.as_ref().and_then(|interpreter| interpreter.gil().ok());
        let holder = holder.filter(|words| words.held_by(words.holder) && words.holder != self.metered.state);
        let holder = holder.and_then(|words| self.python.iter().find(|thread| thread.state == words.holder));
        let turn = self.looks_since_poll.1;
        let mut other = None;
        if turn.is_multiple_of(LOOKS_PER_OTHER) && !self.readers.is_empty() {
            let index = usize::try_from(turn / LOOKS_PER_OTHER).unwrap_or(0) % self.readers.len();
            let reader = &mut self.readers[index];
            let look = reader.look(self.interpreter.as_ref(), &mut self.descriptors, now_ns);
            other = look.map(|look| (reader.native_id(), look.state));
        }
        let patience_of_others_ns =
            patience_ns.saturating_mul(LOOKS_PER_OTHER * self.readers.len().max(1) as u64);
        let mut record = self.shared.record();
        record.timeline.see(self.metered.native_id, state.into(), now_ns, patience_ns);
        if let Some(holder) = holder {
            record.timeline.see(holder.native_id, SpanState::Held, now_ns, patience_of_others_ns);
        }
        if let Some((native_id, state)) = other {
            record.timeline.see(native_id, state.into(), now_ns, patience_of_others_ns);
        }
    }

    /// List threads and read their clocks.
    fn poll(&mut self, now_ns: u64) {
        let (inside, looks) = std::mem::take(&mut self.looks_since_poll);
        if let Some(threads) = self.interpreter.as_ref().and_then(|interpreter| interpreter.threads().ok()) {
            self.python = threads;
        }
        let ids: Vec<u32> = self.python.iter().map(|thread| thread.native_id).collect();
        let share = if looks == 0 { 0.0 } else { inside as f64 / looks as f64 };
        self.others.poll(self.metered.native_id, &ids, share, now_ns.saturating_sub(self.last_poll_ns));
        self.last_poll_ns = now_ns;
        self.next_poll_ns = now_ns + POLL_PERIOD_NS;
        self.shared.record().foreign_cpu = self.others.foreign_cpu();
        self.follow_others();
    }

    fn follow_others(&mut self) {
        let (metered, python) = (self.metered.native_id, &self.python);
        self.readers.retain(|reader| python.iter().any(|thread| thread.native_id == reader.native_id()));
        for thread in python.iter().filter(|thread| thread.native_id != metered) {
            if self.readers.len() >= MOST_OTHERS {
                break;
            }
            if !self.readers.iter().any(|reader| reader.native_id() == thread.native_id) {
                self.readers.extend(ThreadReader::open(thread.native_id, thread.state));
            }
        }
    }

    /// Between half a period and one and a half, evenly (xorshift64).
    fn jittered_period_ns(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.period_ns / 2 + self.random % self.period_ns.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: ThreadState = ThreadState::Held { on_core: true };

    #[test]
    fn what_was_seen_of_a_task_that_raised_is_forgotten() {
        let mut record = Record::default();
        record.add(1, RUNNING, Bursts::default());
        record.add(2, RUNNING, Bursts { releases: 5, cpu: 1.0 });
        record.forget(2);
        record.add(2, RUNNING, Bursts::default());
        assert_eq!(record.counted().0.total(), 1);
        assert_eq!(record.counted().1, Bursts::default());
        record.add(3, RUNNING, Bursts { releases: 1, cpu: 1.0 });
        assert_eq!(record.counted().0.total(), 2);
        assert_eq!(record.counted().1.releases, 1);
    }
}

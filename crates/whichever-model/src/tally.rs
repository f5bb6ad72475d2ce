//! From samples and exact clocks to a ledger.
//!
//! Samples say in which state a thread was at random instants; clocks say exactly how long it ran, queued and
//! existed. Exact beats sampled: CPU time is split over held and released by the samples that saw the thread
//! running, run-queue delay is taken from the scheduler, and only what is left, the time off-CPU, is split over
//! waiting and the blocked kinds by the samples that saw them. So the parts add up to wall time by construction,
//! and a runnable thread that had no core is never counted as running.
//!
//! Standard errors are binomial, with half a sample added to either side so that a part never seen in few
//! samples is not claimed to be known.

use std::collections::BTreeMap;

use crate::{BlockedKind, Ledger, Parts};

/// How much the probe was able to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// The GIL and every thread's state.
    Full,
    /// Every thread's state, on an interpreter without a GIL.
    WithoutGil,
    /// Every thread's state, but not who holds the GIL.
    StatesOnly,
    /// Exact clocks and nothing else; `gil` says whether the interpreter has one.
    #[default]
    ClocksOnly,
    /// As `ClocksOnly`, on an interpreter without a GIL.
    ClocksOnlyWithoutGil,
}

impl Sight {
    /// Whether the interpreter has a GIL.
    #[must_use]
    pub fn has_gil(self) -> bool {
        !matches!(self, Self::WithoutGil | Self::ClocksOnlyWithoutGil)
    }

    /// What cannot be told, in words.
    fn unknown(self) -> &'static [&'static str] {
        match self {
            Self::Full => &[],
            Self::WithoutGil => &["held: a free-threaded interpreter has no GIL to hold"],
            Self::StatesOnly => &[
                "held against released: all CPU time is counted as held",
                "waiting: time spent waiting for the GIL is counted as blocked on a lock",
            ],
            Self::ClocksOnly => &[
                "held against released: all CPU time is counted as held",
                "waiting: time spent waiting for the GIL is counted as blocked",
                "blocked kinds: all time off-CPU is counted as unknown",
            ],
            Self::ClocksOnlyWithoutGil => &[
                "held: a free-threaded interpreter has no GIL to hold",
                "blocked kinds: all time off-CPU is counted as unknown",
            ],
        }
    }
}

/// How often the metered thread was seen in each state, inside tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// On a core, holding the GIL.
    pub held_running: u64,
    /// Holding the GIL, runnable, but with no core at that instant.
    pub held_queued: u64,
    /// Holding the GIL while off-CPU in a call.
    pub held_blocked: u64,
    /// On a core, without the GIL.
    pub released_running: u64,
    /// Runnable, without the GIL and without a core.
    pub free_queued: u64,
    /// Off-CPU until the GIL is given up.
    pub waiting: u64,
    /// Woken to take the GIL, but not the holder yet: queues for a core, and waits still.
    pub waiting_woken: u64,
    /// Off-CPU in a call without the GIL.
    pub blocked: BTreeMap<BlockedKind, u64>,
}

impl Samples {
    /// All samples together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.held_running + self.held_queued + self.released_running + self.free_queued + self.off_cpu()
    }

    /// Add the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.held_running += other.held_running;
        self.held_queued += other.held_queued;
        self.held_blocked += other.held_blocked;
        self.released_running += other.released_running;
        self.free_queued += other.free_queued;
        self.waiting += other.waiting;
        self.waiting_woken += other.waiting_woken;
        for (kind, count) in &other.blocked {
            *self.blocked.entry(*kind).or_default() += count;
        }
    }

    fn off_cpu(&self) -> u64 {
        self.held_blocked + self.waiting + self.waiting_woken + self.blocked.values().sum::<u64>()
    }
}

/// Exact totals over all metered tasks; seconds unless a name says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Wall seconds of each task, in order.
    pub task_seconds: Vec<f64>,
    /// CPU of the metered thread.
    pub cpu: f64,
    /// Run-queue delay of the metered thread.
    pub queued: f64,
    /// CPU of child processes that ended.
    pub child_cpu: f64,
    /// CPU of all other threads of the process, the samplers' left out.
    pub others_cpu: f64,
    /// Of `others_cpu`: threads that are none of the tasks' business.
    pub foreign_cpu: f64,
    /// Minor page faults.
    pub minor_faults: u64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
}

/// What bursts of fast reads of the GIL saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bursts {
    /// How often the metered thread gave the GIL up.
    pub releases: u64,
    /// CPU seconds of the metered thread while bursts went on.
    pub cpu: f64,
}

/// Everything that the probe brings home.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What could be seen.
    pub sight: Sight,
    /// The samples of the metered thread.
    pub samples: Samples,
    /// The exact totals.
    pub totals: Totals,
    /// The bursts.
    pub bursts: Bursts,
    /// Achieved sampling rate, per second.
    pub rate_hz: f64,
    /// CPU seconds of the sampler per second of wall time.
    pub sampler_load: f64,
    /// More that cannot be told, in words.
    pub unknown: Vec<String>,
}

/// Wall time cut by exact clocks, before samples split it further.
struct Cut {
    wall: f64,
    cpu: f64,
    queued: f64,
    off_cpu: f64,
}

/// Make the ledger: means per task, whose parts add up to wall time.
#[must_use]
pub fn tally(evidence: &Evidence) -> Ledger {
    let totals = &evidence.totals;
    let tasks = totals.task_seconds.len();
    let mut unknown: Vec<String> = evidence.sight.unknown().iter().map(ToString::to_string).collect();
    unknown.extend(evidence.unknown.iter().cloned());
    let mut ledger = Ledger {
        tasks: tasks as u64,
        samples: evidence.samples.total(),
        rate_hz: finite(evidence.rate_hz),
        gil: evidence.sight.has_gil(),
        sampler_load: finite(evidence.sampler_load),
        unknown,
        ..Ledger::default()
    };
    if tasks == 0 {
        return ledger;
    }
    let per_task = 1.0 / tasks as f64;
    let cut = cut(evidence);
    let (parts, errors, held_off_cpu) = split(evidence, &cut);
    ledger.wall = cut.wall * per_task;
    ledger.parts = scaled(&parts, per_task);
    ledger.standard_error = scaled(&errors, per_task);
    ledger.held_off_cpu = held_off_cpu * per_task;
    ledger.cpu = finite(totals.cpu) * per_task;
    ledger.child_cpu = finite(totals.child_cpu) * per_task;
    let foreign = finite(totals.foreign_cpu).min(finite(totals.others_cpu));
    ledger.foreign_cpu = foreign * per_task;
    ledger.inner_cpu = (finite(totals.others_cpu) - foreign) * per_task;
    ledger.minor_faults = totals.minor_faults as f64 * per_task;
    ledger.voluntary_switches = totals.voluntary_switches as f64 * per_task;
    ledger.releases = releases(evidence, &cut, &parts) * per_task;
    ledger.queue_share = if cut.wall > 0.0 { (finite(totals.queued) / cut.wall).min(1.0) } else { 0.0 };
    describe_tasks(&mut ledger, &totals.task_seconds);
    ledger
}

/// Cut wall time by the clocks. Delay that samples saw as waiting for the GIL is left to them.
fn cut(evidence: &Evidence) -> Cut {
    let wall: f64 = evidence.totals.task_seconds.iter().map(|seconds| finite(*seconds)).sum();
    let cpu = finite(evidence.totals.cpu).min(wall);
    let woken = wall * share(evidence.samples.waiting_woken, evidence.samples.total());
    let mut queued = (finite(evidence.totals.queued).min(wall - cpu) - woken).max(0.0);
    let mut off_cpu = (wall - cpu - queued).max(0.0);
    if evidence.samples.off_cpu() == 0 && evidence.totals.voluntary_switches == 0 {
        // A thread that never gave its core up was never blocked: interrupts and the hypervisor took the rest.
        queued += off_cpu;
        off_cpu = 0.0;
    }
    Cut { wall, cpu, queued, off_cpu }
}

/// The parts, their standard errors, and the held time off-CPU; totals over all tasks.
fn split(evidence: &Evidence, cut: &Cut) -> (Parts, Parts, f64) {
    let samples = &evidence.samples;
    let mut parts = Parts { queued: cut.queued, ..Parts::default() };
    let woken = samples.waiting_woken;
    let queued_error =
        if woken > 0 { deviation(cut.wall, woken as f64, samples.total() as f64) } else { 0.0 };
    let mut errors = Parts { queued: queued_error, ..Parts::default() };
    split_cpu(evidence, cut, &mut parts, &mut errors);

    let seen = samples.off_cpu();
    if seen == 0 {
        if cut.off_cpu > 0.0 {
            parts.blocked.insert(BlockedKind::Unknown, cut.off_cpu);
            errors.blocked.insert(BlockedKind::Unknown, cut.off_cpu);
            errors.waiting = if evidence.sight.has_gil() { cut.off_cpu } else { 0.0 };
        }
        return (parts, errors, 0.0);
    }
    let portion = |count: u64| cut.off_cpu * share(count, seen);
    let doubt = |count: u64| deviation(cut.off_cpu, count as f64, seen as f64);
    let waiting = samples.waiting + samples.waiting_woken;
    parts.waiting = portion(waiting);
    errors.waiting = if evidence.sight == Sight::Full { doubt(waiting) } else { 0.0 };
    for (kind, count) in samples.blocked.iter().filter(|(_, count)| **count > 0) {
        parts.blocked.insert(*kind, portion(*count));
        errors.blocked.insert(*kind, doubt(*count));
    }
    let held_off_cpu = portion(samples.held_blocked);
    parts.held += held_off_cpu;
    if samples.held_blocked > 0 {
        errors.held = errors.held.hypot(doubt(samples.held_blocked));
    }
    (parts, errors, held_off_cpu)
}

fn split_cpu(evidence: &Evidence, cut: &Cut, parts: &mut Parts, errors: &mut Parts) {
    if !evidence.sight.has_gil() {
        parts.released = cut.cpu;
        return;
    }
    let (held, released) = match evidence.sight {
        Sight::Full => running(&evidence.samples, cut),
        _ => (0.0, 0.0),
    };
    let seen = held + released;
    let held_share = if seen > 0.0 { held / seen } else { 1.0 };
    parts.held = cut.cpu * held_share;
    parts.released = cut.cpu - parts.held;
    errors.held = if seen > 0.0 { deviation(cut.cpu, held, seen) } else { cut.cpu };
    errors.released = errors.held;
}

/// Samples that saw the thread run, holding the GIL or not.
///
/// A thread seen without a core either queued for it or was pushed off it by the sampler itself at that very
/// instant. The scheduler's exact delay says how many of these samples were true queueing; the rest ran.
fn running(samples: &Samples, cut: &Cut) -> (f64, f64) {
    let without_core = samples.held_queued + samples.free_queued;
    let mut pushed_off = 0.0;
    if without_core > 0 && cut.wall > 0.0 {
        let truly_queued = samples.total() as f64 * cut.queued / cut.wall;
        pushed_off = (1.0 - truly_queued / without_core as f64).max(0.0);
    }
    (
        samples.held_running as f64 + pushed_off * samples.held_queued as f64,
        samples.released_running as f64 + pushed_off * samples.free_queued as f64,
    )
}

/// Releases of the GIL over all tasks: by the bursts' rate per CPU second, and at least one for each time
/// the thread gave its core up in a call that was not the wait for the GIL itself.
fn releases(evidence: &Evidence, cut: &Cut, parts: &Parts) -> f64 {
    if evidence.sight != Sight::Full {
        return 0.0;
    }
    let blocked = parts.blocked_total();
    let off_cpu = blocked + parts.waiting + parts.held;
    let gave_up = if off_cpu > 0.0 && blocked > 0.0 { blocked / (blocked + parts.waiting) } else { 0.0 };
    let at_least = evidence.totals.voluntary_switches as f64 * gave_up;
    let seen = if evidence.bursts.cpu > 0.0 {
        finite(evidence.bursts.releases as f64 / evidence.bursts.cpu * cut.cpu)
    } else {
        0.0
    };
    seen.max(at_least)
}

fn describe_tasks(ledger: &mut Ledger, seconds: &[f64]) {
    ledger.first = seconds.first().copied().map_or(0.0, finite);
    let typical = if seconds.len() >= 3 { &seconds[1..] } else { seconds };
    ledger.longest = typical.iter().copied().map(finite).fold(0.0, f64::max);
    if typical.len() < 2 {
        return;
    }
    let count = typical.len() as f64;
    let mean = typical.iter().copied().map(finite).sum::<f64>() / count;
    let squares: f64 = typical.iter().map(|value| (finite(*value) - mean).powi(2)).sum();
    ledger.spread = (squares / (count - 1.0)).sqrt();
}

/// One standard error of `whole * count / of`.
fn deviation(whole: f64, count: f64, of: f64) -> f64 {
    let chance = ((count + 0.5) / (of + 1.0)).clamp(0.0, 1.0);
    whole * (chance * (1.0 - chance) / (of + 1.0)).sqrt()
}

fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

fn scaled(parts: &Parts, factor: f64) -> Parts {
    Parts {
        held: parts.held * factor,
        released: parts.released * factor,
        waiting: parts.waiting * factor,
        queued: parts.queued * factor,
        blocked: parts.blocked.iter().map(|(kind, seconds)| (*kind, seconds * factor)).collect(),
    }
}

/// Clocks that ran backwards or were never read count as nothing.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

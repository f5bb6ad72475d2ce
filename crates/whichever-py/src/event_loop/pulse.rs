//! What a loop shows of itself to the watchdog beside it, for a store or two a callback and no clock; and what that found.
//!
//! Only the loop's thread writes `step`, the turn and `is_asleep`. The watchdog's findings are about a step: what it finds
//! of one that is over meanwhile is nobody's, and is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use whichever_probe::Doing;

/// From how long on a callback is slow: asyncio's own default.
const SLOW_NS: u64 = 100_000_000;

/// See the module.
pub(super) struct Pulse {
    /// Another one with each callback that begins, and with each end of a sleep. Never 0 once there was one.
    step: AtomicU64,
    /// Whether the loop waits in the kernel.
    is_asleep: AtomicBool,
    /// When the present turn, or the end of the sleep before it, began, and its first step.
    turn_ns: AtomicU64,
    first_step: AtomicU64,
    /// From how many nanoseconds on a callback is called slow.
    pub(super) slow_ns: AtomicU64,
    /// The step that the watchdog found slow; 0 while there is none. Written by the watchdog, taken back by the loop.
    suspect: AtomicU64,
    finding: Mutex<Option<Finding>>,
}

/// What the watchdog found of a step.
pub(super) struct Finding {
    step: u64,
    pub(super) began_ns: u64,
    pub(super) looks: Looks,
    /// The callback's name and where it was, as `whichever.loop._slow.sight` says it.
    pub(super) sight: Option<Py<PyAny>>,
}

/// How often a thread was seen doing what.
#[derive(Clone, Default)]
pub(super) struct Looks(Vec<(Doing, u32)>);

impl Looks {
    pub(super) fn add(&mut self, doing: Doing) {
        match self.0.iter_mut().find(|(known, _)| *known == doing) {
            Some((_, times)) => *times += 1,
            None => self.0.push((doing, 1)),
        }
    }

    /// What it was seen doing most: the state, the kind of wait, the system call.
    pub(super) fn in_words(&self) -> (&'static str, Option<&'static str>, Option<&'static str>) {
        let most = self.0.iter().max_by_key(|(_, times)| *times).map(|(doing, _)| *doing);
        match most {
            Some(Doing::Blocked { kind, call }) => ("blocked", Some(kind.name()), call),
            other => (other.map_or("unknown", Doing::name), None, None),
        }
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            step: AtomicU64::new(0),
            is_asleep: AtomicBool::new(false),
            turn_ns: AtomicU64::new(0),
            first_step: AtomicU64::new(0),
            slow_ns: AtomicU64::new(SLOW_NS),
            suspect: AtomicU64::new(0),
            finding: Mutex::new(None),
        }
    }
}

/// The loop's side.
impl Pulse {
    /// A callback begins.
    #[inline]
    pub(super) fn beat(&self) {
        // One thread writes, so that nothing is lost between the two.
        self.step.store(self.step.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A turn begins, whose first callback is the next step.
    pub(super) fn turn(&self, now_ns: u64) {
        self.turn_ns.store(now_ns, Ordering::Relaxed);
        self.first_step.store(self.step.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn sleep(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
    }

    /// The kernel has let the loop go, which may yet have to wait for the GIL: that is a step, too.
    pub(super) fn wake(&self, now_ns: u64) {
        self.turn(now_ns);
        self.beat();
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the present step was found slow.
    #[inline]
    pub(super) fn is_suspect(&self) -> bool {
        let suspect = self.suspect.load(Ordering::Relaxed);
        suspect != 0 && suspect == self.step.load(Ordering::Relaxed)
    }

    /// Take what was found of the present step.
    pub(super) fn take_finding(&self) -> Option<Finding> {
        self.suspect.store(0, Ordering::Relaxed);
        let step = self.step.load(Ordering::Relaxed);
        self.findings().take().filter(|finding| finding.step == step)
    }

    /// How many callbacks have begun since the turn did.
    pub(super) fn begun(&self) -> u64 {
        let next = self.step.load(Ordering::Relaxed) + 1;
        next.saturating_sub(self.first_step.load(Ordering::Relaxed))
    }

    fn findings(&self) -> MutexGuard<'_, Option<Finding>> {
        self.finding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watchdog's side.
impl Pulse {
    /// The step that the loop is in; None while it sleeps.
    pub(super) fn awake_step(&self) -> Option<u64> {
        let step = self.step();
        (!self.is_asleep.load(Ordering::Relaxed)).then_some(step)
    }

    pub(super) fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    /// When a step began, which lies between two instants: exactly, for the first of a turn.
    pub(super) fn began_ns(&self, step: u64, (after_ns, before_ns): (u64, u64)) -> u64 {
        let after_ns = after_ns.max(self.turn_ns.load(Ordering::Relaxed)).min(before_ns);
        if self.first_step.load(Ordering::Relaxed) == step { after_ns } else { after_ns.midpoint(before_ns) }
    }

    /// Say that a step is slow. Gives back what was found of another one.
    pub(super) fn find(&self, step: u64, began_ns: u64, looks: Looks) -> Option<Finding> {
        let other = self.findings().replace(Finding { step, began_ns, looks, sight: None });
        self.suspect.store(step, Ordering::Relaxed);
        other
    }

    /// Add to what was found of a step.
    pub(super) fn find_more(&self, step: u64, more: impl FnOnce(&mut Finding)) {
        if let Some(finding) = self.findings().as_mut().filter(|finding| finding.step == step) {
            more(finding);
        }
    }
}

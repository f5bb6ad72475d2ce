//! One task in steady state, as the forecasts see it: taken from the ledger, the first task's extra set apart.

use crate::{BlockedKind, Question};

/// How much longer than the typical task the first must be to count as a warm-up (imports, cold caches).
const WARMUP_RATIO: f64 = 1.7;
/// The others must be this even, or the first is just a long one of uneven tasks.
const EVEN_RATIO: f64 = 2.5;
/// Below this a longer first task is noise.
const WARMUP_LEAST_S: f64 = 1e-3;
/// How many times as long CPU time takes at most while other programs use the machine: three of them for each core.
const MOST_LOAD: f64 = 4.0;
/// The fewest tasks that show what is typical.
const WARMUP_LEAST_TASKS: usize = 3;

/// Seconds and counts per task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    /// Holding the GIL, off-CPU time under the GIL included.
    pub(crate) held: f64,
    /// On a core without the GIL.
    pub(crate) released: f64,
    /// Off-CPU in calls.
    pub(crate) blocked: f64,
    /// Of `blocked`: what stops an event loop, since only readiness (poll) is a coroutine's own waiting.
    pub(crate) blocked_loop: f64,
    /// Of `held`: off-CPU all the same.
    pub(crate) held_off_cpu: f64,
    /// CPU of child processes and of inner threads.
    pub(crate) child_cpu: f64,
    pub(crate) inner_cpu: f64,
    /// CPU of other programs while the task waits for them: a server on the same machine uses the same cores.
    pub(crate) served_cpu: f64,
    /// GIL releases.
    pub(crate) releases: f64,
    /// Once per process: what the first task took longer.
    pub(crate) warmup: f64,
    /// Standard error of `wall()` over it.
    pub(crate) wall_error: f64,
    /// Standard error of `held`, in seconds.
    pub(crate) held_error: f64,
    /// Standard deviation of the tasks' lengths over their mean.
    pub(crate) variation: f64,
}

impl Task {
    pub(crate) fn new(question: &Question) -> Self {
        let ledger = &question.ledger;
        let warmup = warmup(&question.task_seconds);
        let steady = steady(&question.task_seconds, warmup > 0.0);
        let metered = mean(steady).unwrap_or(ledger.wall);
        // A clock read around each task is part of its measured length; at least half of that is the task's.
        let mean = metered - question.costs.metering.min(metered / 2.0);
        // Waiting for the GIL is other threads' doing: the task alone has none. Queueing for a core is too, but every
        // engine meets it: while others use the machine, CPU time takes that much longer. A task that hardly computes
        // queues when it has waited and goes on: that is a part of its waiting.
        let parts = &ledger.parts;
        let cpu = parts.held + parts.released;
        let queued = parts.queued.min((MOST_LOAD - 1.0) * cpu);
        let load = if cpu > 0.0 { 1.0 + queued / cpu } else { 1.0 };
        let late = parts.queued - queued;
        let own = parts.total() - parts.waiting;
        let scale = if own > 0.0 { mean / ledger.wall.max(f64::MIN_POSITIVE) } else { 1.0 };
        let held = parts.held * scale * load;
        let released = parts.released * scale * load;
        let blocked = (parts.blocked_total() + late) * scale;
        let readiness = (parts.blocked.get(&BlockedKind::Poll).copied().unwrap_or(0.0) + late) * scale;
        let deviation = deviation(steady, mean);
        Self {
            held,
            released,
            blocked,
            blocked_loop: (blocked - readiness).max(0.0),
            held_off_cpu: ledger.held_off_cpu * scale,
            // Children that began earlier may end, and be counted, inside a task: no more than the cores could do.
            child_cpu: (ledger.child_cpu * scale * load).min(mean * question.costs.cores),
            inner_cpu: ledger.inner_cpu * scale * load,
            served_cpu: (question.others_busy * mean).min(served(question) * scale),
            releases: ledger.releases * scale,
            warmup,
            wall_error: standard_error(steady.len(), deviation, mean),
            held_error: ledger.standard_error.held * scale * load,
            variation: if mean > 0.0 { deviation / mean } else { 0.0 },
        }
    }

    /// Wall seconds of the task alone.
    pub(crate) fn wall(&self) -> f64 {
        self.held + self.released + self.blocked
    }

    /// CPU seconds that the task needs from the cores, whoever burns them.
    pub(crate) fn cores_cpu(&self) -> f64 {
        (self.held - self.held_off_cpu).max(0.0) + self.released + self.child_cpu + self.inner_cpu
    }
}

/// Seconds a task waits for what another program may have to compute first.
fn served(question: &Question) -> f64 {
    let kinds = [BlockedKind::Network, BlockedKind::Pipe, BlockedKind::Poll];
    kinds.iter().filter_map(|kind| question.ledger.parts.blocked.get(kind)).sum()
}

fn warmup(seconds: &[f64]) -> f64 {
    let Some((first, rest)) = seconds.split_first() else { return 0.0 };
    if seconds.len() < WARMUP_LEAST_TASKS {
        return 0.0;
    }
    let mut sorted = rest.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (typical, longest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let stands_out = *first > WARMUP_RATIO * typical && *first >= longest;
    let others_even = longest <= EVEN_RATIO * typical;
    let extra = first - typical;
    if stands_out && others_even && extra > WARMUP_LEAST_S { extra } else { 0.0 }
}

fn steady(seconds: &[f64], warm: bool) -> &[f64] {
    if warm { &seconds[1..] } else { seconds }
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / count(values.len())) }
}

fn deviation(values: &[f64], mean: f64) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / count(values.len() - 1)).sqrt()
}

/// One task tells nothing of the others: half its length is as good a guess as any.
fn standard_error(tasks: usize, deviation: f64, mean: f64) -> f64 {
    match tasks {
        0 | 1 => 0.5,
        _ if mean > 0.0 => deviation / mean / count(tasks).sqrt(),
        _ => 0.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tasks stay far below 2^52")]
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ledger, Parts};

    fn question(seconds: &[f64]) -> Question {
        let wall = mean(seconds).unwrap();
        let parts = Parts { held: wall * 0.5, released: wall * 0.5, ..Parts::default() };
        let ledger = Ledger { wall, parts, tasks: seconds.len() as u64, ..Ledger::default() };
        Question { ledger, task_seconds: seconds.to_vec(), ..Question::default() }
    }

    #[test]
    fn the_first_tasks_imports_are_set_apart() {
        let task = Task::new(&question(&[0.5, 0.01, 0.01, 0.01]));
        assert!((task.warmup - 0.49).abs() < 1e-9);
        assert!((task.wall() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn uneven_tasks_are_not_taken_for_a_warmup() {
        let task = Task::new(&question(&[0.02, 0.015, 0.012, 0.018]));
        assert!(task.warmup.abs() < 1e-12);
        assert!(task.variation > 0.1);
    }

    #[test]
    fn time_in_the_run_queue_lengthens_what_needs_a_core() {
        let mut asked = question(&[1.0; 4]);
        asked.ledger.parts = Parts { held: 0.3, released: 0.1, queued: 0.4, ..Parts::default() };
        asked.ledger.parts.blocked.insert(BlockedKind::Sleep, 0.2);
        let task = Task::new(&asked);
        assert!((task.wall() - 1.0).abs() < 1e-9 && (task.held - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_nap_that_ends_late_on_a_busy_machine_is_no_work() {
        let mut asked = question(&[0.03; 4]);
        asked.ledger.parts = Parts { held: 3e-5, queued: 0.009, ..Parts::default() };
        asked.ledger.parts.blocked.insert(BlockedKind::Sleep, 0.02);
        asked.ledger.inner_cpu = 0.0012;
        let task = Task::new(&asked);
        assert!((task.wall() - 0.03).abs() < 0.001 && task.held < 2e-4, "{task:?}");
        assert!(task.inner_cpu < 0.005 && task.blocked_loop < 0.025, "{task:?}");
    }

    #[test]
    fn one_task_is_no_certainty() {
        assert!(Task::new(&question(&[1.0])).wall_error > 0.3);
    }
}

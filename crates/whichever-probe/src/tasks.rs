//! The exact side of the ledger: wall time of every task, and the clocks between borders.
//!
//! Wall time is read around each task. The other clocks are dear, so tasks that follow each other closely and
//! are short share a pair of borders: a batch. CPU time between the tasks of a batch is the caller's; the gaps
//! are known and short, and are taken off as running time. Pure: borders and instants are arguments.

use whichever_model::Totals;

use crate::border::Border;

/// A task this long has borders of its own.
const SHORT_NS: u64 = 50_000;
/// A gap this long between two tasks ends the batch.
const GAP_NS: u64 = 10_000;
/// A batch ends after this many tasks, or this long: what a border costs is then below 1 % of it.
const BATCH_TASKS: u64 = 32;
const BATCH_NS: u64 = 500_000;

/// What to do at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// Read a border and give it back.
    Border,
}

/// Tasks between two borders.
#[derive(Clone, Debug, Default)]
struct Batch {
    start: Border,
    tasks: u64,
    tasks_ns: u64,
    /// Time between the tasks, the caller's.
    gaps_ns: u64,
    /// When the last task ended.
    end_ns: u64,
}

/// Signed totals in nanoseconds: clocks of other threads lag, so a batch may be negative where the sum is not.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    cpu: i128,
    delay: i128,
    children: i128,
    others: i128,
    minor_faults: u64,
    voluntary_switches: u64,
}

/// The tasks of one meter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    seconds: Vec<f64>,
    sums: Sums,
    batch: Option<Batch>,
    /// When the running task began; `None` between tasks.
    started_ns: Option<u64>,
    /// CPU that reading a pair of borders itself costs.
    border_cpu_ns: u64,
}

impl Tasks {
    /// With the CPU cost of a pair of borders, as measured.
    pub(crate) fn new(border_cpu_ns: u64) -> Self {
        Self { border_cpu_ns, ..Self::default() }
    }

    /// Wall seconds of each task that returned.
    pub(crate) fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// Whether a task is running.
    pub(crate) fn is_running(&self) -> bool {
        self.started_ns.is_some()
    }

    /// Whether the task that begins now needs a border: `open` takes it.
    pub(crate) fn before(&self, now_ns: u64) -> Need {
        match &self.batch {
            Some(batch) if now_ns.saturating_sub(batch.end_ns) <= GAP_NS => Need::Nothing,
            _ => Need::Border,
        }
    }

    /// Start a batch at `border`, ending the one before there.
    pub(crate) fn open(&mut self, border: Border) {
        self.finish(border);
        self.batch = Some(Batch { start: border, end_ns: border.wall_ns, ..Batch::default() });
    }

    /// A task begins.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        if let Some(batch) = &mut self.batch {
            batch.gaps_ns += if batch.tasks == 0 { 0 } else { now_ns.saturating_sub(batch.end_ns) };
        }
        self.started_ns = Some(now_ns);
    }

    /// The task returned. `Need::Border`: `close` takes one.
    pub(crate) fn end(&mut self, now_ns: u64) -> Need {
        let Some(started_ns) = self.started_ns.take() else { return Need::Nothing };
        let task_ns = now_ns.saturating_sub(started_ns);
        self.seconds.push(task_ns as f64 * 1e-9);
        let Some(batch) = &mut self.batch else { return Need::Nothing };
        batch.tasks += 1;
        batch.tasks_ns += task_ns;
        batch.end_ns = now_ns;
        let is_long = task_ns > SHORT_NS
            || batch.tasks >= BATCH_TASKS
            || now_ns.saturating_sub(batch.start.wall_ns) > BATCH_NS;
        if is_long { Need::Border } else { Need::Nothing }
    }

    /// The task raised: its time is the caller's. `Need::Border`: `close` takes one for the tasks before it.
    pub(crate) fn fail(&mut self, now_ns: u64) -> Need {
        let Some(started_ns) = self.started_ns.take() else { return Need::Nothing };
        match &mut self.batch {
            Some(batch) if batch.tasks > 0 => {
                batch.gaps_ns += now_ns.saturating_sub(started_ns);
                batch.end_ns = now_ns;
                Need::Border
            }
            _ => {
                self.batch = None;
                Need::Nothing
            }
        }
    }

    /// End the batch at `border`, which comes some time after its last task.
    pub(crate) fn finish(&mut self, border: Border) {
        if let Some(batch) = &mut self.batch {
            batch.gaps_ns += border.wall_ns.saturating_sub(batch.end_ns);
        }
        self.close(border);
    }

    /// End the batch at `border`, taken when its last task ended.
    pub(crate) fn close(&mut self, border: Border) {
        let Some(batch) = self.batch.take().filter(|batch| batch.tasks > 0) else { return };
        let start = batch.start;
        let since = |after: u64, before: u64| i128::from(after) - i128::from(before);
        let cpu_ns = since(border.cpu_ns, start.cpu_ns);
        let outside_ns = i128::from(batch.gaps_ns + self.border_cpu_ns);
        // What cannot be told apart in time is the tasks' by their share of the batch.
        let share = |all_ns: i128| {
            all_ns * i128::from(batch.tasks_ns) / i128::from((batch.tasks_ns + batch.gaps_ns).max(1))
        };
        // A caller that slept between tasks has used less than its gaps: then take its part by length.
        let own_ns = if cpu_ns > outside_ns { cpu_ns - outside_ns } else { share(cpu_ns) };
        self.sums.cpu += own_ns.clamp(0, i128::from(batch.tasks_ns));
        self.sums.delay += share(since(border.delay_ns, start.delay_ns));
        self.sums.children += since(border.children_ns, start.children_ns);
        self.sums.others += share(
            since(border.process_ns, start.process_ns)
                - cpu_ns
                - since(border.samplers_ns, start.samplers_ns),
        );
        self.sums.minor_faults += border.usage.minor_faults.saturating_sub(start.usage.minor_faults);
        self.sums.voluntary_switches +=
            border.usage.voluntary_switches.saturating_sub(start.usage.voluntary_switches);
    }

    /// Whether tasks wait for a border to be counted.
    pub(crate) fn has_open_batch(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.tasks > 0)
    }

    /// The totals of all closed batches; `foreign_cpu` is for others to fill in.
    pub(crate) fn totals(&self) -> Totals {
        let seconds = |nanoseconds: i128| nanoseconds.max(0) as f64 * 1e-9;
        Totals {
            task_seconds: self.seconds.clone(),
            cpu: seconds(self.sums.cpu),
            queued: seconds(self.sums.delay),
            child_cpu: seconds(self.sums.children),
            others_cpu: seconds(self.sums.others),
            foreign_cpu: 0.0,
            minor_faults: self.sums.minor_faults,
            voluntary_switches: self.sums.voluntary_switches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn border(wall_ns: u64, cpu_ns: u64) -> Border {
        Border { wall_ns, cpu_ns, process_ns: cpu_ns, ..Border::default() }
    }

    fn seconds_are(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-12
    }

    #[test]
    fn a_long_task_has_borders_of_its_own() {
        let mut tasks = Tasks::new(0);
        assert_eq!(tasks.before(0), Need::Border);
        tasks.open(border(0, 100));
        tasks.begin(10);
        assert_eq!(tasks.end(1_000_010), Need::Border);
        tasks.close(border(1_000_020, 400_100));
        assert!(seconds_are(tasks.totals().cpu, 400e-6));
        assert!(seconds_are(tasks.seconds()[0], 1e-3));
        assert_eq!(tasks.before(1_000_030), Need::Border);
    }

    #[test]
    fn short_tasks_share_borders_and_the_gaps_are_the_callers() {
        let mut tasks = Tasks::new(0);
        tasks.open(border(0, 0));
        for number in 0..BATCH_TASKS {
            let start = number * 3_000;
            assert_eq!(tasks.before(start), Need::Nothing);
            tasks.begin(start);
            let wanted = if number + 1 == BATCH_TASKS { Need::Border } else { Need::Nothing };
            assert_eq!(tasks.end(start + 1_000), wanted);
        }
        let end = (BATCH_TASKS - 1) * 3_000 + 1_000;
        tasks.close(border(end, end));
        assert!(seconds_are(tasks.totals().cpu, BATCH_TASKS as f64 * 1e-6));
    }

    #[test]
    fn a_caller_that_slept_between_tasks_takes_no_cpu_from_them() {
        let mut tasks = Tasks::new(0);
        tasks.open(border(0, 0));
        tasks.begin(0);
        tasks.end(10_000);
        assert_eq!(tasks.before(5_000_000), Need::Border);
        tasks.open(border(5_000_000, 11_000));
        assert!(tasks.totals().cpu > 0.0);
        assert!(tasks.totals().cpu <= 10e-6);
    }

    #[test]
    fn a_task_that_raised_is_not_counted() {
        let mut tasks = Tasks::new(0);
        tasks.open(border(0, 0));
        tasks.begin(0);
        assert_eq!(tasks.fail(1_000), Need::Nothing);
        assert!(tasks.seconds().is_empty());
        tasks.open(border(2_000, 2_000));
        tasks.begin(2_000);
        tasks.end(5_000);
        tasks.begin(5_000);
        assert_eq!(tasks.fail(9_000), Need::Border);
        tasks.close(border(9_000, 9_000));
        assert!(seconds_are(tasks.totals().cpu, 3e-6));
        assert_eq!(tasks.seconds().len(), 1);
    }

    #[test]
    fn clocks_that_lag_do_not_make_a_total_negative() {
        let mut tasks = Tasks::new(0);
        tasks.open(Border { process_ns: 5_000, ..border(0, 0) });
        tasks.begin(0);
        tasks.end(100_000);
        tasks.close(border(100_000, 2_000));
        assert!(seconds_are(tasks.totals().others_cpu, 0.0));
    }
}

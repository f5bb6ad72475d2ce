//! Watches a long run in windows of time: whether tasks still are what they were when its engine was chosen.
//!
//! Two cheap figures tell: seconds that pass for each task that ends, and CPU seconds that it takes. Both are compared in
//! logarithms with their own mean and spread so far (exponentially weighted), so that uneven tasks need more to be called
//! changed than even ones. A single strange window proves nothing: a garbage collection, one long task. Nor does one in
//! which other programs took more or less of the machine than before: then more time passes, and the tasks are the same.
//!
//! The first windows teach what is usual. If tasks had changed just before them, that would be the new for the old; so they
//! are compared with the CPU time that tasks took under the meter, which other programs hardly change.

/// What one window saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Tasks that ended in it.
    pub tasks: u64,
    /// Its length.
    pub seconds: f64,
    /// CPU seconds that the tasks took meanwhile.
    pub cpu: f64,
    /// Cores that other programs of the machine took meanwhile; 0 where that cannot be told.
    pub others: f64,
}

/// Windows that only teach what is usual.
const LEARNING: u32 = 2;
/// Strange windows in a row that mean a change.
const STRANGE: u32 = 2;
/// Change of a figure below which none is strange, as a logarithm: 1.4 times.
const LEAST: f64 = 0.336;
/// And how many standard deviations.
const DEVIATIONS: f64 = 3.0;
/// Weight of the newest window in mean and spread.
const WEIGHT: f64 = 0.25;
/// CPU below this share of the time says nothing by its ratio: it is hardly any.
const LITTLE_CPU: f64 = 0.02;
/// Change of the cores that others take from which on the pace of tasks is theirs to explain.
const OTHERS: f64 = 0.25;

/// How many times as much, or as little, CPU a task must take than under the meter to be another one, as a logarithm: 3.
const OTHER: f64 = 1.099;
/// CPU seconds that an engine adds to each task, at most.
const ADDED_CPU: f64 = 1e-5;

/// CPU seconds that a task took under the meter.
#[derive(Clone, Copy, Debug)]
struct Metered {
    cpu: f64,
    /// Whether windows have the CPU of others in them, such as of who reads the results: then only less tells anything.
    is_shared: bool,
}

impl Metered {
    fn contradicts(self, window: &Window, tasks: f64) -> bool {
        let little = LITTLE_CPU * window.seconds / tasks + ADDED_CPU;
        let off = (window.cpu.max(0.0) / tasks + little).ln() - (self.cpu.max(0.0) + little).ln();
        off < -OTHER || (off > OTHER && !self.is_shared)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Trend {
    mean: f64,
    variance: f64,
    seen: u32,
}

impl Trend {
    fn is_strange(&self, value: f64) -> bool {
        self.seen >= LEARNING && (value - self.mean).abs() > LEAST.max(DEVIATIONS * self.variance.sqrt())
    }

    fn learn(&mut self, value: f64) {
        self.seen += 1;
        if self.seen == 1 {
            self.mean = value;
            return;
        }
        let weight = WEIGHT.max(1.0 / f64::from(self.seen));
        let off = value - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Pilot {
    pace: Trend,
    cpu: Trend,
    others: f64,
    strange: u32,
    metered: Option<Metered>,
}

impl Pilot {
    /// A pilot that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A pilot that knows how much `cpu` a task took under the meter; `is_shared` says that windows have more than
    /// that of tasks in them.
    #[must_use]
    pub fn of_metered(cpu: f64, is_shared: bool) -> Self {
        Self { metered: Some(Metered { cpu, is_shared }), ..Self::default() }
    }

    /// Take a window in. True when tasks have changed: then it has forgotten what they were before.
    pub fn observe(&mut self, window: Window) -> bool {
        if window.tasks == 0 || window.seconds <= 0.0 || window.seconds.is_nan() {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "tasks of one window are few")]
        let tasks = window.tasks as f64;
        let pace = (window.seconds / tasks).ln();
        let cpu = (window.cpu.max(0.0) + LITTLE_CPU * window.seconds).ln() - tasks.ln();
        let is_disturbed = self.pace.seen > 0 && (window.others - self.others).abs() > OTHERS;
        self.others +=
            if self.pace.seen == 0 { window.others } else { WEIGHT * (window.others - self.others) };
        if is_disturbed && !self.cpu.is_strange(cpu) {
            return false;
        }
        let is_other =
            self.pace.seen < LEARNING && self.metered.is_some_and(|m| m.contradicts(&window, tasks));
        if is_other || self.pace.is_strange(pace) || self.cpu.is_strange(cpu) {
            self.strange += 1;
            if self.strange < STRANGE {
                return false;
            }
            *self = Self::new();
            return true;
        }
        self.strange = 0;
        self.pace.learn(pace);
        self.cpu.learn(cpu);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(tasks: u64, seconds: f64, cpu: f64) -> Window {
        Window { tasks, seconds, cpu, others: 0.0 }
    }

    fn steady(pilot: &mut Pilot) {
        for _ in 0..10 {
            assert!(!pilot.observe(window(100, 0.05, 0.05)));
        }
    }

    #[test]
    fn tasks_that_take_twice_as_long_have_changed() {
        let mut pilot = Pilot::new();
        steady(&mut pilot);
        assert!(!pilot.observe(window(50, 0.05, 0.05)), "one window proves nothing");
        assert!(pilot.observe(window(50, 0.05, 0.05)));
    }

    #[test]
    fn tasks_that_begin_to_wait_have_changed_even_at_the_same_pace() {
        let mut pilot = Pilot::new();
        steady(&mut pilot);
        assert!(!pilot.observe(window(100, 0.05, 0.0)));
        assert!(pilot.observe(window(100, 0.05, 0.0)));
    }

    #[test]
    fn tasks_that_are_others_from_the_first_window_on_have_changed() {
        let changes = |metered: f64, shared: bool, cpu: f64| {
            let mut pilot = Pilot::of_metered(metered, shared);
            (0..10).filter(|_| pilot.observe(window(10, 0.05, cpu))).count()
        };
        assert_eq!(changes(0.004, false, 0.0), 1, "naps in place of work");
        assert_eq!(changes(0.0, false, 0.05), 1, "work in place of naps");
        assert_eq!(changes(0.0, true, 0.05), 0, "or the reader's");
        assert_eq!(changes(0.004, true, 0.0), 1);
        assert_eq!(changes(0.004, false, 0.045), 0);
        assert_eq!(changes(1e-6, false, 1e-4), 0, "what an engine adds to tiny tasks");
    }

    #[test]
    fn a_neighbour_that_slows_tasks_down_has_not_changed_them() {
        let mut pilot = Pilot::new();
        steady(&mut pilot);
        for others in [0.0, 0.9, 1.0, 1.0, 0.3, 0.0, 0.0] {
            let seconds = 0.05 * (1.0 + others);
            let changed = pilot.observe(Window { tasks: 100, seconds, cpu: 0.05, others });
            assert!(!changed, "{others}");
        }
    }

    #[test]
    fn one_strange_window_is_forgotten() {
        let mut pilot = Pilot::new();
        steady(&mut pilot);
        for _ in 0..5 {
            assert!(!pilot.observe(window(10, 0.05, 0.05)));
            assert!(!pilot.observe(window(100, 0.05, 0.05)));
        }
    }

    #[test]
    fn after_a_change_the_new_is_the_usual() {
        let mut pilot = Pilot::new();
        steady(&mut pilot);
        let changes = (0..20).filter(|_| pilot.observe(window(20, 0.05, 0.05))).count();
        assert_eq!(changes, 1);
    }

    #[test]
    fn empty_windows_say_nothing() {
        let mut pilot = Pilot::new();
        steady(&mut pilot);
        assert!(
            (0..10).all(|_| !pilot.observe(window(0, 0.05, 0.05)) && !pilot.observe(window(3, 0.0, 0.0)))
        );
    }

    proptest! {
        #[test]
        fn figures_that_waver_within_a_fifth_never_change(
            wavers in proptest::collection::vec((0.82..1.2_f64, 0.82..1.2_f64), 1..200)
        ) {
            let mut pilot = Pilot::new();
            for (pace, cpu) in wavers {
                // 0.82 to 1.2 are at most 1.46 apart; from their mean, less than LEAST.
                let changed = pilot.observe(window(100, 0.05 * pace.powf(0.8), 0.04 * cpu.powf(0.8)));
                prop_assert!(!changed);
            }
        }
    }
}

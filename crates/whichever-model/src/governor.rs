//! How many threads work on tasks that wait: found by what came of more of them, and of fewer.
//!
//! While all tasks wait and no core is used, more threads cannot hurt: until tasks have ended that would tell, there are
//! more at once (the first turn). If a core is full by then, there are as many as keep it so. From then on a step must show what it brought, in tasks that end per second. A step up
//! that brought next to nothing is taken back, and the next attempt waits longer. Tasks that take clearly longer than they
//! did among few are a sign that threads wait for something that they share, a server or the GIL: then fewer are tried, and
//! fewer still, as long as as many tasks end. The test of both is the same rate, so that uneven tasks, which make the sign a false one, cost
//! no more than one turn; what was measured then is the new usual.
//!
//! The idea of the sign is TCP Vegas's (Brakmo, O'Malley, Peterson 1994): by Little's law the threads at work over the rate
//! are the time that a task takes. Rates are compared over turns in which tasks were waiting all the time.

/// Times as many threads while no task has told yet what threads bring.
const BLIND: usize = 8;
/// Times as many threads once tasks have told that they bring something.
const STEP: usize = 4;
/// Share of a turn that has ended by when tasks tell.
const TELLING: u64 = 4;
/// Of the first tasks this part tells how long one takes among few.
const FIRST: u64 = 16;
/// Cores that tasks with as many threads may keep busy, going by what they have taken so far.
const FULL: f64 = 1.0;
/// Of the time that the first task took, the part that as many threads as are enough then may fill.
const FIRST_FULL: f64 = 2.0;
/// CPU seconds that it takes to start a thread, about: no task's own.
const STARTING: f64 = 1e-4;
/// A step up must bring this share of what it would if no thread hindered another.
const WORTH: f64 = 0.25;
/// Share of what cores can do from which on they are full.
const NEARLY: f64 = 0.85;
/// A rate that is higher by less is the same.
const SAME: f64 = 1.05;
/// So much of the rate must be left with fewer threads.
const LEFT: f64 = 0.95;
/// Times as long as among few, from where on tasks seem to wait for one another.
const LONG: f64 = 1.6;
/// A turn is so many tasks for each thread, and so many in all at least, and takes so long: less would not tell, since
/// tasks that wait for one another end several at a time.
const TURN: u64 = 2;
const LEAST_TURN: u64 = 16;
const LEAST_TURN_SECONDS: f64 = 0.02;
/// After an attempt in vain the next one waits, each time twice as long.
const PATIENCE_SECONDS: f64 = 0.5;
const MOST_PATIENCE_SECONDS: f64 = 30.0;
/// When no task has ended for so long, or for the time of so many tasks, threads wait for what others are to do.
const STALL_SECONDS: f64 = 0.1;
const STALL_TASKS: f64 = 4.0;

/// What is to be seen of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// By any clock that only goes on.
    pub seconds: f64,
    /// CPU seconds that the program has used so far.
    pub cpu: f64,
    /// Tasks that have ended so far.
    pub ended: u64,
    /// Threads that have a task.
    pub working: usize,
    /// Tasks that wait for a thread.
    pub waiting: usize,
}

/// A step that has yet to show what it brings.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// How many threads there were before.
    limit: usize,
    /// And before the first of several steps down.
    top: usize,
    /// Tasks per second that must be left, or exceeded.
    rate: f64,
}

/// What the tasks that end now are for.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// None has told anything yet.
    Blind,
    /// Those up to here were begun under another number of threads.
    Settling(u64),
    /// A turn has begun, which may be over when so many tasks have ended.
    Measuring { since: Reading, due: u64 },
}

/// When something may be attempted again.
#[derive(Clone, Copy, Debug)]
struct Hold {
    until: f64,
    patience: f64,
}

impl Hold {
    const fn none() -> Self {
        Self { until: f64::NEG_INFINITY, patience: PATIENCE_SECONDS }
    }

    fn extend(&mut self, now: f64) {
        self.until = now + self.patience;
        self.patience = (2.0 * self.patience).min(MOST_PATIENCE_SECONDS);
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Governor {
    least: usize,
    most: usize,
    limit: usize,
    phase: Phase,
    /// The first reading, when the first tasks were there.
    begun: Option<Reading>,
    /// Tasks that had ended by then.
    before: u64,
    /// The step that is being tested.
    test: Option<Step>,
    /// Tasks per second under the present limit, once a turn has told.
    rate: Option<f64>,
    /// Seconds of a task among few, as far as is known.
    usual: f64,
    /// Seconds of a task in the last turn.
    latest: f64,
    /// Cores that were busy in it.
    load: f64,
    up: Hold,
    down: Hold,
    /// The last end of a task that was seen.
    moved: Option<Reading>,
}

impl Governor {
    /// Between `least` and `most` threads, beginning with the former.
    #[must_use]
    pub fn new(least: usize, most: usize) -> Self {
        let least = least.max(1);
        Self {
            least,
            most: most.max(least),
            limit: least,
            phase: Phase::Blind,
            begun: None,
            before: 0,
            test: None,
            rate: None,
            usual: f64::INFINITY,
            latest: 0.0,
            load: 0.0,
            up: Hold::none(),
            down: Hold::none(),
            moved: None,
        }
    }

    /// How many threads may work.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// After how many ended tasks to say `observe`.
    #[must_use]
    pub fn due(&self) -> u64 {
        match self.phase {
            Phase::Blind => self.before + self.first(),
            Phase::Settling(until) => until,
            Phase::Measuring { due, .. } => due,
        }
    }

    /// Other tasks come than the `ended` so far: what is known of those does not hold for them.
    pub fn begin_anew(&mut self, ended: u64) {
        *self = Self { limit: self.limit, before: ended, ..Self::new(self.least, self.most) };
    }

    /// A forecast says that so many threads are worth it: that counts as long as no task has told anything.
    pub fn expect(&mut self, limit: usize) {
        if let Phase::Blind = self.phase {
            self.limit = limit.clamp(self.limit, self.most);
        }
    }

    /// All tasks that have begun wait, no core is used, and others wait for a thread. True when that may be of use.
    pub fn program_waits(&mut self, now: Reading) -> bool {
        self.begun.get_or_insert(now);
        let is_stalled = self.is_stalled(now);
        if now.waiting == 0 || self.limit >= self.most {
            return false;
        }
        if is_stalled {
            self.test = None;
            self.step(2 * self.limit, now);
        } else if let Phase::Blind = self.phase {
            self.limit = (BLIND * self.limit).min(self.most);
        } else if let (Some(rate), None) = (self.rate, self.test)
            && now.seconds >= self.up.until
        {
            self.try_more(now, rate);
        }
        true
    }

    /// So many tasks have ended as `due` asked for.
    pub fn observe(&mut self, now: Reading) {
        self.moved = Some(now);
        if now.ended < self.due() {
            return;
        }
        match self.phase {
            Phase::Blind => self.learn_first(now),
            Phase::Settling(_) if now.working > self.limit => self.settle(now),
            Phase::Settling(_) => self.measure(now),
            Phase::Measuring { .. } if now.waiting == 0 => {
                self.test = None; // what ends depends on what comes, not on the threads
                self.settle(now);
            }
            Phase::Measuring { since, .. } => {
                let seconds = now.seconds - since.seconds;
                if seconds >= LEAST_TURN_SECONDS {
                    self.load = (now.cpu - since.cpu) / seconds;
                    self.judge(now, count(now.ended - since.ended) / seconds);
                } else {
                    self.phase = Phase::Measuring { since, due: now.ended + self.turn() };
                }
            }
        }
    }

    fn learn_first(&mut self, now: Reading) {
        let ended = now.ended - self.before;
        let begun = *self.begun.get_or_insert(now);
        if self.usual.is_infinite() && now.seconds > begun.seconds {
            self.usual = now.seconds - begun.seconds;
        }
        if ended * TELLING < count_of(self.limit) {
            return;
        }
        if now.cpu - begun.cpu > FULL * (now.seconds - begun.seconds) * NEARLY {
            // Threads that wait for a core are of no use. Should there be too few, it will be seen that all wait.
            self.limit = self.enough(begun, now, FIRST_FULL * self.usual).clamp(self.least, self.limit);
        }
        self.measure(now); // all that have ended so far were begun under this limit or a lower one
    }

    /// With how many threads, going by the CPU time of a task so far, tasks keep a core busy for so many seconds.
    fn enough(&self, begun: Reading, now: Reading, seconds: f64) -> usize {
        let tasks = count(now.ended.saturating_sub(begun.ended)) + threads(now.working);
        let cpu = ((now.cpu - begun.cpu) / tasks.max(1.0) - STARTING).max(0.0);
        (1..=self.most).rev().find(|&limit| threads(limit) * cpu <= seconds).unwrap_or(1)
    }

    /// A turn under the present limit is over, in which so many tasks ended per second.
    fn judge(&mut self, now: Reading, rate: f64) {
        self.latest = threads(self.limit) / rate;
        self.usual = self.usual.min(self.latest);
        self.rate = Some(rate);
        self.measure(now);
        match self.test.take() {
            Some(step) if step.limit < self.limit => self.judge_more(step, now, rate),
            Some(step) => self.judge_fewer(step, now, rate),
            None if self.is_long() && now.seconds >= self.down.until => {
                self.try_fewer(now, self.limit, rate);
            }
            None => {}
        }
    }

    /// More threads, as many as the cores may be busy with.
    fn try_more(&mut self, now: Reading, rate: f64) {
        let limit = (1..=STEP).rev().map(|times| times * self.limit);
        let fits = |limit: &usize| threads(*limit) * self.load <= FULL * threads(self.limit);
        let Some(limit) = limit.into_iter().find(fits).filter(|&limit| limit > self.limit) else { return };
        self.test = Some(Step { limit: self.limit, top: self.limit, rate });
        self.step(limit, now);
    }

    fn try_fewer(&mut self, now: Reading, top: usize, rate: f64) {
        if self.limit > self.least {
            self.test = Some(Step { limit: self.limit, top, rate });
            self.step(self.limit / 2, now);
        }
    }

    fn judge_more(&mut self, step: Step, now: Reading, rate: f64) {
        let gain = rate / step.rate;
        let could = threads(self.limit) / threads(step.limit);
        if gain < SAME {
            self.up.extend(now.seconds);
            self.step(step.limit, now);
            self.rate = Some(step.rate);
        } else if gain - 1.0 < WORTH * (could - 1.0) {
            self.up.extend(now.seconds);
        } else {
            self.up = Hold::none();
        }
    }

    fn judge_fewer(&mut self, step: Step, now: Reading, rate: f64) {
        if rate >= LEFT * step.rate {
            self.up.extend(now.seconds); // who waits for what is shared looks like any that waits
            self.try_fewer(now, step.top, rate.max(step.rate)); // small losses must not add up
        } else {
            self.usual = self.latest; // so long do they take among fewer, too
            self.down.extend(now.seconds);
            // Twice as many as are just enough: the next tasks may wait a little longer.
            self.step(step.top.min(2 * step.limit), now);
            self.rate = Some(step.rate);
        }
    }

    fn is_long(&self) -> bool {
        self.latest > LONG * self.usual
    }

    /// Whether no task has ended for long.
    fn is_stalled(&mut self, now: Reading) -> bool {
        let moved = *self.moved.get_or_insert(now);
        if now.ended != moved.ended {
            self.moved = Some(now);
            return false;
        }
        let long = STALL_SECONDS.max(STALL_TASKS * self.latest);
        let is_stalled = !matches!(self.phase, Phase::Blind) && now.seconds - moved.seconds > long;
        if is_stalled {
            self.moved = Some(now); // once more only after as long
        }
        is_stalled
    }

    fn step(&mut self, limit: usize, now: Reading) {
        self.limit = limit.clamp(self.least, self.most);
        self.rate = None;
        self.settle(now);
    }

    fn measure(&mut self, now: Reading) {
        self.phase = Phase::Measuring { since: now, due: now.ended + self.turn() };
    }

    fn settle(&mut self, now: Reading) {
        self.phase = Phase::Settling(now.ended + count_of(self.limit.max(now.working)));
    }

    /// Whether there is a rate to compare with: the first one is to be known soon, and a step shows what it is worth.
    fn has_rate(&self) -> bool {
        self.rate.is_some() || self.test.is_some()
    }

    /// Tasks of a turn.
    fn turn(&self) -> u64 {
        let times = if self.has_rate() { TURN } else { 1 };
        (times * count_of(self.limit)).max(LEAST_TURN)
    }

    /// Tasks that tell how long one takes among few.
    fn first(&self) -> u64 {
        let known = if self.usual.is_infinite() { FIRST } else { TELLING };
        count_of(self.limit).div_ceil(known).max(1)
    }
}

#[expect(clippy::cast_precision_loss, reason = "tasks of one turn are few")]
fn count(tasks: u64) -> f64 {
    tasks as f64
}

#[expect(clippy::cast_precision_loss, reason = "threads are few")]
fn threads(number: usize) -> f64 {
    number as f64
}

fn count_of(threads: usize) -> u64 {
    u64::try_from(threads).unwrap_or(u64::MAX)
}

//! What a loop has done, in figures: from clocks that are read once a turn, never once a callback.
//!
//! Times are those of a clock that goes on only while the loop runs, so that a program that runs its loop now and then is
//! not told of the time between. A turn lasts from the end of the loop's sleep to the next look at what is to be done;
//! whatever becomes ready in it waits for its end. So the mean wait of something that becomes ready at a random instant is
//! the sum of half the squares of the turns' lengths, over the time.

use std::collections::VecDeque;

/// From one mark to the next.
const MARK_NS: u64 = 500_000_000;
/// How far back the latest share of busy time looks.
const RECENT_NS: u64 = 5_000_000_000;
/// Marks that are kept: two for each period, since a long sleep has one at either end.
const MOST_MARKS: usize = 24;

/// At some instant of the loop's own clock, how long it had slept.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    ran_ns: u64,
    asleep_ns: u64,
}

/// See the module. Written by the loop's thread.
#[derive(Debug, Default)]
pub struct Figures {
    /// Of runs that have ended.
    ran_ns: u64,
    /// When the present run began.
    began_ns: Option<u64>,
    asleep_ns: u64,
    /// Since when it sleeps.
    asleep_since_ns: Option<u64>,
    /// When the present turn began to run callbacks.
    turn_ns: Option<u64>,
    turns: u64,
    callbacks: u64,
    /// Callbacks of the present turn.
    batch: u64,
    most_ready: u64,
    /// Sum of half the squares of turns' lengths, in square seconds.
    waits: f64,
    longest_turn_ns: u64,
    late: Late,
    marks: VecDeque<Mark>,
}

/// How late timers were when the loop turned to them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Late {
    timers: u64,
    sum_ns: u64,
    most_ns: u64,
}

impl Late {
    /// Add one that is put among what is ready so long after its time.
    pub fn add(&mut self, late_ns: u64) {
        self.timers += 1;
        self.sum_ns += late_ns;
        self.most_ns = self.most_ns.max(late_ns);
    }
}

/// What [`Figures`] tell at an instant. Lengths in nanoseconds unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// How long the loop has run.
    pub ran_ns: u64,
    /// How long of that it did not sleep.
    pub busy_ns: u64,
    /// Share of the last seconds in which it did not sleep.
    pub recent_busy_share: f64,
    /// Turns begun.
    pub turns: u64,
    /// Callbacks that turns have taken up.
    pub callbacks: u64,
    /// Callbacks of the present turn, those that have run too.
    pub batch: u64,
    /// The most callbacks of one turn.
    pub most_ready: u64,
    /// Mean wait of what becomes ready at a random instant, in seconds.
    pub mean_wait_s: f64,
    /// The longest turn.
    pub longest_turn_ns: u64,
    /// Timers that have fallen due.
    pub timers: u64,
    /// How late they were, summed.
    pub timers_late_ns: u64,
    /// How late the latest was.
    pub latest_timer_ns: u64,
}

impl Figures {
    /// A run begins.
    pub fn run(&mut self, now_ns: u64) {
        self.began_ns.get_or_insert(now_ns);
        self.mark(now_ns);
    }

    /// A run has ended, if one had begun.
    pub fn stop(&mut self, now_ns: u64) {
        self.end_turn(now_ns);
        self.ran_ns = self.clock(now_ns);
        self.began_ns = None;
    }

    /// The loop falls asleep.
    pub fn sleep(&mut self, now_ns: u64) {
        self.end_turn(now_ns);
        self.asleep_since_ns = Some(now_ns);
        self.mark_seldom(now_ns);
    }

    /// The loop has woken.
    pub fn wake(&mut self, now_ns: u64) {
        if let Some(since) = self.asleep_since_ns.take() {
            self.asleep_ns += now_ns.saturating_sub(since);
        }
    }

    /// A turn begins to run so many callbacks. The one before ended then, or when the loop fell asleep.
    pub fn turn(&mut self, now_ns: u64, callbacks: usize) {
        self.end_turn(now_ns);
        self.mark_seldom(now_ns);
        self.turn_ns = Some(now_ns);
        self.turns += 1;
        self.batch = callbacks as u64;
        self.callbacks += self.batch;
        self.most_ready = self.most_ready.max(self.batch);
    }

    /// Timers were put among what is ready.
    pub fn fired(&mut self, timers: &Late) {
        self.late.timers += timers.timers;
        self.late.sum_ns += timers.sum_ns;
        self.late.most_ns = self.late.most_ns.max(timers.most_ns);
    }

    /// What came of all that.
    #[must_use]
    pub fn totals(&self, now_ns: u64) -> Totals {
        let ran_ns = self.clock(now_ns);
        let now = Mark { ran_ns, asleep_ns: self.asleep_at(now_ns) };
        let turn_ns = self.turn_ns.map_or(0, |began| now_ns.saturating_sub(began));
        let waits = self.waits + half_square(turn_ns);
        Totals {
            ran_ns,
            busy_ns: ran_ns.saturating_sub(now.asleep_ns),
            recent_busy_share: busy_share(self.mark_at(ran_ns.saturating_sub(RECENT_NS), now), now),
            turns: self.turns,
            callbacks: self.callbacks,
            batch: self.batch,
            most_ready: self.most_ready,
            mean_wait_s: if ran_ns == 0 { 0.0 } else { waits / seconds(ran_ns) },
            longest_turn_ns: self.longest_turn_ns.max(turn_ns),
            timers: self.late.timers,
            timers_late_ns: self.late.sum_ns,
            latest_timer_ns: self.late.most_ns,
        }
    }

    fn end_turn(&mut self, now_ns: u64) {
        if let Some(began) = self.turn_ns.take() {
            let length = now_ns.saturating_sub(began);
            self.waits += half_square(length);
            self.longest_turn_ns = self.longest_turn_ns.max(length);
        }
    }

    fn clock(&self, now_ns: u64) -> u64 {
        self.ran_ns + self.began_ns.map_or(0, |began| now_ns.saturating_sub(began))
    }

    fn asleep_at(&self, now_ns: u64) -> u64 {
        self.asleep_ns + self.asleep_since_ns.map_or(0, |since| now_ns.saturating_sub(since))
    }

    fn mark_seldom(&mut self, now_ns: u64) {
        let next = self.marks.back().map_or(0, |mark| mark.ran_ns + MARK_NS);
        if self.clock(now_ns) >= next {
            self.mark(now_ns);
        }
    }

    fn mark(&mut self, now_ns: u64) {
        if self.marks.len() == MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { ran_ns: self.clock(now_ns), asleep_ns: self.asleep_at(now_ns) });
    }

    /// How long it had slept at an instant of its own clock, between the marks on either side.
    fn mark_at(&self, ran_ns: u64, now: Mark) -> Mark {
        let mut before = Mark::default();
        for after in self.marks.iter().copied().chain([now]) {
            if after.ran_ns >= ran_ns {
                let (span, part) = (after.ran_ns - before.ran_ns, ran_ns.saturating_sub(before.ran_ns));
                let slept = after.asleep_ns.saturating_sub(before.asleep_ns);
                let share = if span == 0 { 0.0 } else { part as f64 / span as f64 };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a part of `slept`"
                )]
                let slept = (slept as f64 * share) as u64;
                return Mark { ran_ns, asleep_ns: before.asleep_ns + slept };
            }
            before = after;
        }
        before
    }
}

fn busy_share(from: Mark, to: Mark) -> f64 {
    let span = to.ran_ns.saturating_sub(from.ran_ns);
    let busy = span.saturating_sub(to.asleep_ns.saturating_sub(from.asleep_ns));
    if span == 0 { 0.0 } else { busy as f64 / span as f64 }
}

fn half_square(length_ns: u64) -> f64 {
    0.5 * seconds(length_ns) * seconds(length_ns)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 * 1e-9
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn is_about(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() < 1e-9
    }

    #[test]
    fn a_loop_that_never_ran_has_done_nothing() {
        assert_eq!(Figures::default().totals(7 * S), Totals::default());
    }

    #[test]
    fn sleep_is_not_busy_and_time_between_runs_does_not_count() {
        let mut figures = Figures::default();
        figures.run(10 * S);
        figures.sleep(10 * S);
        figures.wake(13 * S);
        figures.turn(13 * S, 2);
        figures.stop(14 * S);
        let totals = figures.totals(100 * S);
        assert_eq!((totals.ran_ns, totals.busy_ns), (4 * S, S));
        assert_eq!((totals.turns, totals.callbacks, totals.most_ready), (1, 2, 2));
        assert!(is_about(totals.recent_busy_share, 0.25));
        figures.run(200 * S);
        figures.turn(200 * S, 1);
        assert_eq!(figures.totals(201 * S).busy_ns, 2 * S);
    }

    #[test]
    fn a_turn_makes_others_wait_for_half_its_length_on_average() {
        let mut figures = Figures::default();
        figures.run(0);
        figures.turn(0, 1);
        figures.sleep(2 * S);
        figures.wake(8 * S);
        figures.turn(8 * S, 1);
        // The second turn, which still runs, counts too.
        let totals = figures.totals(10 * S);
        assert!(is_about(totals.mean_wait_s, 4.0 / 10.0));
        assert_eq!(totals.longest_turn_ns, 2 * S);
    }

    #[test]
    fn the_latest_share_forgets_what_was_long_ago() {
        let mut figures = Figures::default();
        figures.run(0);
        figures.turn(0, 1);
        figures.sleep(100 * S);
        assert!(is_about(figures.totals(101 * S).recent_busy_share, 0.8));
        assert!(is_about(figures.totals(160 * S).recent_busy_share, 0.0));
        figures.wake(160 * S);
        figures.turn(160 * S, 1);
        assert!(is_about(figures.totals(161 * S).recent_busy_share, 0.2));
    }

    #[test]
    fn many_short_turns_keep_few_marks() {
        let mut figures = Figures::default();
        figures.run(0);
        for turn in 0..10_000 {
            figures.turn(turn * S / 100, 1);
        }
        assert!(figures.marks.len() <= MOST_MARKS);
        assert!(is_about(figures.totals(100 * S).recent_busy_share, 1.0));
    }

    #[test]
    fn late_timers_are_counted() {
        let mut figures = Figures::default();
        let mut late = Late::default();
        late.add(30);
        figures.fired(&late);
        late.add(10);
        figures.fired(&late);
        let totals = figures.totals(0);
        assert_eq!((totals.timers, totals.timers_late_ns, totals.latest_timer_ns), (3, 70, 30));
    }
}

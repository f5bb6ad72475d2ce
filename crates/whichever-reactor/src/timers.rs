//! What is to be done later: a heap of deadlines, out of which what was cancelled is thrown in bulk.
//!
//! Four children to a node: a heap of a hundred thousand is nine levels deep, and the children of a node lie side by side.
//! Equal deadlines keep the order in which they were set. Cancelling costs nothing here: who cancels tells [`Timers::lapse`],
//! and once more than half are dead, [`Timers::sweep`] throws them out, so that a timer set and cancelled over and over
//! takes no memory.

/// Children to a node.
const ARITY: usize = 4;

/// As many dead entries are no trouble, however few live ones there are.
const FEW: usize = 64;

const NS_PER_S: f64 = 1e9;

#[derive(Debug)]
struct Entry<C> {
    /// When it is due, on the monotonic clock.
    when_ns: u64,
    /// How many were set before it, to keep the order of equal deadlines.
    turn: u64,
    item: C,
}

impl<C> Entry<C> {
    /// What they are ordered by: one number, which is compared without a branch that nobody can foresee.
    fn key(&self) -> u128 {
        u128::from(self.when_ns) << 64 | u128::from(self.turn)
    }

    fn is_before(&self, other: &Self) -> bool {
        self.key() < other.key()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Timers<C> {
    heap: Vec<Entry<C>>,
    /// How many were ever set.
    turns: u64,
    /// How many of those in the heap are dead, as far as anybody said.
    dead: usize,
}

impl<C> Default for Timers<C> {
    fn default() -> Self {
        Self { heap: Vec::new(), turns: 0, dead: 0 }
    }
}

impl<C> Timers<C> {
    /// Set a timer.
    pub fn push(&mut self, when_ns: u64, item: C) {
        self.turns += 1;
        self.heap.push(Entry { when_ns, turn: self.turns, item });
        self.rise(self.heap.len() - 1);
    }

    /// When the first is due.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.when_ns)
    }

    /// The first.
    #[must_use]
    pub fn first(&self) -> Option<&C> {
        self.heap.first().map(|entry| &entry.item)
    }

    /// Take out the first if it is due at `now_ns`: never before its time.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<C> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.pop()
    }

    /// Take out the first.
    pub fn pop(&mut self) -> Option<C> {
        if self.heap.is_empty() {
            return None;
        }
        let entry = self.heap.swap_remove(0);
        // What was last belongs far down, mostly: it goes there without being looked at on its way.
        let mut place = 0;
        while let Some(least) = self.least_child(place) {
            self.heap.swap(least, place);
            place = least;
        }
        self.rise(place);
        Some(entry.item)
    }

    /// Note that one of them is dead.
    pub fn lapse(&mut self) {
        self.dead += 1;
    }

    /// Note that a dead one was taken out.
    pub fn bury(&mut self) {
        self.dead = self.dead.saturating_sub(1);
    }

    /// Whether a sweep is worth its while.
    #[must_use]
    pub fn wants_sweep(&self) -> bool {
        self.dead > FEW && self.dead * 2 > self.heap.len()
    }

    /// Throw out all that are dead, and give them back for whoever wants to drop them elsewhere.
    pub fn sweep(&mut self, mut is_dead: impl FnMut(&C) -> bool) -> Vec<C> {
        let (dead, live): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.heap).into_iter().partition(|entry| is_dead(&entry.item));
        self.heap = live;
        self.dead = 0;
        for place in (0..self.heap.len().div_ceil(ARITY)).rev() {
            self.sink(place);
        }
        dead.into_iter().map(|entry| entry.item).collect()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.heap.iter().map(|entry| &entry.item)
    }

    /// How many there are, dead ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// How many there are that nobody has called dead.
    #[must_use]
    pub fn live(&self) -> usize {
        self.heap.len().saturating_sub(self.dead)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if !self.heap[place].is_before(&self.heap[parent]) {
                return;
            }
            self.heap.swap(place, parent);
            place = parent;
        }
    }

    fn least_child(&self, place: usize) -> Option<usize> {
        let first = place * ARITY + 1;
        let children = self.heap.get(first..self.heap.len().min(first + ARITY))?;
        let (least, _) = children.iter().enumerate().min_by_key(|(_, child)| child.key())?;
        Some(first + least)
    }

    fn sink(&mut self, mut place: usize) {
        while let Some(least) = self.least_child(place) {
            if !self.heap[least].is_before(&self.heap[place]) {
                return;
            }
            self.heap.swap(least, place);
            place = least;
        }
    }
}

/// A time in seconds as the clock's nanoseconds, rounded up: a timer is never early. What lies before the clock's
/// beginning is its beginning; what is no number or too far away is its end.
#[must_use]
pub fn nanoseconds(seconds: f64) -> u64 {
    let ns = (seconds * NS_PER_S).ceil();
    if ns.is_nan() {
        return u64::MAX;
    }
    // A cast from a float saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as said")]
    let ns = ns as u64;
    ns
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut timers = Timers::default();
        timers.push(20, "late");
        timers.push(10, "soon");
        assert_eq!(timers.next_ns(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(10), Some("soon"));
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(u64::MAX), Some("late"));
        assert!(timers.is_empty() && timers.pop().is_none());
    }

    #[test]
    fn seconds_are_rounded_up_and_absurd_ones_taken_to_the_ends() {
        assert_eq!(nanoseconds(1.5), 1_500_000_000);
        assert_eq!(nanoseconds(1e-10), 1);
        assert_eq!(nanoseconds(-3.0), 0);
        assert_eq!([nanoseconds(f64::INFINITY), nanoseconds(f64::NAN)], [u64::MAX; 2]);
    }

    #[test]
    fn timers_that_are_set_and_cancelled_over_and_over_take_no_room() {
        let mut timers = Timers::default();
        for turn in 0..100_000_u64 {
            timers.push(1_000_000 + turn, turn);
            if turn >= 100 {
                timers.lapse();
            }
            if timers.wants_sweep() {
                timers.sweep(|other| other + 100 <= turn);
            }
            assert!(timers.len() < 400);
        }
    }

    proptest! {
        #[test]
        fn they_come_in_the_order_of_time_and_of_setting(
            times in prop::collection::vec(0_u64..50, 0..300),
            dead in prop::collection::vec(any::<bool>(), 300),
            now in 0_u64..60,
        ) {
            let mut timers = Timers::default();
            for (index, time) in times.iter().enumerate() {
                timers.push(*time, index);
            }
            let swept = timers.sweep(|index| dead[*index]);
            let mut expected: Vec<_> = times.iter().copied().zip(0..).filter(|(_, index)| !dead[*index]).collect();
            prop_assert_eq!(swept.len() + expected.len(), times.len());
            expected.sort_unstable();
            let due = expected.iter().filter(|(time, _)| *time <= now);
            for (_, index) in due {
                prop_assert_eq!(timers.pop_due(now), Some(*index));
            }
            prop_assert_eq!(timers.pop_due(now), None);
            let rest = expected.iter().filter(|(time, _)| *time > now).map(|(_, index)| *index);
            prop_assert!(std::iter::from_fn(|| timers.pop()).eq(rest));
        }
    }
}

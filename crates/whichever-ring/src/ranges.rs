//! The books of an arena: which ranges are used, which lie warm, which part of the file is empty. Touches no memory.
//!
//! Guarantee: ranges never overlap, start at a page and hold at least what was asked for. Lengths come in classes, four
//! to a power of two, so that a range that was given back fits the next request of about its length.

use std::collections::{BTreeMap, HashMap};

/// A stretch of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What is known of a range's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    len: u64,
    /// So many bytes from its start have been written since it was last empty.
    filled: u64,
    /// Somebody writes it at this moment.
    filling: bool,
}

/// A range that was given back with its memory.
#[derive(Clone, Copy, Debug)]
struct Warm {
    filled: u64,
    /// When it was given back, counted in ranges.
    age: u64,
}

/// The books.
#[derive(Debug)]
pub(crate) struct Ranges {
    page: u64,
    /// No range ends beyond this.
    span: u64,
    /// Everything from here on has never been used.
    end: u64,
    used: HashMap<u64, Held>,
    /// By length, then offset.
    warm: BTreeMap<(u64, u64), Warm>,
    /// The same by age: the oldest are emptied first.
    ages: BTreeMap<u64, Extent>,
    next_age: u64,
    /// Without memory and before `end`, by offset; neighbours are joined.
    empty: BTreeMap<u64, u64>,
    used_bytes: u64,
    warm_bytes: u64,
}

impl Ranges {
    pub(crate) fn new(page: u64, span: u64) -> Self {
        Self {
            page,
            span,
            end: 0,
            used: HashMap::new(),
            warm: BTreeMap::new(),
            ages: BTreeMap::new(),
            next_age: 0,
            empty: BTreeMap::new(),
            used_bytes: 0,
            warm_bytes: 0,
        }
    }

    /// The length a range for `len` bytes has; `None` beyond all measure.
    pub(crate) fn class(&self, len: u64) -> Option<u64> {
        let len = len.max(1);
        // A quarter of the power of two below; a page at least.
        let step = (1_u64 << (len - 1).max(1).ilog2()) / 4;
        let step = step.max(self.page);
        len.checked_next_multiple_of(step)
    }

    /// A range of this class whose memory is there, and how much of it is filled. Takes one twice as long at most.
    pub(crate) fn take_warm(&mut self, class: u64) -> Option<(Extent, u64)> {
        let (&(len, offset), &warm) =
            self.warm.range((class, 0)..=(class.saturating_mul(2), u64::MAX)).next()?;
        self.forget_warm(len, offset, warm.age);
        self.use_range(Extent { offset, len }, warm.filled);
        Some((Extent { offset, len }, warm.filled))
    }

    /// A range of this class without memory: the first hole that is large enough, or new ground.
    pub(crate) fn take_fresh(&mut self, class: u64) -> Option<Extent> {
        let hole = self.empty.iter().find(|(_, len)| **len >= class).map(|(offset, len)| (*offset, *len));
        let offset = if let Some((offset, len)) = hole {
            self.empty.remove(&offset);
            if len > class {
                self.empty.insert(offset + class, len - class);
            }
            offset
        } else {
            let offset = self.end;
            self.end = offset.checked_add(class).filter(|end| *end <= self.span)?;
            offset
        };
        let extent = Extent { offset, len: class };
        self.use_range(extent, 0);
        Some(extent)
    }

    /// Reserve the bytes of a used range from `at` on for writing, until `end_fill`. Gives how many of them have memory
    /// already; `None` when they do not lie in a used range, or somebody writes it.
    pub(crate) fn begin_fill(&mut self, offset: u64, at: u64, len: u64) -> Option<u64> {
        let held = self.used.get_mut(&offset).filter(|held| !held.filling)?;
        at.checked_add(len).filter(|end| *end <= held.len)?;
        held.filling = true;
        Some(held.filled.saturating_sub(at).min(len))
    }

    /// The bytes from `at` to `end` have been written; with both the same, nothing has.
    pub(crate) fn end_fill(&mut self, offset: u64, at: u64, end: u64) {
        if let Some(held) = self.used.get_mut(&offset) {
            held.filling = false;
            // What lies behind a gap is not counted: the gap has no memory.
            if at <= held.filled {
                held.filled = held.filled.max(end);
            }
        }
    }

    /// Put a used range among the warm ones; false when it is not in use, or being filled.
    pub(crate) fn give_back(&mut self, offset: u64) -> bool {
        if self.used.get(&offset).is_none_or(|held| held.filling) {
            return false;
        }
        let Some(Held { len, filled, .. }) = self.used.remove(&offset) else { return false };
        self.used_bytes -= len;
        let age = self.next_age;
        self.next_age += 1;
        self.warm.insert((len, offset), Warm { filled, age });
        self.ages.insert(age, Extent { offset, len });
        self.warm_bytes += len;
        true
    }

    /// Undo `take_fresh`: the range has never been written.
    pub(crate) fn cancel(&mut self, extent: Extent) {
        if self.used.remove(&extent.offset).is_some() {
            self.used_bytes -= extent.len;
            self.note_empty(extent);
        }
    }

    /// Take the oldest warm ranges off the books until at most `cap` bytes lie warm. Whoever has emptied them says so
    /// with `note_empty`.
    pub(crate) fn take_surplus(&mut self, cap: u64) -> Vec<Extent> {
        let mut surplus = Vec::new();
        while self.warm_bytes > cap {
            let Some((&age, &extent)) = self.ages.first_key_value() else { break };
            self.forget_warm(extent.len, extent.offset, age);
            surplus.push(extent);
        }
        surplus
    }

    /// This stretch has no memory any more and may be used anew.
    pub(crate) fn note_empty(&mut self, extent: Extent) {
        let Extent { mut offset, mut len } = extent;
        if let Some((&before, &before_len)) = self.empty.range(..offset).next_back()
            && before + before_len == offset
        {
            self.empty.remove(&before);
            (offset, len) = (before, before_len + len);
        }
        if let Some(after_len) = self.empty.remove(&(offset + len)) {
            len += after_len;
        }
        if offset + len == self.end {
            self.end = offset;
        } else {
            self.empty.insert(offset, len);
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(crate) fn warm_bytes(&self) -> u64 {
        self.warm_bytes
    }

    pub(crate) fn used_count(&self) -> usize {
        self.used.len()
    }

    pub(crate) fn warm_count(&self) -> usize {
        self.warm.len()
    }

    fn use_range(&mut self, extent: Extent, filled: u64) {
        self.used.insert(extent.offset, Held { len: extent.len, filled, filling: false });
        self.used_bytes += extent.len;
    }

    fn forget_warm(&mut self, len: u64, offset: u64, age: u64) {
        self.warm.remove(&(len, offset));
        self.ages.remove(&age);
        self.warm_bytes -= len;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: u64 = 4096;
    const SPAN: u64 = 4096 * PAGE;

    fn ranges() -> Ranges {
        Ranges::new(PAGE, SPAN)
    }

    fn fresh(ranges: &mut Ranges, pages: u64) -> Extent {
        let class = ranges.class(pages * PAGE).unwrap();
        ranges.take_fresh(class).unwrap()
    }

    /// Fill a part of a range; says how much of it had memory before.
    fn write(ranges: &mut Ranges, range: Extent, at: u64, len: u64) -> u64 {
        let present = ranges.begin_fill(range.offset, at, len).unwrap();
        ranges.end_fill(range.offset, at, at + len);
        present
    }

    #[test]
    fn classes_are_pages_at_first_and_then_four_to_a_power_of_two() {
        let pages = |len| ranges().class(len).unwrap() / PAGE;
        assert_eq!([0, 1, 4096, 4097, 8 * 4096].map(pages), [1, 1, 1, 2, 8]);
        assert_eq!(
            [9, 10, 11, 12, 13, 16, 17, 100].map(|len| pages(len * PAGE)),
            [10, 10, 12, 12, 14, 16, 20, 112]
        );
        assert_eq!(ranges().class(u64::MAX), None);
    }

    #[test]
    fn a_range_given_back_is_the_next_of_its_class() {
        let mut ranges = ranges();
        let (small, large) = (fresh(&mut ranges, 1), fresh(&mut ranges, 8));
        write(&mut ranges, large, 0, 5 * PAGE);
        assert!(ranges.give_back(large.offset) && ranges.give_back(small.offset));
        assert_eq!(ranges.take_warm(8 * PAGE), Some((large, 5 * PAGE)));
        assert_eq!(ranges.take_warm(8 * PAGE), None, "one page is too small for eight");
    }

    #[test]
    fn a_warm_range_much_too_long_is_left_alone() {
        let mut ranges = ranges();
        let large = fresh(&mut ranges, 8);
        ranges.give_back(large.offset);
        assert_eq!(ranges.take_warm(3 * PAGE), None);
        assert_eq!(ranges.take_warm(4 * PAGE), Some((large, 0)));
    }

    #[test]
    fn only_what_is_filled_without_a_gap_counts() {
        let mut ranges = ranges();
        let range = fresh(&mut ranges, 4);
        assert_eq!(write(&mut ranges, range, 100, 100), 0);
        assert_eq!(write(&mut ranges, range, 0, 100), 0);
        assert_eq!(write(&mut ranges, range, 50, 30), 30);
        assert_eq!(write(&mut ranges, range, 90, 30), 10);
        assert_eq!(write(&mut ranges, range, 0, 4 * PAGE), 120);
    }

    #[test]
    fn a_range_is_filled_by_one_at_a_time_and_not_given_back_meanwhile() {
        let mut ranges = ranges();
        let range = fresh(&mut ranges, 1);
        assert_eq!(ranges.begin_fill(range.offset, 0, 10), Some(0));
        assert_eq!(ranges.begin_fill(range.offset, 20, 10), None);
        assert!(!ranges.give_back(range.offset));
        ranges.end_fill(range.offset, 0, 10);
        assert_eq!(ranges.begin_fill(range.offset, 0, PAGE + 1), None, "longer than the range");
        assert_eq!(ranges.begin_fill(range.offset, u64::MAX, 2), None);
        assert!(ranges.give_back(range.offset));
        assert_eq!(ranges.begin_fill(range.offset, 0, 10), None, "not in use");
    }

    #[test]
    fn the_oldest_goes_first_when_too_much_lies_warm() {
        let mut ranges = ranges();
        let all = [fresh(&mut ranges, 2), fresh(&mut ranges, 4), fresh(&mut ranges, 1)];
        for range in all {
            ranges.give_back(range.offset);
        }
        assert_eq!(ranges.take_surplus(5 * PAGE), [all[0]]);
        assert_eq!((ranges.warm_bytes(), ranges.warm_count()), (5 * PAGE, 2));
    }

    #[test]
    fn holes_join_and_the_last_one_gives_its_ground_back() {
        let mut ranges = ranges();
        let all: Vec<_> = (0..4).map(|_| fresh(&mut ranges, 2)).collect();
        for index in [0, 2, 1] {
            ranges.give_back(all[index].offset);
        }
        for extent in ranges.take_surplus(0) {
            ranges.note_empty(extent);
        }
        assert_eq!(
            fresh(&mut ranges, 6),
            Extent { offset: 0, len: 6 * PAGE },
            "three holes of two are one of six"
        );
        ranges.cancel(Extent { offset: 0, len: 6 * PAGE });
        ranges.cancel(all[3]);
        assert_eq!((ranges.end(), ranges.used_bytes()), (0, 0));
    }

    #[test]
    fn what_is_not_in_use_is_not_given_back() {
        let mut ranges = ranges();
        let range = fresh(&mut ranges, 1);
        assert!(!ranges.give_back(range.offset + PAGE));
        assert!(ranges.give_back(range.offset));
        assert!(!ranges.give_back(range.offset), "twice");
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Take a range for so many bytes.
        Take(u64),
        /// Give back one of those in use.
        Give(prop::sample::Index),
        /// Empty what lies warm beyond so many pages.
        Empty(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..200 * PAGE).prop_map(Step::Take),
            3 => any::<prop::sample::Index>().prop_map(Step::Give),
            1 => (0..300_u64).prop_map(Step::Empty),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_the_books_balance(steps in steps()) {
            let mut ranges = ranges();
            let mut used: BTreeMap<u64, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Take(len) => {
                        let class = ranges.class(len).unwrap();
                        prop_assert!(class >= len.max(1) && class <= len + (len / 4).max(PAGE));
                        let taken = ranges.take_warm(class).map(|(extent, _)| extent);
                        let Some(range) = taken.or_else(|| ranges.take_fresh(class)) else { continue };
                        prop_assert!(range.len >= class && range.offset % PAGE == 0 && range.len % PAGE == 0);
                        prop_assert!(range.offset + range.len <= SPAN);
                        let before = used.range(..range.offset).next_back();
                        prop_assert!(before.is_none_or(|(offset, len)| offset + len <= range.offset));
                        let after = used.range(range.offset..).next();
                        prop_assert!(after.is_none_or(|(offset, _)| range.offset + range.len <= *offset));
                        used.insert(range.offset, range.len);
                    }
                    Step::Give(index) if !used.is_empty() => {
                        let offset = *index.get(&used.keys().copied().collect::<Vec<_>>());
                        prop_assert!(ranges.give_back(offset));
                        used.remove(&offset);
                    }
                    Step::Give(_) => {}
                    Step::Empty(pages) => {
                        for extent in ranges.take_surplus(pages * PAGE) {
                            ranges.note_empty(extent);
                        }
                        prop_assert!(ranges.warm_bytes() <= pages * PAGE);
                    }
                }
                prop_assert_eq!(ranges.used_bytes(), used.values().sum::<u64>());
                prop_assert_eq!(ranges.used_count(), used.len());
                let empty: u64 = ranges.empty.values().sum();
                prop_assert_eq!(ranges.used_bytes() + ranges.warm_bytes() + empty, ranges.end());
            }
        }
    }
}

//! Uneven tasks: how much longer than its fair share the last worker runs.
//!
//! Tasks of the lengths seen are dealt to whoever is free first (list scheduling, R. L. Graham, "Bounds on
//! multiprocessing timing anomalies", 1969), in a shuffled order that is the same at every call.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::task::count;

/// With more tasks than this the last wave no longer shows.
const TASKS_SIMULATED: usize = 4096;
/// Lengths are dealt as whole ticks, so that they can stand in a heap: 2^40 ticks are the mean length.
const TICKS: f64 = 1_099_511_627_776.0;

/// The makespan of `tasks` tasks on `workers`, dealt `chunk` at a time, over the fair share `total / workers`.
///
/// `lengths` are what was seen of the tasks' lengths, in any unit; none seen means all equal. At least 1.
pub(crate) fn imbalance(lengths: &[f64], tasks: u64, workers: u32, chunk: u32) -> f64 {
    let chunk = usize::try_from(chunk.max(1)).unwrap_or(1);
    let Ok(all) = usize::try_from(tasks) else { return 1.0 };
    let workers = usize::try_from(workers).unwrap_or(1).max(1);
    if all == 0 || all > TASKS_SIMULATED {
        return 1.0;
    }
    let dealt = deal(lengths, all);
    let mut free: BinaryHeap<Reverse<u64>> = (0..workers).map(|_| Reverse(0)).collect();
    let (mut total, mut last) = (0_u64, 0_u64);
    for piece in dealt.chunks(chunk) {
        let length: u64 = piece.iter().sum();
        let Some(Reverse(start)) = free.pop() else { return 1.0 };
        total += length;
        last = last.max(start + length);
        free.push(Reverse(start + length));
    }
    if total == 0 { 1.0 } else { (to_float(last) * count(workers) / to_float(total)).max(1.0) }
}

/// `tasks` lengths with the distribution of `lengths` and a mean of `TICKS` over `TASKS_SIMULATED`, shuffled.
fn deal(lengths: &[f64], tasks: usize) -> Vec<u64> {
    let mean = lengths.iter().sum::<f64>() / count(lengths.len().max(1));
    let unit = TICKS / count(TASKS_SIMULATED);
    if lengths.is_empty() || mean <= 0.0 || !mean.is_finite() {
        return vec![to_ticks(unit); tasks];
    }
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut dealt: Vec<u64> =
        (0..tasks).map(|k| to_ticks(lengths[k % lengths.len()] / mean * unit)).collect();
    for k in (1..dealt.len()).rev() {
        state = splitmix(state);
        let other = usize::try_from(state % (k as u64 + 1)).unwrap_or(0);
        dealt.swap(k, other);
    }
    dealt
}

/// One step of splitmix64 (G. L. Steele, D. Lea, C. H. Flood, 2014).
fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped into the range of u64")]
fn to_ticks(value: f64) -> u64 {
    value.clamp(0.0, TICKS * 1e3) as u64
}

#[expect(clippy::cast_precision_loss, reason = "a ratio: the last bits do not matter")]
fn to_float(ticks: u64) -> f64 {
    ticks as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn five_equal_tasks_on_two_workers_need_three_waves() {
        assert!((imbalance(&[1.0], 5, 2, 1) - 6.0 / 5.0).abs() < 1e-6);
    }

    #[test]
    fn one_long_task_makes_the_others_wait() {
        let lengths = [0.01, 0.01, 0.01, 0.01, 1.0];
        assert!(imbalance(&lengths, 5, 2, 1) > 1.8);
    }

    #[test]
    fn chunks_are_dealt_whole() {
        assert!((imbalance(&[1.0], 8, 4, 4) - 2.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn the_makespan_keeps_grahams_bound(
            lengths in proptest::collection::vec(1e-6..10.0_f64, 1..30), tasks in 1_u64..300, workers in 1_u32..40,
        ) {
            let factor = imbalance(&lengths, tasks, workers, 1);
            let dealt = deal(&lengths, usize::try_from(tasks).unwrap());
            let total: u64 = dealt.iter().sum();
            let longest = dealt.iter().copied().max().unwrap_or(0);
            let bound = 1.0 + to_float(longest) * f64::from(workers) / to_float(total.max(1));
            prop_assert!(factor >= 1.0 && factor <= bound + 1e-6, "{factor} over {bound}");
        }
    }
}

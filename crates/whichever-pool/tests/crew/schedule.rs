//! How good the order of work is: whole maps and streams on model workers, beside the best there can be.
//!
//! Time is the model's. What a hand-over costs is not in it: that is for benches. What is in it is idleness: a worker
//! with nothing to do while others hold what it could have run.

use std::collections::BTreeSet;

use whichever_pool::Limits;

use super::sim::{Baggage, Sim};
use super::worker::Temper;
use super::world::{Dice, Way, lock};

const MICROSECOND_NS: u64 = 1000;
const MILLISECOND_NS: u64 = 1000 * MICROSECOND_NS;

/// Workers ready, which go step by step.
fn pool(workers: usize) -> Sim {
    let temper = Temper { ring: usize::MAX, eager: 1, steady: true, ..Temper::default() };
    let mut sim = Sim::new(Limits { workers, tasks_per_worker: None }, temper, 7);
    sim.crew.hire_all();
    sim.supply();
    sim.run_until(|sim| sim.crew.pids().len() == workers);
    sim
}

/// The time that tasks of these lengths take as batches of a map, and what it takes if they go one by one, in order and
/// in no time, to whoever is free first: the best there is for one who does not know the lengths.
fn makespan(sim: &mut Sim, lengths_ns: &[u64], block: usize) -> (u64, u64) {
    let function = sim.crew.define([0; 8].into(), None, 1);
    let begun_ns = lock(&sim.world).now_ns;
    for lengths in lengths_ns.chunks(block) {
        sim.submit_batch(
            function,
            lengths.iter().map(|length| Sim::item(Way::Returns, *length)).collect(),
            0,
        );
    }
    sim.run_until(|sim| !sim.crew.is_busy());
    let mut free_ns = vec![0; sim.workers.len()];
    for length in lengths_ns {
        *free_ns.iter_mut().min().unwrap() += length;
    }
    (lock(&sim.world).now_ns - begun_ns, free_ns.into_iter().max().unwrap())
}

fn efficiency(workers: usize, lengths_ns: &[u64]) -> f64 {
    let mut sim = pool(workers);
    let (took, least) = makespan(&mut sim, lengths_ns, 1000);
    sim.finish();
    least as f64 / took as f64
}

fn assert_efficient(name: &str, lengths_ns: &[u64]) {
    for workers in [2, 8] {
        let found = efficiency(workers, lengths_ns);
        assert!(found >= 0.9, "{name} on {workers} workers: {found:.3} of the best");
    }
}

#[test]
fn equal_tasks_keep_all_workers_busy() {
    assert_efficient("10 us", &[10 * MICROSECOND_NS; 5000]);
    assert_efficient("1 ms", &[MILLISECOND_NS; 800]);
    assert_efficient("50 ms", &[50 * MILLISECOND_NS; 80]);
}

#[test]
fn long_tasks_behind_a_thousand_short_ones_are_shared() {
    // The short ones have taught the pool to hand out hundreds at once. What is lost is the time of one long one: only
    // when it has ended does its worker see that those behind it were taken back.
    let mut lengths = vec![MICROSECOND_NS; 1000];
    lengths.extend([100 * MILLISECOND_NS; 100]);
    assert_efficient("1 us, then 100 ms", &lengths);
}

#[test]
fn short_tasks_behind_long_ones_are_not_kept_waiting() {
    let mut lengths = vec![20 * MILLISECOND_NS; 16];
    lengths.extend([50 * MICROSECOND_NS; 4000]);
    assert_efficient("20 ms, then 50 us", &lengths);
}

#[test]
fn tasks_of_very_different_lengths_are_spread() {
    let mut dice = Dice(3);
    let long_tailed: Vec<u64> =
        (0..2000).map(|_| MICROSECOND_NS * (20 + 10_000 / (1 + dice.roll(500)).pow(2))).collect();
    assert_efficient("long-tailed", &long_tailed);
    let either: Vec<u64> =
        (0..1000).map(|_| if dice.one_in(10) { 5 * MILLISECOND_NS } else { 10 * MICROSECOND_NS }).collect();
    assert_efficient("10 us or 5 ms", &either);
    let rising: Vec<u64> = (0..1000).map(|task| task * MICROSECOND_NS).collect();
    assert_efficient("rising", &rising);
    let falling: Vec<u64> = (0..1000).rev().map(|task| task * MICROSECOND_NS).collect();
    assert_efficient("falling", &falling);
}

#[test]
fn one_long_task_in_a_batch_keeps_back_none_of_the_others() {
    let mut sim = pool(2);
    let mut lengths = vec![5 * MICROSECOND_NS; 1000];
    lengths[300] = 100 * MILLISECOND_NS;
    let (took, least) = makespan(&mut sim, &lengths, 1000);
    // The others are there long before: the worker that has nothing to do has fetched them.
    let starts = lock(&sim.world).started.len();
    assert_eq!(starts, 1000);
    assert!(took <= least + 5 * MILLISECOND_NS, "{took} ns for {least}");
    sim.finish();
}

#[test]
fn tasks_start_in_the_order_they_were_handed_in() {
    let mut sim = pool(1);
    let function = sim.crew.define([0; 8].into(), None, 1);
    for task in 0..300 {
        let function = if task % 3 == 0 { 0 } else { function };
        sim.submit(function, Sim::item(Way::Returns, 7 * MICROSECOND_NS), 0, Baggage::None);
        if task % 50 == 0 {
            sim.submit_batch(function.max(1), vec![Sim::item(Way::Returns, MICROSECOND_NS); 20], 0);
        }
    }
    sim.run_until(|sim| !sim.crew.is_busy());
    let started: Vec<u32> = lock(&sim.world).started.iter().map(|(_, id)| *id).collect();
    assert!(started.is_sorted(), "{started:?}");
    sim.finish();
}

#[test]
fn a_plain_task_behind_two_maps_waits_for_what_is_before_it_and_no_more() {
    let mut sim = pool(2);
    let maps = [0; 2].map(|_| sim.crew.define([0; 8].into(), None, 1));
    for map in maps {
        sim.submit_batch(map, vec![Sim::item(Way::Returns, 100 * MICROSECOND_NS); 500], 0);
    }
    let id = sim.submit(0, Sim::item(Way::Returns, MICROSECOND_NS), 0, Baggage::None);
    sim.run_until(|sim| lock(&sim.world).items[id as usize].settled);
    // 1000 tasks of 100 us on two workers, and what a worker holds ahead.
    assert!(lock(&sim.world).now_ns < 55 * MILLISECOND_NS);
    sim.finish();
}

/// How many of two idle workers get something of ten tasks of this length, handed in one by one; the pool knows the length.
fn workers_used(length_ns: u64) -> usize {
    let mut sim = pool(2);
    let function = sim.crew.define([0; 8].into(), None, 1);
    let submit = |sim: &mut Sim| {
        sim.submit(function, Sim::item(Way::Returns, length_ns), 0, Baggage::None);
    };
    for _ in 0..20 {
        submit(&mut sim);
        sim.run_until(|sim| !sim.crew.is_busy());
    }
    let known = lock(&sim.world).started.len();
    (0..10).for_each(|_| submit(&mut sim));
    sim.run_until(|sim| !sim.crew.is_busy());
    let used: BTreeSet<u64> = lock(&sim.world).started[known..].iter().map(|(token, _)| *token).collect();
    sim.finish();
    used.len()
}

#[test]
fn tiny_tasks_wake_no_second_worker_and_others_do() {
    assert_eq!(workers_used(MICROSECOND_NS), 1);
    assert_eq!(workers_used(10 * MICROSECOND_NS), 2);
    assert_eq!(workers_used(MILLISECOND_NS), 2);
}

/// Steps that the crew makes a worker's link take, for a pool of that many tasks and workers.
fn link_calls(tasks: u32, workers: usize) -> u64 {
    let mut sim = pool(workers);
    let function = sim.crew.define([0; 8].into(), None, 1);
    let ids: Vec<u32> = (0..tasks)
        .map(|_| sim.submit(function, Sim::item(Way::Returns, MICROSECOND_NS), 0, Baggage::None))
        .collect();
    let before: u64 = sim.workers.iter().map(|(_, link)| link.worker().calls).sum();
    ids.iter().rev().for_each(|id| sim.cancel(*id));
    sim.crew.drop_cancelled();
    sim.run_until(|sim| !sim.crew.is_busy());
    let calls = sim.workers.iter().map(|(_, link)| link.worker().calls).sum::<u64>() - before;
    sim.finish();
    calls
}

#[test]
fn cancelling_all_that_waits_costs_a_few_calls_a_task() {
    for (tasks, workers) in [(1000, 2), (10_000, 2), (2000, 64)] {
        let calls = link_calls(tasks, workers);
        let most = 8 * u64::from(tasks) * workers as u64 + 10_000;
        assert!(calls <= most, "{calls} calls for {tasks} tasks and {workers} workers");
    }
}

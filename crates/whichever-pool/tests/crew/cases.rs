//! Single stories: each was a defect once, or is a promise that random deeds hardly reach.

use std::sync::Arc;

use whichever_pool::{Limits, Parcel, Task, Why};

use super::sim::{Baggage, Sim};
use super::worker::Temper;
use super::world::{Way, lock};

const MILLISECOND_NS: u64 = 1_000_000;

/// Workers that move only when told, and rings without an end.
fn still() -> Temper {
    Temper { ring: usize::MAX, eager: 1, ..Temper::default() }
}

/// A pool of workers that are ready, and a function whose tasks take about a microsecond.
fn pool(workers: usize) -> (Sim, u32) {
    let mut sim = Sim::new(Limits { workers, tasks_per_worker: None }, still(), 1);
    let function = sim.crew.define([0; 8].into(), None, 1);
    sim.crew.hire_all();
    for _ in 0..4 * workers {
        sim.submit(function, Sim::item(Way::Returns, 1000), 0, Baggage::None);
    }
    sim.run_until(|sim| !sim.crew.is_busy() && sim.crew.pids().len() == sim.workers.len());
    go(&mut sim);
    (sim, function)
}

/// Everybody goes until nothing moves, time standing still.
fn go(sim: &mut Sim) {
    for index in 0..sim.workers.len() {
        sim.work(index, usize::MAX);
    }
}

/// As `Sim::work`, up to where a task has begun that does not end by itself.
fn begin(sim: &mut Sim) {
    sim.work(0, 10);
}

#[test]
fn memory_of_a_task_taken_back_is_kept_for_its_next_run() {
    let (mut sim, function) = pool(1);
    sim.submit(function, Sim::item(Way::Returns, MILLISECOND_NS), 0, Baggage::None);
    let unwanted = sim.submit(function, Sim::item(Way::Returns, 0), 0, Baggage::None);
    // Both go back to the queue with the unwanted one, and to the same worker again: which lets go of the last one's
    // memory for the first time when it sends the result of the other.
    for _ in 0..2 {
        sim.submit(function, Sim::item(Way::Returns, 0), 0, Baggage::Copied);
    }
    begin(&mut sim);
    sim.cancel(unwanted);
    assert_eq!(sim.crew.depth(), (2, 1));
    sim.pass(2 * MILLISECOND_NS);
    go(&mut sim);
    sim.collect();
    assert_eq!(sim.crew.depth(), (0, 2));
    sim.work(0, 6); // the first of the two has been sent
    sim.collect();
    assert_eq!(sim.crew.depth(), (0, 1));
    go(&mut sim); // the worker checks that the memory of what it runs is in use
    sim.finish();
}

#[test]
fn a_task_that_finds_itself_stopped_before_it_begins_leaves_no_memory() {
    let (mut sim, function) = pool(1);
    let id = sim.submit(function, Sim::item(Way::Returns, 0), 0, Baggage::Copied);
    sim.work(0, 2); // the desk names it, and whether it may start was not looked at
    let (token, position) = lock(&sim.world).places[id as usize].unwrap();
    assert!(sim.crew.runs(token, position));
    sim.stop_all();
    go(&mut sim);
    sim.collect();
    assert_eq!((sim.crew.depth(), lock(&sim.world).items[id as usize].starts), ((0, 0), 0));
    sim.finish();
}

#[test]
fn memory_is_given_back_once_when_the_result_is_too_large() {
    let (mut sim, function) = pool(1);
    sim.submit(function, Sim::item(Way::IsTooLarge, 0), 0, Baggage::LongBody);
    sim.workers[0].1.worker().neighbours = Some(Vec::new());
    go(&mut sim);
    sim.collect();
    let ranges = sim.workers[0].1.worker().neighbours.take().unwrap();
    assert_eq!(sim.arena.statistics().used_ranges, ranges.len(), "somebody else's range was freed");
    ranges.iter().for_each(|range| sim.arena.free(range.offset));
    sim.finish();
}

#[test]
fn a_task_that_is_being_copied_breaks_with_the_pool() {
    let (mut sim, function) = pool(1);
    sim.loads_slowly = true;
    let mut id = 0;
    while sim.crew.depth().1 > 0 || sim.crew.depth().0 == 0 {
        sim.run_until(|sim| !sim.crew.is_busy());
        id = sim.submit(function, Sim::item(Way::Returns, 0), 0, Baggage::Copied);
    }
    sim.break_down();
    assert!(!lock(&sim.world).items[id as usize].settled);
    sim.load();
    assert!(lock(&sim.world).items[id as usize].settled);
    sim.finish();
}

#[test]
fn a_worker_that_comes_to_a_broken_pool_is_sent_away() {
    let mut sim = Sim::new(Limits { workers: 1, tasks_per_worker: None }, still(), 1);
    sim.crew.hire_all();
    sim.break_down(); // the worker is seated after that: the effect was left to us
    sim.bury();
    assert!(!sim.crew.has_workers());
}

#[test]
fn the_rest_of_a_batch_given_up_while_its_first_runs_never_starts() {
    let mut sim = Sim::new(Limits { workers: 1, tasks_per_worker: None }, still(), 1);
    let function = sim.crew.define([0; 8].into(), None, 50); // the user wants 50 together
    let first = sim.submit_batch(function, vec![Sim::item(Way::Returns, MILLISECOND_NS); 50], 0);
    sim.run_until(|sim| lock(&sim.world).started.len() > 1);
    sim.cancel_batch(first, 50);
    sim.run_until(|sim| !sim.crew.is_busy());
    // Besides those that run: what the worker has said may have started with them.
    assert!(lock(&sim.world).started.len() <= 1 + 8, "{} started", lock(&sim.world).started.len());
    sim.finish();
}

#[test]
fn tasks_cancelled_from_the_last_to_the_first_do_not_start() {
    let (mut sim, function) = pool(1);
    let before = lock(&sim.world).started.len();
    let ids: Vec<u32> = (0..10)
        .map(|_| sim.submit(function, Sim::item(Way::Returns, MILLISECOND_NS), 0, Baggage::None))
        .collect();
    begin(&mut sim);
    ids[1..].iter().rev().for_each(|id| sim.cancel(*id));
    sim.run_until(|sim| !sim.crew.is_busy());
    assert_eq!(lock(&sim.world).started.len(), before + 1);
    sim.finish();
}

#[test]
fn a_refused_worker_is_asked_for_again_after_a_while() {
    let mut sim = Sim::new(Limits { workers: 2, tasks_per_worker: None }, still(), 1);
    sim.submit(0, Sim::item(Way::Returns, 10_000 * MILLISECOND_NS), 0, Baggage::None);
    sim.run_until(|sim| sim.crew.depth() == (0, 1));
    sim.hires_fail = 1;
    let before = sim.hires;
    for _ in 0..10 {
        sim.submit(0, Sim::item(Way::Returns, 0), 0, Baggage::None);
        sim.supervise();
    }
    assert_eq!(sim.hires, before + 1, "asked once");
    sim.hires_fail = 0;
    let asked_ns = lock(&sim.world).now_ns + 1000 * MILLISECOND_NS;
    while lock(&sim.world).now_ns < asked_ns {
        let next_ns = sim.supervise().expect("the pool will look again");
        lock(&sim.world).now_ns = next_ns.min(asked_ns);
    }
    sim.supervise();
    assert_eq!(sim.hires, before + 2);
    sim.finish();
}

#[test]
fn with_no_worker_at_all_a_refusal_settles_what_waits_and_the_next_task_tries_again() {
    let mut sim = Sim::new(Limits { workers: 2, tasks_per_worker: None }, still(), 1);
    sim.hires_fail = 1;
    for attempt in 1..=3 {
        sim.submit(0, Sim::item(Way::Returns, 0), 0, Baggage::None);
        assert_eq!((sim.crew.depth(), sim.hires), ((0, 0), attempt));
    }
    sim.finish();
}

#[test]
fn a_task_that_runs_too_long_is_interrupted_and_then_killed() {
    let (mut sim, function) = pool(1);
    for stubborn in [false, true] {
        let workers = sim.hires;
        let item = Sim::item(Way::Hangs { stubborn }, u64::MAX);
        sim.submit(function, item, 5 * MILLISECOND_NS, Baggage::None);
        sim.run_until(|sim| !sim.crew.is_busy());
        assert_eq!(sim.crew.counts().timed_out, 1 + u64::from(stubborn));
        assert_eq!(sim.workers.is_empty(), stubborn, "of {workers}");
    }
    sim.finish();
}

#[test]
fn a_task_that_fits_no_record_fails_at_once_and_harms_no_other() {
    let (mut sim, function) = pool(1);
    let before = sim.crew.counts().raised;
    let parcels = |count: usize| (0..count).map(|_| Parcel::Copied(Arc::new(vec![0; 8]))).collect();
    for (context, parcels) in [(70_000, parcels(0)), (100, parcels(4096)), (40_000, parcels(1600))] {
        let slip = sim.enter(vec![Sim::item(Way::IsTooLarge, 0)]);
        let task = Task::new(slip, function, false, Arc::from([0; 8]));
        sim.crew.submit(Task { context: vec![0; context].into(), parcels, ..task });
    }
    assert_eq!((sim.crew.counts().raised - before, sim.crew.depth()), (3, (0, 0)));
    // This one fits once its body has made room.
    let slip = sim.enter(vec![Sim::item(Way::Returns, 0)]);
    let body = [slip.first.to_le_bytes().to_vec(), vec![slip.first as u8; 30_000]].concat();
    let task = Task::new(slip, function, false, Arc::from(body));
    sim.crew.submit(Task { context: vec![0; 40_000].into(), ..task });
    sim.supply();
    sim.finish();
}

#[test]
fn a_stop_that_comes_for_a_place_long_left_does_nothing() {
    let (mut sim, function) = pool(1);
    let id = sim.submit(function, Sim::item(Way::Returns, MILLISECOND_NS), 0, Baggage::None);
    begin(&mut sim);
    let (token, position) = lock(&sim.world).places[id as usize].unwrap();
    sim.crew.stop(token, position + 1, Why::Cancelled, 0);
    sim.crew.stop(token + 1, position, Why::Cancelled, 0);
    sim.run_until(|sim| !sim.crew.is_busy());
    assert_eq!(sim.crew.counts().cancelled, 0);
    sim.finish();
}

#[test]
fn a_task_cancelled_while_it_is_handed_over_never_starts() {
    let (mut sim, function) = pool(1);
    let next = u32::try_from(lock(&sim.world).items.len()).unwrap();
    lock(&sim.world).cancelled_late = Some(next);
    let id = sim.submit(function, Sim::item(Way::Hangs { stubborn: true }, 0), 0, Baggage::Copied);
    assert_eq!(id, next);
    let item = lock(&sim.world).items[id as usize].clone();
    assert!(item.settled && item.starts == 0);
    sim.run_until(|sim| !sim.crew.is_busy());
}

#[test]
fn a_call_given_up_behind_many_tasks_and_before_many_is_dropped_at_the_latest_when_its_turn_comes() {
    let (mut sim, function) = pool(1);
    sim.submit(function, Sim::item(Way::Returns, MILLISECOND_NS), 0, Baggage::None);
    begin(&mut sim);
    let many = |sim: &mut Sim| {
        for _ in 0..12_000 {
            sim.submit(function, Sim::item(Way::Returns, 0), 0, Baggage::None);
        }
    };
    many(&mut sim);
    let items = || vec![Sim::item(Way::Returns, 0); 3];
    let early = sim.submit_batch(function, items(), 0);
    many(&mut sim);
    let late = sim.submit_batch(function, items(), 0);
    let ended = |sim: &Sim, first: u32| lock(&sim.world).items[first as usize].settled;
    sim.cancel_batch(early, 3);
    sim.cancel_batch(late, 3);
    assert!(ended(&sim, late) && !ended(&sim, early));
    sim.run_until(|sim| !sim.crew.is_busy());
    let items = lock(&sim.world).items.clone();
    assert!(items[early as usize..early as usize + 3].iter().all(|item| item.settled && item.starts == 0));
}

#[test]
fn tasks_that_were_taken_back_are_not_counted_against_their_workers_life() {
    let mut sim = Sim::new(Limits { workers: 1, tasks_per_worker: Some(4) }, still(), 1);
    let function = sim.crew.define([0; 8].into(), None, 4);
    let submit = |sim: &mut Sim| sim.submit(function, Sim::item(Way::Returns, 1000), 0, Baggage::None);
    submit(&mut sim);
    sim.run_until(|sim| !sim.crew.is_busy());
    submit(&mut sim);
    begin(&mut sim);
    let unwanted = [submit(&mut sim), submit(&mut sim)];
    assert_eq!(sim.crew.depth(), (0, 3)); // all that this worker will ever do
    for id in unwanted {
        sim.cancel(id);
    }
    let last = [submit(&mut sim), submit(&mut sim)];
    sim.run_until(|sim| !sim.crew.is_busy());
    assert!(last.iter().all(|id| lock(&sim.world).items[*id as usize].finished));
    assert_eq!(sim.crew.counts().hired, 1);
}

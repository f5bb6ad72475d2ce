//! The tally, case by case: which evidence makes which ledger.

use std::collections::BTreeMap;

use whichever_model::{BlockedKind, Bursts, Evidence, Samples, Sight, Totals, tally};

fn close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0)
}

fn evidence(wall: f64, cpu: f64, samples: Samples) -> Evidence {
    let totals = Totals { task_seconds: vec![wall], cpu, voluntary_switches: 1, ..Totals::default() };
    Evidence { sight: Sight::Full, samples, totals, ..Evidence::default() }
}

#[test]
fn cpu_time_is_split_by_the_samples_that_saw_it_run() {
    let samples = Samples { held_running: 30, released_running: 10, ..Samples::default() };
    let ledger = tally(&evidence(1.0, 0.8, samples));
    assert!(close(ledger.parts.held, 0.6) && close(ledger.parts.released, 0.2));
    assert!(ledger.standard_error.held > 0.0);
}

#[test]
fn time_off_cpu_is_split_over_waiting_and_kinds() {
    let blocked = BTreeMap::from([(BlockedKind::Network, 6), (BlockedKind::File, 2)]);
    let samples = Samples { held_running: 8, waiting: 2, held_blocked: 2, blocked, ..Samples::default() };
    let ledger = tally(&evidence(2.0, 0.8, samples));
    assert!(close(ledger.parts.waiting, 0.2));
    assert!(close(ledger.parts.held, 1.0) && close(ledger.held_off_cpu, 0.2));
    assert!(close(ledger.parts.blocked[&BlockedKind::Network], 0.6));
    assert!(close(ledger.parts.blocked[&BlockedKind::File], 0.2));
}

#[test]
fn a_woken_waiter_waits_and_does_not_queue() {
    let samples = Samples { waiting: 5, waiting_woken: 5, ..Samples::default() };
    let mut evidence = evidence(1.0, 0.0, samples);
    evidence.totals.queued = 0.5;
    let ledger = tally(&evidence);
    assert!(close(ledger.parts.waiting, 1.0) && close(ledger.parts.queued, 0.0));
    assert!(close(ledger.queue_share, 0.5));
}

#[test]
fn a_thread_that_queued_after_waking_did_not_run_without_the_gil() {
    let blocked = BTreeMap::from([(BlockedKind::Sleep, 50)]);
    let samples = Samples { held_running: 25, free_queued: 25, blocked, ..Samples::default() };
    let mut evidence = evidence(1.0, 0.25, samples);
    evidence.totals.queued = 0.25;
    let ledger = tally(&evidence);
    assert!(close(ledger.parts.held, 0.25) && close(ledger.parts.released, 0.0));
    assert!(close(ledger.parts.queued, 0.25));
}

#[test]
fn a_thread_that_the_sampler_pushed_off_its_core_ran() {
    let samples = Samples { held_queued: 10, free_queued: 30, ..Samples::default() };
    let ledger = tally(&evidence(1.0, 1.0, samples));
    assert!(close(ledger.parts.held, 0.25) && close(ledger.parts.released, 0.75));
}

#[test]
fn without_samples_cpu_counts_as_held_and_may_be_wrong_by_all_of_it() {
    let ledger = tally(&evidence(1.0, 0.4, Samples::default()));
    assert!(close(ledger.parts.held, 0.4) && close(ledger.standard_error.held, 0.4));
    assert!(close(ledger.parts.blocked[&BlockedKind::Unknown], 0.6));
    assert!(close(ledger.standard_error.blocked[&BlockedKind::Unknown], 0.6));
}

#[test]
fn a_thread_that_never_gave_its_core_up_was_never_blocked() {
    let mut evidence = evidence(1.0, 0.9, Samples { held_running: 9, ..Samples::default() });
    evidence.totals.voluntary_switches = 0;
    let ledger = tally(&evidence);
    assert!(ledger.parts.blocked.is_empty() && close(ledger.parts.queued, 0.1));
}

#[test]
fn without_a_gil_nothing_is_held() {
    let samples = Samples { released_running: 3, ..Samples::default() };
    let ledger = tally(&Evidence { sight: Sight::WithoutGil, ..evidence(1.0, 0.5, samples) });
    assert!(!ledger.gil && close(ledger.parts.held, 0.0) && close(ledger.parts.released, 0.5));
    assert_eq!(ledger.unknown.len(), 1);
}

#[test]
fn clocks_alone_name_what_they_cannot_tell() {
    let ledger = tally(&Evidence { sight: Sight::ClocksOnly, ..evidence(1.0, 0.5, Samples::default()) });
    assert!(close(ledger.parts.held, 0.5) && close(ledger.parts.blocked[&BlockedKind::Unknown], 0.5));
    assert_eq!(ledger.unknown.len(), 3);
}

#[test]
fn releases_are_counted_per_cpu_second_and_at_least_once_for_each_blocking_call() {
    let blocked = BTreeMap::from([(BlockedKind::Network, 10)]);
    let mut evidence = evidence(1.0, 0.5, Samples { held_running: 10, blocked, ..Samples::default() });
    evidence.totals.voluntary_switches = 40;
    assert!(close(tally(&evidence).releases, 40.0));
    evidence.bursts = Bursts { releases: 10, cpu: 0.01 };
    assert!(close(tally(&evidence).releases, 500.0));
}

#[test]
fn the_first_task_does_not_spoil_the_spread() {
    let totals = Totals { task_seconds: vec![9.0, 1.0, 3.0], ..Totals::default() };
    let ledger = tally(&Evidence { totals, ..Evidence::default() });
    assert!(close(ledger.first, 9.0) && close(ledger.longest, 3.0));
    assert!(close(ledger.spread, 2.0_f64.sqrt()));
}

#[test]
fn foreign_cpu_is_taken_off_the_others_and_never_exceeds_it() {
    let mut evidence = evidence(1.0, 0.5, Samples::default());
    (evidence.totals.others_cpu, evidence.totals.foreign_cpu) = (2.0, 0.5);
    assert!(close(tally(&evidence).inner_cpu, 1.5));
    evidence.totals.foreign_cpu = 3.0;
    assert!(close(tally(&evidence).foreign_cpu, 2.0) && close(tally(&evidence).inner_cpu, 0.0));
}

#[test]
fn no_tasks_give_an_empty_ledger() {
    let ledger = tally(&Evidence::default());
    assert_eq!((ledger.tasks, ledger.samples), (0, 0));
    assert!(close(ledger.wall, 0.0) && close(ledger.parts.total(), 0.0));
}

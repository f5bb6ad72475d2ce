//! The tally over any evidence at all: sums, bounds, and numbers that stay numbers.

use proptest::prelude::*;
use whichever_model::{BlockedKind, Bursts, Evidence, Ledger, Parts, Samples, Sight, Totals, tally};

fn samples() -> impl Strategy<Value = Samples> {
    let count = || prop_oneof![Just(0_u64), 1..3_u64, 0..100_000_u64];
    let kinds = prop::collection::btree_map(prop::sample::select(&BlockedKind::ALL[..]), count(), 0..4);
    (prop::array::uniform7(count()), kinds).prop_map(|(counts, blocked)| {
        let [held_running, held_queued, held_blocked, released_running, free_queued, waiting, waiting_woken] =
            counts;
        Samples {
            held_running,
            held_queued,
            held_blocked,
            released_running,
            free_queued,
            waiting,
            waiting_woken,
            blocked,
        }
    })
}

/// Clocks as they come: mostly sane, sometimes not numbers at all.
fn clock() -> impl Strategy<Value = f64> {
    prop_oneof![9 => 0.0..100.0, 1 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(-1.0), 1 => Just(f64::INFINITY)]
}

fn sight() -> impl Strategy<Value = Sight> {
    prop::sample::select(vec![
        Sight::Full,
        Sight::WithoutGil,
        Sight::StatesOnly,
        Sight::ClocksOnly,
        Sight::ClocksOnlyWithoutGil,
    ])
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let clocks = prop::array::uniform8(clock());
    (sight(), samples(), prop::collection::vec(clock(), 0..5), clocks, 0..1000_u64).prop_map(
        |(sight, samples, task_seconds, clocks, count)| {
            let [cpu, queued, child_cpu, others_cpu, foreign_cpu, rate_hz, sampler_load, burst] = clocks;
            Evidence {
                sight,
                samples,
                totals: Totals {
                    task_seconds,
                    cpu,
                    queued,
                    child_cpu,
                    others_cpu,
                    foreign_cpu,
                    minor_faults: count,
                    voluntary_switches: count % 3,
                },
                bursts: Bursts { releases: count, cpu: burst },
                rate_hz,
                sampler_load,
                unknown: Vec::new(),
            }
        },
    )
}

fn numbers(ledger: &Ledger) -> Vec<f64> {
    let of_parts = |parts: &Parts| {
        let mut all = vec![parts.held, parts.released, parts.waiting, parts.queued];
        all.extend(parts.blocked.values());
        all
    };
    let mut all = of_parts(&ledger.parts);
    all.extend(of_parts(&ledger.standard_error));
    all.extend([ledger.wall, ledger.held_off_cpu, ledger.cpu, ledger.child_cpu, ledger.inner_cpu]);
    all.extend([ledger.foreign_cpu, ledger.releases, ledger.first, ledger.spread, ledger.longest]);
    all.extend([ledger.rate_hz, ledger.sampler_load, ledger.queue_share]);
    all
}

proptest! {
    #[test]
    fn the_parts_add_up_to_wall_time(evidence in evidence()) {
        let ledger = tally(&evidence);
        prop_assert!((ledger.parts.total() - ledger.wall).abs() <= 1e-9 * ledger.wall.max(1.0));
    }

    #[test]
    fn every_number_is_finite_and_none_is_negative(evidence in evidence()) {
        for number in numbers(&tally(&evidence)) {
            prop_assert!(number.is_finite() && number >= 0.0, "{number}");
        }
    }

    #[test]
    fn exact_cpu_bounds_what_ran(evidence in evidence()) {
        let ledger = tally(&evidence);
        let ran = ledger.parts.held - ledger.held_off_cpu + ledger.parts.released;
        prop_assert!(ran <= ledger.cpu.min(ledger.wall) + 1e-9 * ledger.wall.max(1.0));
    }

    #[test]
    fn no_error_exceeds_wall_time(evidence in evidence()) {
        let ledger = tally(&evidence);
        for error in [&ledger.standard_error.held, &ledger.standard_error.released, &ledger.standard_error.waiting] {
            prop_assert!(*error <= ledger.wall + 1e-9);
        }
    }
}

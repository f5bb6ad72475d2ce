//! Producers and consumers of a depot are killed at random instants, hundreds of times.
#![cfg(not(loom))]
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it, as the test does")]

mod support;

use std::time::Duration;

use support::{role, start_again};
use whichever_ring::{Depot, DepotError, DepotWant};
use whichever_sys::monotonic_ns;

const KILLS: u64 = 120;
/// How long a process lives after its first sign of life, at most.
const LIFE_NS: u64 = 1_500_000;
const BOUND: Duration = Duration::from_secs(20);
const BOUND_NS: u64 = 20_000_000_000;

/// A record of a length of its own, filled with bytes of its own; some cross chunks.
fn record(number: u64) -> Vec<u8> {
    let mut bytes = number.to_ne_bytes().to_vec();
    let len = if number.is_multiple_of(17) { 150_000 } else { 8 + number % 300 };
    bytes.resize(usize::try_from(len).unwrap(), number.to_ne_bytes()[0]);
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, record(number), "a record that is not whole");
    number
}

fn put(depot: &Depot, number: u64) {
    while let Err(error) = depot.put(&[&record(number)], true, BOUND) {
        assert!(matches!(error, DepotError::Full), "{error:?}");
        depot.sleep(DepotWant::Place, BOUND).unwrap();
    }
}

fn try_get(depot: &Depot) -> Option<u64> {
    let mut into = Vec::new();
    match depot.get(&mut into, usize::MAX, BOUND) {
        Ok(()) => Some(number(&into)),
        Err(DepotError::Empty) => None,
        Err(error) => panic!("{error:?}"),
    }
}

fn get(depot: &Depot) -> u64 {
    let end_ns = monotonic_ns() + BOUND_NS;
    loop {
        if let Some(number) = try_get(depot) {
            return number;
        }
        assert!(monotonic_ns() < end_ns, "nothing came");
        depot.sleep(DepotWant::Item, BOUND).unwrap();
    }
}

#[test]
#[ignore = "a role that the tests below start"]
fn plays_the_other() {
    let Some((name, mut files)) = role() else { return };
    let answers = Depot::open(files.pop().unwrap()).unwrap();
    let depot = Depot::open(files.pop().unwrap()).unwrap();
    // Should the test die first, not for ever.
    let end_ns = monotonic_ns() + BOUND_NS;
    let mut count = 0;
    while monotonic_ns() < end_ns {
        if name == "puts" {
            put(&depot, count);
            count += 1;
        } else {
            let number = get(&depot);
            put(&answers, number);
            depot.finish(BOUND).unwrap();
        }
    }
}

fn instant() -> u64 {
    let now = monotonic_ns();
    now + now.wrapping_mul(0x9E37_79B9_7F4A_7C15) % LIFE_NS
}

#[test]
fn a_killed_producer_leaves_whole_records_in_order_and_blocks_nobody() {
    let depot = Depot::create(50, 0).unwrap();
    let answers = Depot::create(0, 0).unwrap();
    for _ in 0..KILLS {
        let arguments = ["--exact", "plays_the_other", "--ignored"];
        let mut child = start_again(&arguments, "puts", &[depot.file(), answers.file()]);
        assert_eq!(get(&depot), 0);
        let mut next = 1;
        let end_ns = instant();
        while monotonic_ns() < end_ns {
            if let Some(number) = try_get(&depot) {
                assert_eq!(number, next);
                next += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(number) = try_get(&depot) {
            assert_eq!(number, next);
            next += 1;
        }
        put(&depot, 12);
        assert_eq!(get(&depot), 12);
    }
    assert!(depot.state().held_bytes < 64 << 20, "chunks are lost: {:?}", depot.state());
}

#[test]
fn a_killed_consumer_loses_one_record_at_most_and_none_comes_twice() {
    let depot = Depot::create(50, 0).unwrap();
    let answers = Depot::create(0, 0).unwrap();
    let (mut next, mut answered) = (0, Vec::new());
    for _ in 0..KILLS {
        let arguments = ["--exact", "plays_the_other", "--ignored"];
        let mut child = start_again(&arguments, "takes", &[depot.file(), answers.file()]);
        put(&depot, next);
        next += 1;
        answered.push(get(&answers));
        let end_ns = instant();
        while monotonic_ns() < end_ns {
            if depot.put(&[&record(next)], true, BOUND).is_ok() {
                next += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        answered.extend(std::iter::from_fn(|| try_get(&answers)));
    }
    let left: Vec<u64> = std::iter::from_fn(|| try_get(&depot)).collect();
    answered.extend(left);
    assert!(answered.is_sorted_by(|one, other| one < other), "out of order, or twice");
    let lost = next - answered.len() as u64;
    assert!(lost <= KILLS, "{lost} records are lost after {KILLS} kills");
    put(&depot, 1);
    assert_eq!(get(&depot), 1);
}

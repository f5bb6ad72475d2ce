//! A depot does what a plain queue of byte strings does, whatever their lengths.
#![cfg(not(loom))]
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it, as the test does")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use whichever_ring::{Depot, DepotError, DepotWant, open_address};

const NOW: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);

fn put(depot: &Depot, bytes: &[u8]) {
    depot.put(&[bytes], true, NOW).unwrap();
}

fn get(depot: &Depot) -> Option<Vec<u8>> {
    let mut into = Vec::new();
    match depot.get(&mut into, usize::MAX, NOW) {
        Ok(()) => Some(into),
        Err(DepotError::Empty | DepotError::Closed) => None,
        Err(other) => panic!("{other:?}"),
    }
}

/// Bytes that tell their place and length.
fn record(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + number * 7) % 251).unwrap()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Get,
    Finish,
    Close(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![
        4 => 0..40_usize,
        2 => 65_500..65_560_usize,
        1 => 0..400_000_usize,
    ];
    let step = prop_oneof![
        6 => len.prop_map(Step::Put),
        6 => Just(Step::Get),
        3 => Just(Step::Finish),
        1 => any::<bool>().prop_map(Step::Close),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_depot_does_what_a_plain_queue_does(steps in steps(), limit in 0..6_u64) {
        let depot = Depot::create(limit, 0).unwrap();
        let (mut model, mut unfinished, mut closed) = (VecDeque::new(), 0_u64, false);
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Put(len) => {
                    let bytes = record(number, *len);
                    let (left, right) = bytes.split_at(bytes.len() / 3);
                    match depot.put(&[left, right], true, NOW) {
                        Ok(()) => {
                            assert!(!closed && (limit == 0 || (model.len() as u64) < limit));
                            model.push_back(bytes);
                            unfinished += 1;
                        }
                        Err(DepotError::Closed) => assert!(closed),
                        Err(DepotError::Full) => assert_eq!(model.len() as u64, limit),
                        Err(other) => panic!("{other:?}"),
                    }
                }
                Step::Get => assert_eq!(get(&depot), model.pop_front()),
                Step::Finish => {
                    assert_eq!(depot.finish(NOW).unwrap(), unfinished > 0);
                    unfinished = unfinished.saturating_sub(1);
                }
                Step::Close(immediate) => {
                    depot.close(*immediate, NOW).unwrap();
                    closed = true;
                    if *immediate {
                        unfinished = unfinished.saturating_sub(model.len() as u64);
                        model.clear();
                    }
                }
            }
            let state = depot.state();
            assert_eq!((state.puts - state.gets, state.unfinished), (model.len() as u64, unfinished));
            assert_eq!(depot.is_there(DepotWant::Item), closed || !model.is_empty());
            assert_eq!(depot.is_there(DepotWant::End), unfinished == 0);
        }
    }
}

#[test]
fn memory_is_used_again_and_a_burst_gives_its_back() {
    let depot = Depot::create(0, 0).unwrap();
    for round in 0..400 {
        put(&depot, &record(round, 30_000));
        assert_eq!(get(&depot).unwrap().len(), 30_000);
    }
    assert!(depot.state().held_bytes <= 512 * 1024, "{:?}", depot.state());
}

#[test]
fn a_record_longer_than_allowed_stays_where_it_is() {
    let depot = Depot::create(0, 0).unwrap();
    put(&depot, &record(1, 1000));
    let mut into = Vec::new();
    assert!(matches!(depot.get(&mut into, 999, NOW), Err(DepotError::Long(1000))));
    assert_eq!(get(&depot), Some(record(1, 1000)));
}

#[test]
fn fresh_memory_is_cold_while_much_is_in_use() {
    let depot = Depot::create(0, 0).unwrap();
    let large = record(1, 1 << 20);
    let mut puts = 0;
    while depot.put(&[&large], false, NOW).is_ok() {
        puts += 1;
    }
    assert!((8..12).contains(&puts), "{puts}");
    assert!(matches!(depot.put(&[&large], false, NOW), Err(DepotError::Cold)));
    assert!(get(&depot).is_some());
    depot.put(&[&large], false, NOW).unwrap();
}

#[test]
fn an_address_opens_the_same_depot_and_is_counted_until_then() {
    let depot = Depot::create(0, 0).unwrap();
    put(&depot, b"here");
    let address = depot.address().unwrap();
    assert!(depot.is_under_way());
    let other = open_address(address).unwrap();
    assert!(!depot.is_under_way());
    assert_eq!(get(&other), Some(b"here".to_vec()));
    let wrong = whichever_ring::Address { key: address.key ^ 1, ..address };
    assert!(open_address(wrong).is_err());
    drop((depot, other));
    assert!(open_address(address).is_err());
}

#[test]
fn a_sleeper_hears_of_a_put_of_a_get_and_of_the_end() {
    let depot = Depot::create(1, 0).unwrap();
    let wait = |want| {
        while !depot.is_there(want) {
            depot.sleep(want, LONG).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let getter = scope.spawn(|| wait(DepotWant::Item));
        put(&depot, b"1");
        getter.join().unwrap();
        let putter = scope.spawn(|| wait(DepotWant::Place));
        get(&depot).unwrap();
        putter.join().unwrap();
        let joiner = scope.spawn(|| wait(DepotWant::End));
        assert!(depot.finish(LONG).unwrap());
        joiner.join().unwrap();
    });
}

#[test]
fn what_was_overwritten_is_broken_and_no_fault() {
    let depot = Depot::create(0, 0).unwrap();
    put(&depot, &record(1, 200_000));
    let table = 4096;
    depot.file().write_at(&[0xAB; 64], table).unwrap();
    let mut into = Vec::new();
    assert!(matches!(depot.get(&mut into, usize::MAX, NOW), Err(DepotError::Broken)));
    assert!(matches!(depot.put(&[b"more"], true, NOW), Err(DepotError::Broken)));
    assert!(Depot::open(whichever_sys::SharedFile::create("empty").unwrap()).is_err());
}

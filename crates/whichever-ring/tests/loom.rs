//! Every pair of steps in PROTOCOL.md, in all orders two or three threads can take them.
//!
//! Runs under `make test-loom` only: loom replaces the atomics, and reports a lost wake as a deadlock and a byte that is
//! touched by both ends at once as a race.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use whichever_ring::{
    Begin, Bell, CallerEnd, Consumer, Desk, Producer, PushError, Spin, Wait, WorkerEnd, model_link,
    model_page,
};

/// Explores all schedules with up to so many switches away from a thread that could go on. Bugs of this kind need two
/// or three; without a bound three threads take hours.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn record(number: u8) -> Vec<u8> {
    vec![number; usize::from(number) * 3]
}

/// Waits on `bell` without spinning or time limit.
fn wait(bell: Bell<'_>, ready: impl FnMut() -> bool) {
    assert_eq!(bell.wait(ready, None, &mut Spin::never()), Wait::Ready);
}

/// Takes the next record, asleep on `bell` until it is there.
fn take(consumer: &mut Consumer, bell: Bell<'_>) -> Vec<u8> {
    wait(bell, || !consumer.is_empty());
    consumer.pop(<[u8]>::to_vec).expect("the wait said that there is one")
}

/// Pushes a record, asleep on `bell` while there is no room.
fn put(producer: &mut Producer, bell: Bell<'_>, bytes: &[u8]) {
    wait(bell, || producer.try_push(&[bytes]) != Err(PushError::Full));
}

/// Pushes a task's number as its result.
fn answer(results: &mut Producer, seq: u64) {
    results.try_push(&[&seq.to_ne_bytes()]).expect("the ring has room for every result of the test");
}

fn results_in(results: &mut Consumer) -> Vec<u64> {
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("a number was pushed"));
    std::iter::from_fn(|| results.pop(number)).collect()
}

#[test]
fn records_arrive_whole_while_the_ring_wraps() {
    explore(3, || {
        // Room for two records, with a skip at the end.
        let (caller, worker) = model_link(64);
        let mut requests = worker.requests;
        let consumer = thread::spawn(move || {
            for number in 1..=4 {
                loop {
                    match requests.pop(<[u8]>::to_vec) {
                        Some(bytes) => break assert_eq!(bytes, record(number)),
                        None => thread::yield_now(),
                    }
                }
            }
            assert!(requests.is_empty() && !requests.is_corrupt());
        });
        let mut requests = caller.requests;
        for number in 1..=4 {
            while requests.try_push(&[&record(number)]) == Err(PushError::Full) {
                thread::yield_now();
            }
        }
        consumer.join().unwrap();
        assert!(requests.is_drained());
    });
}

#[test]
fn a_sleeping_worker_is_woken_for_every_task() {
    explore(4, || {
        let (caller, worker) = model_link(64);
        let sleeper = thread::spawn(move || {
            let WorkerEnd { mut requests, desk, .. } = worker;
            for number in 1..=2 {
                assert_eq!(take(&mut requests, desk.bell()), record(number));
            }
        });
        let CallerEnd { mut requests, desk, .. } = caller;
        for number in 1..=2 {
            requests.try_push(&[&record(number)]).unwrap();
            desk.bell().ring();
        }
        sleeper.join().unwrap();
    });
}

#[test]
fn a_sleeping_caller_is_woken_by_either_of_two_workers() {
    explore(3, || {
        let page = model_page();
        let (mut results, workers): (Vec<_>, Vec<_>) = (1..=2)
            .map(|number| {
                let (caller, worker) = model_link(64);
                let (mut end, page) = (worker.results, page.clone());
                let ringer = move || {
                    end.try_push(&[&record(number)]).unwrap();
                    page.bell().ring();
                };
                (caller.results, thread::spawn(ringer))
            })
            .unzip();
        for _ in 0..2 {
            wait(page.bell(), || results.iter().any(|ring| !ring.is_empty()));
            let full = results.iter_mut().find(|ring| !ring.is_empty()).expect("one is not empty");
            full.pop(|_| ()).expect("it was not empty");
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_worker_that_died_before_it_rang_costs_no_other_worker_its_wake() {
    explore(3, || {
        let page = model_page();
        let ((caller, worker), (dying_caller, dying_worker)) = (model_link(64), model_link(64));
        let killed = thread::spawn(move || {
            let mut results = dying_worker.results;
            results.try_push(&[&record(2)]).unwrap();
            // Killed here, before it rings.
        });
        let mut results = worker.results;
        let living_page = page.clone();
        let living = thread::spawn(move || {
            results.try_push(&[&record(1)]).unwrap();
            living_page.bell().ring();
        });
        let mut results = caller.results;
        assert_eq!(take(&mut results, page.bell()), record(1));
        killed.join().unwrap();
        // Its death was seen by other means: what it had published is there.
        let mut left = dying_caller.results;
        assert_eq!(left.pop(<[u8]>::to_vec), Some(record(2)));
        living.join().unwrap();
    });
}

#[test]
fn a_worker_that_waits_for_room_is_woken_when_there_is_some() {
    explore(3, || {
        let (caller, worker) = model_link(64);
        let pusher = thread::spawn(move || {
            let WorkerEnd { mut results, desk, .. } = worker;
            for number in 1..=4 {
                put(&mut results, desk.bell(), &record(number));
            }
        });
        let CallerEnd { mut results, desk, .. } = caller;
        for number in 1..=4 {
            let bytes = loop {
                match results.pop(<[u8]>::to_vec) {
                    Some(bytes) => break bytes,
                    None => thread::yield_now(),
                }
            };
            desk.bell().ring();
            assert_eq!(bytes, record(number));
        }
        pusher.join().unwrap();
    });
}

#[test]
fn a_ring_for_each_quarter_taken_wakes_who_waits_for_room() {
    explore(3, || {
        let (caller, worker) = model_link(128);
        let (CallerEnd { results: mut taken, desk, .. }, WorkerEnd { mut results, desk: own, .. }) =
            (caller, worker);
        // Full: eight records of 16 bytes, two of which are a quarter.
        (1..=8_u8).for_each(|number| results.try_push(&[&[number]]).expect("there is room for eight"));
        let pusher = thread::spawn(move || {
            (9..=10_u8).for_each(|number| put(&mut results, own.bell(), &[number]));
        });
        for number in 1..=10 {
            let bytes = loop {
                match taken.pop(<[u8]>::to_vec) {
                    Some(bytes) => break bytes,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(bytes, [number]);
            if taken.has_made_room() {
                desk.bell().ring();
            }
        }
        pusher.join().unwrap();
    });
}

/// Runs tasks 1 to `last` as a worker does; says which it ran.
fn run_tasks(last: u64, desk: &Desk, results: &mut Producer) -> Vec<u64> {
    let mut ran = Vec::new();
    for seq in 1..=last {
        if desk.begin(seq, 0) == Begin::Go {
            ran.push(seq);
            answer(results, seq);
        }
        desk.end();
    }
    ran
}

#[test]
fn a_revoked_task_runs_only_if_the_caller_was_told() {
    explore(4, || {
        let (caller, worker) = model_link(256);
        let running = thread::spawn(move || {
            let WorkerEnd { mut results, desk, .. } = worker;
            run_tasks(3, &desk, &mut results)
        });
        let CallerEnd { mut results, desk, .. } = caller;
        let named = desk.revoke_from(2);
        let over = results_in(&mut results);
        let ran = running.join().unwrap();
        assert!(ran.contains(&1), "it was not revoked");
        for seq in ran.into_iter().filter(|seq| *seq >= 2) {
            assert!(seq == named || over.contains(&seq), "{seq} ran, {named} was named, {over:?} were over");
        }
    });
}

/// Runs tasks 1 to 4 as a batch, two to a lease; returns those that ran. What is taken back in a lease is found by a plain
/// load between two tasks.
fn run_leases(desk: &Desk, results: &mut Producer) -> Vec<u64> {
    let (mut ran, mut leased) = (Vec::new(), 0);
    for seq in 1..=4 {
        let may_start = if seq > leased {
            leased = seq + 1;
            desk.begin(leased, 0) == Begin::Go || {
                leased = seq;
                desk.begin(seq, 0) == Begin::Go
            }
        } else {
            !desk.is_revoked(seq)
        };
        if !may_start {
            break;
        }
        ran.push(seq);
        answer(results, seq);
    }
    desk.end();
    ran
}

#[test]
fn of_what_is_taken_back_in_a_lease_only_what_the_caller_was_told_of_runs() {
    for first in 2..=4 {
        explore(3, move || {
            let (caller, worker) = model_link(256);
            let running = thread::spawn(move || {
                let WorkerEnd { mut results, desk, .. } = worker;
                run_leases(&desk, &mut results)
            });
            let CallerEnd { mut results, desk, .. } = caller;
            let named = desk.revoke_from(first);
            let over = results_in(&mut results);
            let ran = running.join().unwrap();
            let count = u64::try_from(ran.len()).unwrap();
            assert_eq!(ran, (1..=count).collect::<Vec<_>>(), "a batch runs in its order");
            assert!(count >= first - 1, "{first} was revoked, and what comes before did not run: {ran:?}");
            for seq in ran.into_iter().filter(|seq| *seq >= first) {
                assert!(
                    seq <= named || over.contains(&seq),
                    "{seq} ran, {named} was named, {over:?} were over"
                );
            }
        });
    }
}

#[test]
fn a_task_that_is_over_has_its_result_in_the_ring() {
    explore(3, || {
        let (caller, worker) = model_link(256);
        let running = thread::spawn(move || {
            let WorkerEnd { mut results, desk, .. } = worker;
            run_tasks(2, &desk, &mut results)
        });
        let CallerEnd { mut results, desk, .. } = caller;
        let (before, _) = desk.running();
        let (after, _) = desk.running();
        if before != 0 && after != before {
            assert!(results_in(&mut results).contains(&before), "{before} ran, then {after}");
        }
        running.join().unwrap();
    });
}

#[test]
fn a_task_and_its_start_are_read_from_one_moment() {
    explore(4, || {
        let (caller, worker) = model_link(64);
        let running = thread::spawn(move || {
            for seq in 1..=2 {
                let _ = worker.desk.begin(seq, 100 * seq);
            }
            worker.desk.end();
        });
        let (seq, started_ns) = caller.desk.running();
        assert_eq!(started_ns, 100 * seq);
        running.join().unwrap();
    });
}

#[test]
fn an_interrupt_hits_the_task_it_was_meant_for_or_none() {
    explore(4, || {
        let (caller, worker) = model_link(64);
        let asked = Arc::new(AtomicBool::new(false));
        let signal = Arc::clone(&asked);
        let running = thread::spawn(move || {
            let desk = worker.desk;
            let mut hits = Vec::new();
            for seq in 1..=2 {
                let _ = desk.begin(seq, 0);
                // Where the signal is there, its handler runs: as often as it likes.
                if signal.load(Ordering::Acquire) {
                    hits.extend([desk.take_interrupt(), desk.take_interrupt()].map(|hit| (seq, hit)));
                }
                desk.end();
            }
            hits
        });
        let (seq, _) = caller.desk.running();
        if seq == 1 {
            caller.desk.ask_interrupt(seq);
            asked.store(true, Ordering::Release);
        }
        let hits = running.join().unwrap();
        assert!(!hits.contains(&(2, true)), "the wrong task was interrupted");
        if let Some(first) = hits.first().filter(|(seq, _)| *seq == 1) {
            assert!(first.1, "the handler ran in the task that was meant, and looked away");
        }
        assert!(hits.iter().filter(|(_, hit)| *hit).count() <= 1, "asked once");
    });
}

/// A depot's lock and what it guards, as loom knows locks.
#[derive(Default)]
struct Guarded {
    records: loom::sync::Mutex<u32>,
    call: whichever_ring::Call,
}

impl Guarded {
    fn put(&self) {
        let expected = {
            let mut records = self.records.lock().unwrap();
            *records += 1;
            self.call.is_expected()
        };
        if expected {
            self.call.answer();
        }
    }

    fn take(&self) {
        loop {
            {
                let mut records = self.records.lock().unwrap();
                if *records > 0 {
                    *records -= 1;
                    return;
                }
                self.call.expect();
            }
            self.call.sleep(None);
        }
    }
}

#[test]
fn a_call_is_never_missed_by_any_of_its_sleepers() {
    explore(3, || {
        let depot = Arc::new(Guarded::default());
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let depot = Arc::clone(&depot);
                thread::spawn(move || depot.take())
            })
            .collect();
        depot.put();
        depot.put();
        takers.into_iter().for_each(|taker| taker.join().unwrap());
    });
}

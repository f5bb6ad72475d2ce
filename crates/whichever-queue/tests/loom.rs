//! Waiters and wakers in all orders that two or three threads can take their steps in. A lost wake-up is a deadlock, which
//! loom reports. Runs under `make test-loom` only.
#![cfg(loom)]

use std::num::NonZeroUsize;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use whichever_queue::{GetError, Order, PutError, Queue, Seat, Want};

type Numbers = Queue<u32, Arc<AtomicUsize>>;

/// Explores all schedules with up to so many switches away from a thread that could go on.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn queue(limit: usize) -> Arc<Numbers> {
    Arc::new(Queue::new(Order::Fifo, NonZeroUsize::new(limit)))
}

fn ring(bells: impl Iterator<Item = Arc<AtomicUsize>>) {
    bells.for_each(|bell| {
        bell.fetch_add(1, Ordering::Relaxed);
    });
}

fn put(queue: &Numbers, number: u32) {
    let mut seat = Seat::new(Want::Place);
    let mut tried = queue.try_put(number);
    loop {
        match tried {
            Ok(wakes) => return ring(wakes.fire()),
            Err(PutError::Full(number)) => {
                queue.sleep(&mut seat, None);
                tried = queue.put_waited(number, &mut seat);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn get(queue: &Numbers) -> Option<u32> {
    let mut seat = Seat::new(Want::Item);
    let mut tried = queue.try_get();
    loop {
        match tried {
            Ok((number, wakes)) => {
                ring(wakes.fire());
                return Some(number);
            }
            Err(GetError::Empty) => {
                queue.sleep(&mut seat, None);
                tried = queue.get_waited(&mut seat);
            }
            Err(_) => return None,
        }
    }
}

/// Wait with a deadline that is over at once, then give up, wherever the others are.
fn give_up(queue: &Numbers) -> Option<u32> {
    let mut seat = Seat::new(Want::Item);
    queue.sleep(&mut seat, Some(0));
    match queue.get_waited(&mut seat) {
        Ok((number, wakes)) => {
            ring(wakes.fire());
            Some(number)
        }
        Err(_) => {
            ring(queue.leave(&mut seat).fire());
            None
        }
    }
}

#[test]
fn two_sleeping_getters_both_get_what_one_putter_puts() {
    explore(3, || {
        let queue = queue(0);
        let getters: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn({
                    let queue = Arc::clone(&queue);
                    move || get(&queue)
                })
            })
            .collect();
        put(&queue, 1);
        put(&queue, 2);
        let mut got: Vec<_> = getters.into_iter().filter_map(|getter| getter.join().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn a_full_queue_makes_putters_wait_and_loses_none_of_them() {
    explore(3, || {
        let queue = queue(1);
        let putters: Vec<_> = (1..=2)
            .map(|number| {
                thread::spawn({
                    let queue = Arc::clone(&queue);
                    move || put(&queue, number)
                })
            })
            .collect();
        let mut got = [get(&queue), get(&queue)];
        got.sort_unstable();
        assert_eq!(got, [Some(1), Some(2)]);
        putters.into_iter().for_each(|putter| putter.join().unwrap());
    });
}

#[test]
fn a_getter_that_gives_up_passes_the_word_on() {
    explore(3, || {
        let queue = queue(0);
        let getter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || get(&queue)
        });
        let leaver = thread::spawn({
            let queue = Arc::clone(&queue);
            move || give_up(&queue)
        });
        put(&queue, 1);
        if leaver.join().unwrap().is_some() {
            put(&queue, 2);
        }
        assert!(getter.join().unwrap().is_some());
    });
}

#[test]
fn closing_ends_every_getter() {
    explore(3, || {
        let queue = queue(0);
        let getters: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn({
                    let queue = Arc::clone(&queue);
                    move || get(&queue)
                })
            })
            .collect();
        put(&queue, 1);
        let (_, wakes) = queue.close(false).unwrap();
        ring(wakes.fire());
        let got: Vec<_> = getters.into_iter().filter_map(|getter| getter.join().unwrap()).collect();
        assert_eq!(got, [1]);
    });
}

#[test]
fn a_bell_that_was_hung_up_rings_for_the_next_item() {
    explore(3, || {
        let queue = queue(0);
        let bell = Arc::new(AtomicUsize::new(0));
        let putter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || put(&queue, 1)
        });
        let watches = queue.watch(Want::Item, 1, Arc::clone(&bell));
        putter.join().unwrap();
        assert_eq!(bell.load(Ordering::Relaxed), usize::from(watches));
    });
}

#[test]
fn who_waits_for_the_end_hears_of_the_last_item() {
    explore(3, || {
        let queue = queue(0);
        put(&queue, 1);
        let finisher = thread::spawn({
            let queue = Arc::clone(&queue);
            move || ring(queue.finish().unwrap().fire())
        });
        let mut seat = Seat::new(Want::End);
        while queue.state().unfinished > 0 {
            queue.sleep(&mut seat, None);
        }
        finisher.join().unwrap();
    });
}

#[test]
fn who_sleeps_hears_that_the_queue_has_moved() {
    explore(3, || {
        let queue = queue(0);
        let getter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || get(&queue)
        });
        let (items, _, wakes) = queue.move_out();
        ring(wakes.fire());
        assert!(items.is_empty());
        assert_eq!(getter.join().unwrap(), None);
    });
}

//! Whom a queue tells, and whom it leaves asleep.
#![cfg(not(loom))]

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use whichever_queue::{Order, Queue, Seat, Slept, Want};

type Numbers = Queue<u32, ()>;

/// Start `count` threads that sleep until they are told of an item; return once all are asleep.
fn sleepers(queue: &Arc<Numbers>, count: usize) -> Vec<JoinHandle<Slept>> {
    let sleep = || {
        let queue = Arc::clone(queue);
        thread::spawn(move || queue.sleep(&mut Seat::new(Want::Item), None))
    };
    let started = (0..count).map(|_| sleep()).collect();
    while queue.state().waiting < count {
        thread::yield_now();
    }
    started
}

#[test]
fn while_one_is_on_its_way_a_put_has_nobody_to_tell() {
    let queue = Arc::new(Numbers::new(Order::Fifo, None));
    let asleep = sleepers(&queue, 2);
    let first = queue.try_put(1).unwrap();
    assert!(!first.is_none());
    assert!(queue.try_put(2).unwrap().is_none());
    assert_eq!(first.fire().count(), 0); // no bells
    let (_, rest) = queue.close(false).unwrap();
    assert_eq!(rest.fire().count(), 0);
    for thread in asleep {
        assert_eq!(thread.join().unwrap(), Slept::Woken);
    }
}

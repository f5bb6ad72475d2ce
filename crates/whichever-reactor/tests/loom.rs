//! A sender and a loop that falls asleep, in all orders two threads can take their steps.
//!
//! Runs under `make test-loom` only: loom replaces the atomics, and reports a lost wake as a deadlock.
#![cfg(loom)]

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use whichever_reactor::{Doorbell, Inbox};

/// A bell that a sleeper waits for, as epoll waits for an eventfd.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Doorbell for Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }
}

impl Bell {
    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// Take what has come, as a loop does; sleep while nothing has.
fn receive(inbox: &Inbox<u32, Bell>) -> u32 {
    loop {
        if let Some(item) = inbox.receive() {
            return item;
        }
        inbox.fall_asleep();
        if let Some(item) = inbox.receive() {
            inbox.awake();
            return item;
        }
        inbox.bell().sleep();
        inbox.awake();
    }
}

#[test]
fn what_is_handed_in_ends_the_sleep_of_the_loop() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(Bell::default()));
        let shared = Arc::clone(&inbox);
        let sender = thread::spawn(move || shared.send(7));
        assert_eq!(receive(&inbox), 7);
        sender.join().unwrap();
    });
}

#[test]
fn two_senders_are_both_received() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let inbox = Arc::new(Inbox::new(Bell::default()));
        let senders: Vec<_> = [1, 2]
            .map(|item| {
                let shared = Arc::clone(&inbox);
                thread::spawn(move || shared.send(item))
            })
            .into();
        assert_eq!(receive(&inbox) + receive(&inbox), 3);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

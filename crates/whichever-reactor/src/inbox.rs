//! What other threads hand to a loop: a queue that nobody waits for, and a bell that is rung only while the loop sleeps.
//!
//! No wake is lost: a sender puts its item in and then looks whether the loop sleeps; the loop says that it sleeps and then
//! looks for items. Between the two steps of each stands a sequentially consistent fence, so that at least one
//! of them sees the other. Loom explores it (`tests/loom.rs`).

use std::sync::PoisonError;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, Receiver, Sender, channel, fence};

/// What ends a loop's sleep.
pub trait Doorbell {
    /// Let the loop's sleep end, or the next one end at once.
    fn ring(&self);
}

/// See the module.
#[derive(Debug)]
pub struct Inbox<T, B> {
    sender: Sender<T>,
    /// Only the loop's thread receives; the lock is for the compiler, and nobody meets at it.
    receiver: Mutex<Receiver<T>>,
    /// Whether the loop sleeps or is about to, and nobody has rung since. Set by the loop, taken back by either side.
    sleeps: AtomicBool,
    /// What ends its sleep.
    bell: B,
}

impl<T, B: Doorbell> Inbox<T, B> {
    /// An empty one.
    pub fn new(bell: B) -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver: Mutex::new(receiver), sleeps: AtomicBool::new(false), bell }
    }

    /// What ends the loop's sleep.
    pub fn bell(&self) -> &B {
        &self.bell
    }

    /// Hand something in, from any thread, and wake the loop if it sleeps.
    pub fn send(&self, item: T) {
        // The receiver lives as long as we do.
        let _ = self.sender.send(item);
        self.wake();
    }

    /// End the loop's sleep, if it sleeps, after something was handed in by another way.
    pub fn wake(&self) {
        // Pairs with the fence in `fall_asleep`.
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::Relaxed) && self.sleeps.swap(false, Ordering::Relaxed) {
            self.bell.ring();
        }
    }

    /// Take what was handed in first.
    pub fn receive(&self) -> Option<T> {
        self.lock().try_recv().ok()
    }

    /// Say that the loop is about to sleep. It must look for work once more after this, and then call [`Self::awake`],
    /// whether it has slept or not.
    pub fn fall_asleep(&self) {
        self.sleeps.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    /// Say that the loop is awake: nobody need ring. Tells whether somebody has.
    pub fn awake(&self) -> bool {
        !self.sleeps.swap(false, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Receiver<T>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Doorbell for Counter {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn nobody_rings_while_the_loop_is_awake() {
        let inbox = Inbox::new(Counter::default());
        inbox.send(1);
        inbox.send(2);
        assert_eq!(inbox.bell().0.load(Ordering::Relaxed), 0);
        assert_eq!([inbox.receive(), inbox.receive(), inbox.receive()], [Some(1), Some(2), None]);
    }

    #[test]
    fn a_sleeping_loop_is_rung_for_once() {
        let inbox = Inbox::new(Counter::default());
        inbox.fall_asleep();
        inbox.send(1);
        inbox.send(2);
        assert_eq!(inbox.bell().0.load(Ordering::Relaxed), 1);
        assert!(inbox.awake());
        inbox.fall_asleep();
        assert!(!inbox.awake());
        inbox.wake();
        assert_eq!(inbox.bell().0.load(Ordering::Relaxed), 1);
    }
}

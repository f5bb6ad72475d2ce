//! The workers of a pool: who sleeps, who is on the way, and whom to call for a task.
//!
//! A worker is **busy** (runs a task, and looks for the next one when it has ended), **coming** (has none, and will look
//! before it sleeps) or **idle** (asleep until it is called). Calling costs a system call and, on an interpreter with a
//! GIL, a thread that waits for it; so few are coming at a time, and each that finds a task calls the next for what is
//! left. What holds at every moment, but for steps under way: *if a task waits, somebody is coming, or nobody is idle
//! and no worker may be added, or as many are at work as may be*: a pool may be told to have fewer at work than it has
//! workers. Those that are too many park: they sleep among the idle until others are too few.
//!
//! No wake is lost: a submitter makes its task visible, then looks who is coming or idle; a worker says that it is idle and
//! no longer coming, then looks for tasks. Between the two steps of each stands a `SeqCst` fence, so at least one of them
//! sees the other.

use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
use loom::sync::Arc;
#[cfg(not(loom))]
use std::sync::Arc;

use crate::Spin;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, Word, fence};

const ASLEEP: u32 = 0;
const CALLED: u32 = 1;

/// One worker's place: what it sleeps on.
#[derive(Debug, Default)]
pub struct Seat {
    /// `CALLED` from a call until its worker has heard it.
    word: Word,
    /// After so many milliseconds of sleep its worker wants to look around once; 0 for never. Its worker's own.
    doze_ms: AtomicUsize,
}

impl Seat {
    /// Have the worker of this seat return from `await_task` after so long without a call; None for never.
    pub fn doze(&self, length: Option<Duration>) {
        let length_ms = length.map_or(0, |length| usize::try_from(length.as_millis()).unwrap_or(usize::MAX));
        self.doze_ms.store(length_ms, Ordering::Relaxed);
    }
}

/// What a submitter is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Nothing: a worker is coming, or was called.
    Done,
    /// Start a worker: it counts as coming already. Say `unhire` if it does not start.
    Hire,
}

/// What a worker without a task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look for a task: it counts as coming.
    Look,
    /// Nobody has called for as long as its seat says. It counts as coming.
    Quiet,
    /// Leave: the pool is closed and has no more tasks. It counts no longer.
    Leave,
}

/// See the module.
#[derive(Debug)]
pub struct Roster {
    /// Those who sleep, the latest last: it is called first, its caches are warm.
    idle: Mutex<Vec<Arc<Seat>>>,
    /// Their number, to be read without the lock. Written under it.
    idle_count: AtomicUsize,
    coming: AtomicUsize,
    /// All workers, those that are being started too.
    workers: AtomicUsize,
    closed: AtomicBool,
    /// Most workers. It only rises.
    most: AtomicUsize,
    /// Most workers at work, which are all that are not idle.
    limit: AtomicUsize,
    /// Most workers that are called although others are still coming.
    most_coming: usize,
    /// Workers that wait until it helps that they take a task: while there is one, no other need come.
    calm: AtomicUsize,
}

impl Roster {
    /// A roster of no workers yet.
    #[must_use]
    pub fn new(most: usize, most_coming: usize) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            idle_count: AtomicUsize::new(0),
            coming: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            most: AtomicUsize::new(most),
            limit: AtomicUsize::new(most),
            most_coming: most_coming.max(1),
            calm: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most workers there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Let there be as many as `most` workers from now on, if that is more than before. Say `call` then for the tasks that
    /// wait.
    pub fn raise(&self, most: usize) {
        self.most.fetch_max(most, Ordering::SeqCst);
        self.limit.fetch_max(most, Ordering::SeqCst);
    }

    /// Let as many as `limit` workers be at work from now on, more or fewer than before: at least one. There may be as many
    /// then. Say `call` if they are more.
    pub fn restrict(&self, limit: usize) {
        self.most.fetch_max(limit, Ordering::SeqCst);
        self.limit.store(limit.max(1), Ordering::SeqCst);
    }

    /// Whether more workers are at work than may be: then one that has ended a task is to `park`.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.at_work() > self.limit()
    }

    fn at_work(&self) -> usize {
        self.workers().saturating_sub(self.idle())
    }

    /// Most workers at work.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether another worker may be at work.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.at_work() < self.limit()
    }

    /// Workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// Workers that sleep.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle_count.load(Ordering::Relaxed)
    }

    /// Workers that are on the way to a task.
    #[must_use]
    pub fn coming(&self) -> usize {
        self.coming.load(Ordering::Relaxed)
    }

    /// Workers that have a task.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.workers().saturating_sub(self.idle() + self.coming.load(Ordering::Relaxed))
    }

    /// See to it that somebody comes for `waiting` tasks that have been put in.
    pub fn call(&self, waiting: usize) -> Call {
        // Pairs with the fence in `retire`.
        fence(Ordering::SeqCst);
        if self.coming.load(Ordering::Relaxed) >= self.most_coming().min(waiting) {
            return Call::Done;
        }
        if !self.has_room() {
            return Call::Done; // who is at work comes for what waits
        }
        if self.call_idle() || !self.add_worker() { Call::Done } else { Call::Hire }
    }

    /// Call one that sleeps, if fewer are coming than may be and `waiting` need. Starts nobody.
    pub fn call_another(&self, waiting: usize) {
        if self.coming.load(Ordering::Relaxed) < self.most_coming().min(waiting) && self.has_room() {
            self.call_idle();
        }
    }

    /// A worker that is coming begins to wait until it helps that it takes a task; or ends to.
    pub fn be_calm(&self, calm: bool) {
        if calm {
            self.calm.fetch_add(1, Ordering::Relaxed)
        } else {
            self.calm.fetch_sub(1, Ordering::Relaxed)
        };
    }

    /// Sleep, as the worker of `seat`, if another is coming too: that one calls others for what it leaves. False when no
    /// other is. It counts as coming before and after.
    pub fn step_down(&self, seat: &Arc<Seat>) -> bool {
        let mut idle = self.lock();
        idle.push(Arc::clone(seat));
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        // After that store: who is the last to count as coming, and finds a task or leaves, has seen this step by then (of
        // two that step down at once one finds itself alone), hence sees that somebody is idle, and calls under the lock.
        let mut coming = self.coming.load(Ordering::Relaxed);
        while coming >= 2 {
            match self.coming.compare_exchange(coming, coming - 1, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    drop(idle);
                    self.sleep(seat);
                    return true;
                }
                Err(other) => coming = other,
            }
        }
        idle.pop();
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        false
    }

    /// Sleep, as the worker of `seat`, which counts as coming, while enough others are at work. False when they are not. It
    /// counts as coming before and after.
    pub fn park(&self, seat: &Arc<Seat>) -> bool {
        let mut idle = self.lock();
        if self.is_closed() || !self.is_crowded() {
            return false;
        }
        idle.push(Arc::clone(seat));
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        drop(idle);
        self.coming.fetch_sub(1, Ordering::SeqCst);
        // Who makes room, by `restrict`, `lose`, `close` or by going to sleep itself, does so before such a fence and looks
        // for sleepers behind it; who handed a task in while this one counted as coming has done so before it.
        fence(Ordering::SeqCst);
        if (self.is_closed() || self.has_room()) && self.return_unasked(seat) {
            return false;
        }
        self.sleep(seat);
        true
    }

    /// A worker that counts as coming did not start.
    pub fn unhire(&self) {
        self.lose(true);
    }

    /// A worker ends of itself; `coming` says whether it counts as such.
    pub fn lose(&self, coming: bool) {
        if coming {
            self.coming.fetch_sub(1, Ordering::SeqCst);
        }
        self.workers.fetch_sub(1, Ordering::SeqCst);
        // Pairs with the fence in `park`: there is room for one that is about to sleep, and it sees that, or we see it.
        fence(Ordering::SeqCst);
    }

    /// A worker that was lost is back, if there is a place: then it counts as coming.
    #[must_use]
    pub fn rejoin(&self) -> bool {
        self.add_worker()
    }

    /// A worker's task has ended and it will look for another: to be said before anybody can know of that end, or who
    /// does would start another worker.
    pub fn come(&self) {
        self.coming.fetch_add(1, Ordering::SeqCst);
    }

    /// A coming worker has found a task.
    pub fn found(&self) {
        self.coming.fetch_sub(1, Ordering::SeqCst);
    }

    /// Take no more tasks: workers leave when none is left.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while self.call_idle() {}
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Wait, as the worker of `seat`, until there may be a task. `coming` says whether it counts as such.
    ///
    /// Only one worker spins at a time: others would but take cores from the tasks.
    pub fn await_task(
        &self,
        seat: &Arc<Seat>,
        coming: bool,
        has_tasks: &mut impl FnMut() -> bool,
        spin: &mut Spin,
    ) -> Next {
        let coming = coming || self.come_alone();
        if coming
            && self.coming.load(Ordering::Relaxed) == 1
            && spin.until(&mut || has_tasks() || self.is_closed())
        {
            return self.look_or_leave(has_tasks);
        }
        if !self.retire(seat, coming, has_tasks) {
            let doze_ms = seat.doze_ms.load(Ordering::Relaxed);
            let was_called = doze_ms == 0 || {
                seat.word.wait(ASLEEP, Some(Duration::from_millis(doze_ms as u64)));
                !self.return_unasked(seat)
            };
            if !was_called {
                return Next::Quiet;
            }
            self.sleep(seat);
        }
        self.look_or_leave(has_tasks)
    }

    fn sleep(&self, seat: &Seat) {
        while seat.word.swap(ASLEEP, Ordering::AcqRel) != CALLED {
            seat.word.wait(ASLEEP, None);
        }
    }

    /// Most workers that may be coming now.
    fn most_coming(&self) -> usize {
        if self.calm.load(Ordering::Relaxed) > 0 { 1 } else { self.most_coming }
    }

    /// Be coming, if nobody is.
    fn come_alone(&self) -> bool {
        self.coming.load(Ordering::Relaxed) == 0
            && self.coming.compare_exchange(0, 1, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// For a worker that counts as coming.
    fn look_or_leave(&self, has_tasks: &mut impl FnMut() -> bool) -> Next {
        if !self.is_closed() || has_tasks() {
            return Next::Look;
        }
        self.unhire();
        // Pairs with the fence in `call`: who put a task in meanwhile either saw that nobody is coming, or we see it.
        fence(Ordering::SeqCst);
        if has_tasks() && self.add_worker() {
            return Next::Look;
        }
        while self.call_idle() {} // those that stepped down since the pool was closed
        Next::Leave
    }

    /// Become idle. True when there is something to look for after all: then it counts as coming.
    fn retire(&self, seat: &Arc<Seat>, coming: bool, has_tasks: &mut impl FnMut() -> bool) -> bool {
        let mut idle = self.lock();
        idle.push(Arc::clone(seat));
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        drop(idle);
        if coming {
            self.coming.fetch_sub(1, Ordering::SeqCst);
        }
        // Pairs with the fence in `call`, and with that in `close`.
        fence(Ordering::SeqCst);
        if !has_tasks() && !self.is_closed() {
            return false;
        }
        if !self.return_unasked(seat) {
            // Somebody called it meanwhile, and counted it; under the lock, so the word is written.
            seat.word.swap(ASLEEP, Ordering::AcqRel);
        }
        true
    }

    /// Be idle no longer, but coming. False when somebody has called.
    fn return_unasked(&self, seat: &Arc<Seat>) -> bool {
        let mut idle = self.lock();
        let Some(place) = idle.iter().position(|other| Arc::ptr_eq(other, seat)) else { return false };
        idle.remove(place);
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        self.coming.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn call_idle(&self) -> bool {
        if self.idle_count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut idle = self.lock();
        let Some(seat) = idle.pop() else { return false };
        // Before it counts as idle no longer: whoever looks sees it as one or the other.
        self.coming.fetch_add(1, Ordering::SeqCst);
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        seat.word.swap(CALLED, Ordering::AcqRel);
        drop(idle);
        seat.word.wake_all();
        true
    }

    fn add_worker(&self) -> bool {
        let mut workers = self.workers.load(Ordering::Relaxed);
        while workers < self.most.load(Ordering::Relaxed) {
            match self.workers.compare_exchange(workers, workers + 1, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    self.coming.fetch_add(1, Ordering::SeqCst);
                    return true;
                }
                Err(other) => workers = other,
            }
        }
        false
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::RunQueue;

    fn until(done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it did not happen");
            std::thread::yield_now();
        }
    }

    struct Pool {
        roster: Roster,
        queue: RunQueue<u64>,
        sum: AtomicUsize,
    }

    impl Pool {
        fn new(most: usize, most_coming: usize) -> Arc<Self> {
            let roster = Roster::new(most, most_coming);
            Arc::new(Self { roster, queue: RunQueue::new(1), sum: AtomicUsize::new(0) })
        }

        /// Hand in a task, and start a worker where one is to be started.
        fn submit(self: &Arc<Self>, task: u64) -> Option<std::thread::JoinHandle<()>> {
            self.queue.push(0, task);
            (self.roster.call(self.queue.len()) == Call::Hire).then(|| {
                let pool = Arc::clone(self);
                std::thread::spawn(move || pool.work())
            })
        }

        fn next_task(&self, coming: &mut bool, seat: &Arc<Seat>) -> Option<u64> {
            if self.roster.is_crowded() {
                if !std::mem::replace(coming, true) {
                    self.roster.come();
                }
                self.roster.park(seat);
            }
            self.queue.pop(0, 1)
        }

        fn work(self: &Arc<Self>) {
            let (seat, mut spin, mut coming) = (Arc::new(Seat::default()), Spin::new(), true);
            loop {
                while let Some(task) = self.next_task(&mut coming, &seat) {
                    if std::mem::take(&mut coming) {
                        self.roster.found();
                    }
                    self.roster.call_another(self.queue.len());
                    self.sum.fetch_add(usize::try_from(task).unwrap(), Ordering::SeqCst);
                }
                match self.roster.await_task(&seat, coming, &mut || !self.queue.is_empty(), &mut spin) {
                    Next::Look | Next::Quiet => coming = true,
                    Next::Leave => return,
                }
            }
        }
    }

    #[test]
    fn an_idle_worker_is_called_before_another_is_started() {
        let pool = Pool::new(4, 1);
        let first = pool.submit(1).expect("there was no worker");
        until(|| pool.roster.idle() == 1);
        assert!(pool.submit(2).is_none());
        until(|| pool.sum.load(Ordering::SeqCst) == 3);
        pool.roster.close();
        first.join().unwrap();
        assert_eq!((pool.roster.workers(), pool.roster.busy()), (0, 0));
    }

    #[test]
    fn nobody_is_called_while_enough_are_coming() {
        let roster = Roster::new(8, 2);
        assert_eq!(roster.call(1), Call::Hire);
        assert_eq!(roster.call(1), Call::Done, "one is enough for one");
        assert_eq!(roster.call(2), Call::Hire);
        assert_eq!(roster.call(100), Call::Done, "two are coming");
        roster.found();
        assert_eq!((roster.busy(), roster.call(100)), (1, Call::Hire));
    }

    #[test]
    fn no_more_than_most_are_started() {
        let roster = Roster::new(2, 8);
        assert_eq!([roster.call(9), roster.call(9), roster.call(9)], [Call::Hire, Call::Hire, Call::Done]);
        roster.unhire();
        assert_eq!(roster.call(9), Call::Hire);
    }

    #[test]
    fn every_task_is_taken_however_calls_and_sleep_meet() {
        let pool = Pool::new(3, 1);
        let mut threads = Vec::new();
        for task in 1..=20_000_u64 {
            threads.extend(pool.submit(task));
            if task % 7 == 0 {
                until(|| pool.queue.is_empty());
            }
        }
        until(|| pool.sum.load(Ordering::SeqCst) == 20_000 * 20_001 / 2);
        pool.roster.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn workers_that_are_too_many_park_until_there_is_room() {
        let roster = Arc::new(Roster::new(4, 4));
        let seats: Vec<_> = (0..2).map(|_| Arc::new(Seat::default())).collect();
        assert_eq!([roster.call(9), roster.call(9)], [Call::Hire, Call::Hire]);
        roster.restrict(1);
        assert!(roster.is_crowded());
        let parked = std::thread::spawn({
            let (roster, seat) = (Arc::clone(&roster), Arc::clone(&seats[0]));
            move || roster.park(&seat)
        });
        until(|| roster.idle() == 1);
        assert!(!roster.is_crowded() && !roster.park(&seats[1]), "one stays at work");
        roster.found();
        assert_eq!((roster.call(9), roster.idle()), (Call::Done, 1), "no other is called for what waits");
        roster.restrict(2);
        assert_eq!(
            (roster.call(9), roster.workers()),
            (Call::Done, 2),
            "it is called before another is started"
        );
        assert!(parked.join().unwrap());
        assert_eq!((roster.coming(), roster.idle()), (1, 0));
        roster.found();
        roster.restrict(3);
        assert_eq!(roster.call(9), Call::Hire);
    }

    #[test]
    fn every_task_is_taken_however_the_limit_changes() {
        let pool = Pool::new(4, 2);
        let mut threads = Vec::new();
        for task in 1..=20_000_u64 {
            threads.extend(pool.submit(task));
            pool.roster.restrict(1 + usize::try_from(task).unwrap() % 4);
            if task % 64 == 0 {
                until(|| pool.queue.is_empty());
            }
        }
        until(|| pool.sum.load(Ordering::SeqCst) == 20_000 * 20_001 / 2);
        pool.roster.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_closed_pool_runs_what_it_has_and_lets_all_leave() {
        let pool = Pool::new(2, 2);
        let threads: Vec<_> = (1..=100).filter_map(|task| pool.submit(task)).collect();
        pool.roster.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((pool.sum.load(Ordering::SeqCst), pool.roster.workers()), (5050, 0));
    }
}

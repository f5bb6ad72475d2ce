//! Steps that meet, in all orders two or three threads can take them.
//!
//! Runs under `make test-loom` only: loom replaces the atomics, and reports a lost wake as a deadlock.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use whichever_sync::{Call, Event, Next, Phase, Roster, RunQueue, Seat, Spin, State, Waited};

/// Explores all schedules with up to so many switches away from a thread that could go on.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn who_waits_for_an_end_is_woken_by_it() {
    explore(3, || {
        let phase = Arc::new(Phase::default());
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let phase = Arc::clone(&phase);
                thread::spawn(move || assert_eq!(phase.wait(None, &mut Spin::never()), Waited::Ready))
            })
            .collect();
        assert!(phase.start().is_ok());
        if phase.finish().unwrap().parked {
            phase.wake();
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

#[test]
fn of_cancel_and_start_one_wins_and_the_waiter_is_woken() {
    explore(3, || {
        let phase = Arc::new(Phase::default());
        let other = Arc::clone(&phase);
        let worker = thread::spawn(move || {
            let runs = other.start().is_ok();
            if runs && other.finish().unwrap().parked {
                other.wake();
            }
            runs
        });
        let cancelled = phase.cancel(true);
        if cancelled.is_ok_and(|marks| marks.parked) {
            phase.wake();
        }
        assert_eq!(phase.wait(None, &mut Spin::never()), Waited::Ready);
        assert_ne!(worker.join().unwrap(), cancelled.is_ok());
        assert_eq!(phase.state(), if cancelled.is_ok() { State::Notified } else { State::Finished });
    });
}

#[test]
fn who_listens_is_told_once_or_learns_that_it_is_over() {
    explore(3, || {
        let phase = Arc::new(Phase::default());
        let other = Arc::clone(&phase);
        let worker = thread::spawn(move || other.finish().unwrap().listened);
        let waits = phase.listen();
        assert_eq!(worker.join().unwrap(), waits);
    });
}

#[test]
fn a_flag_that_is_cleared_and_set_wakes_whoever_waits_for_it() {
    explore(3, || {
        let event = Arc::new(Event::default());
        let other = Arc::clone(&event);
        event.set();
        event.clear();
        let setter = thread::spawn(move || other.set());
        assert_eq!(event.wait(None, &mut Spin::never()), Waited::Ready);
        setter.join().unwrap();
    });
}

/// A pool as its seam makes one, in small.
struct Pool {
    roster: Roster,
    queue: RunQueue<usize>,
    sum: AtomicUsize,
}

/// Hand in a task; the worker, where one is to be started.
fn submit(pool: &Arc<Pool>, task: usize) -> Option<thread::JoinHandle<()>> {
    pool.queue.push(0, task);
    (pool.roster.call(pool.queue.len().max(1)) == Call::Hire).then(|| {
        let pool = Arc::clone(pool);
        thread::spawn(move || pool.work())
    })
}

impl Pool {
    fn work(&self) {
        let (seat, mut coming) = (Arc::new(Seat::default()), true);
        loop {
            while let Some(task) = self.queue.pop(0, 1) {
                if std::mem::take(&mut coming) {
                    self.roster.found();
                }
                self.roster.call_another(self.queue.len());
                self.sum.fetch_add(task, Ordering::SeqCst);
            }
            let mut has_tasks = || !self.queue.is_empty();
            match self.roster.await_task(&seat, coming, &mut has_tasks, &mut Spin::never()) {
                Next::Look => coming = true,
                Next::Quiet => unreachable!("no seat here dozes"),
                Next::Leave => return,
            }
        }
    }
}

fn pool(workers: usize, most_coming: usize) -> Arc<Pool> {
    let roster = Roster::new(workers, most_coming);
    Arc::new(Pool { roster, queue: RunQueue::new(1), sum: AtomicUsize::new(0) })
}

#[test]
fn a_task_that_meets_a_worker_going_to_sleep_is_run() {
    explore(3, || {
        let pool = pool(1, 1);
        let worker = submit(&pool, 1).expect("there was no worker");
        assert!(submit(&pool, 2).is_none(), "one worker is all there may be");
        pool.roster.close();
        worker.join().unwrap();
        assert_eq!(pool.sum.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_task_that_meets_the_end_of_a_pool_is_run() {
    explore(3, || {
        let pool = pool(1, 1);
        let worker = submit(&pool, 1).expect("there was no worker");
        let other = Arc::clone(&pool);
        let closer = thread::spawn(move || other.roster.close());
        let second = submit(&pool, 2);
        closer.join().unwrap();
        worker.join().unwrap();
        second.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!((pool.sum.load(Ordering::SeqCst), pool.roster.workers()), (3, 0));
    });
}

#[test]
fn two_submitters_and_one_worker_lose_nothing() {
    explore(2, || {
        let pool = pool(1, 2);
        let first = submit(&pool, 1).expect("there was no worker");
        let other = Arc::clone(&pool);
        let submitter = thread::spawn(move || assert!(submit(&other, 2).is_none()));
        assert!(submit(&pool, 4).is_none());
        submitter.join().unwrap();
        pool.roster.close();
        first.join().unwrap();
        assert_eq!(pool.sum.load(Ordering::SeqCst), 7);
    });
}

#[test]
fn of_two_that_are_coming_one_steps_down_and_no_task_is_left() {
    explore(2, || {
        let (roster, queue) = (Arc::new(Roster::new(2, 2)), Arc::new(RunQueue::new(1)));
        let taken = Arc::new(AtomicUsize::new(0));
        (0..2).for_each(|task| queue.push(0, task));
        assert_eq!([roster.call(2), roster.call(2)], [Call::Hire, Call::Hire]);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (roster, queue, taken) = (Arc::clone(&roster), Arc::clone(&queue), Arc::clone(&taken));
                thread::spawn(move || {
                    let (seat, mut spin, mut coming) = (Arc::new(Seat::default()), Spin::never(), true);
                    loop {
                        if coming {
                            roster.step_down(&seat);
                        }
                        while queue.pop(0, 1).is_some() {
                            if std::mem::take(&mut coming) {
                                roster.found();
                            }
                            roster.call_another(queue.len());
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                        let has_tasks = &mut || !queue.is_empty();
                        if roster.await_task(&seat, coming, has_tasks, &mut spin) == Next::Leave {
                            return;
                        }
                        coming = true;
                    }
                })
            })
            .collect();
        roster.close();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!((taken.load(Ordering::SeqCst), roster.workers()), (2, 0));
    });
}

#[test]
fn of_two_at_work_where_one_may_be_one_parks_and_no_task_is_left() {
    explore(2, || {
        let pool = pool(2, 2);
        (0..2).for_each(|_| pool.queue.push(0, 1));
        assert_eq!([pool.roster.call(2), pool.roster.call(2)], [Call::Hire, Call::Hire]);
        pool.roster.restrict(1);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    pool.roster.park(&Arc::new(Seat::default()));
                    pool.work();
                })
            })
            .collect();
        pool.roster.close();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!((pool.sum.load(Ordering::SeqCst), pool.roster.workers()), (2, 0));
    });
}

#[test]
fn who_parks_while_room_is_made_comes_back() {
    explore(3, || {
        let pool = pool(2, 2);
        pool.queue.push(0, 1);
        assert_eq!([pool.roster.call(2), pool.roster.call(2)], [Call::Hire, Call::Hire]);
        pool.roster.found(); // one has a task that never ends
        pool.roster.restrict(1);
        let other = Arc::clone(&pool);
        let worker = thread::spawn(move || {
            other.roster.park(&Arc::new(Seat::default()));
            assert_eq!(other.queue.pop(0, 1), Some(1));
        });
        pool.roster.restrict(2);
        assert_eq!(pool.roster.call(1), Call::Done);
        worker.join().unwrap();
    });
}

#[test]
fn who_parks_while_the_other_goes_comes_back() {
    explore(3, || {
        let pool = pool(2, 2);
        pool.queue.push(0, 1);
        assert_eq!([pool.roster.call(2), pool.roster.call(2)], [Call::Hire, Call::Hire]);
        pool.roster.restrict(1);
        let other = Arc::clone(&pool);
        let worker = thread::spawn(move || {
            other.roster.park(&Arc::new(Seat::default()));
            assert_eq!(other.queue.pop(0, 1), Some(1));
        });
        pool.roster.lose(true);
        pool.roster.call_another(1);
        worker.join().unwrap();
    });
}

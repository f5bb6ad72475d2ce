//! The hub with real rings, and threads for workers: who waits, who leads, and that nobody sleeps over anything.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use whichever_pool::wire::{ReplyHead, ReplyKind, Request, RequestKind};
use whichever_pool::{
    Broken, Crew, Death, Effect, Ended, Hub, Limits, Link, RingLink, Storage, Task, Ticket, Waited, Work,
};
use whichever_ring::{Arena, Begin, Page, Spin, TrayContent, WorkerEnd, create_link, create_page, open_link};
use whichever_sys::{SharedFile, monotonic_ns};

/// What takes longer than this hangs.
const BOUND: Duration = Duration::from_secs(20);
/// Sleepers look again after 50 ms whatever happens. A wake that is lost costs that much.
const TICK: Duration = Duration::from_millis(50);

/// How a task went, and whether somebody wants to be told.
#[derive(Default)]
struct Fate {
    ended: Mutex<Option<&'static str>>,
    is_settled: AtomicBool,
    wants_telling: AtomicBool,
    was_told: AtomicBool,
}

#[derive(Clone, Default)]
struct Slip(Arc<Fate>);

impl Ticket for Slip {
    fn settle(&self, _: Range<u32>, ended: Ended) -> bool {
        *self.0.ended.lock().unwrap() = Some(match ended {
            Ended::Scalar(_) => "returned",
            Ended::Died(_) => "died",
            Ended::Broken(_) => "broken",
            _ => "else",
        });
        assert!(!self.0.is_settled.swap(true, Ordering::AcqRel), "settled twice");
        self.0.wants_telling.load(Ordering::Acquire)
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn place(&self, _: Option<(u64, u64)>) {}
}

impl Slip {
    fn is_settled(&self) -> bool {
        self.0.is_settled.load(Ordering::Acquire)
    }

    fn ended(&self) -> &'static str {
        self.0.ended.lock().unwrap().unwrap_or("not at all")
    }
}

/// The caller's end of a thread, which cannot be signalled: killing is a word that it looks at.
struct ThreadLink {
    ring: RingLink,
    killed: Arc<AtomicBool>,
}

impl Link for ThreadLink {
    fn try_push(&mut self, parts: &[&[u8]]) -> bool {
        self.ring.try_push(parts)
    }
    fn wake(&self) {
        self.ring.wake();
    }
    fn pop(&mut self, read: &mut dyn FnMut(&[u8])) -> bool {
        self.ring.pop(read)
    }
    fn has_made_room(&mut self) -> bool {
        self.ring.has_made_room()
    }
    fn is_corrupt(&self) -> bool {
        self.ring.is_corrupt()
    }
    fn has_record(&self) -> bool {
        self.ring.has_record()
    }
    fn running(&self) -> (u64, u64) {
        self.ring.running()
    }
    fn revoke_from(&self, position: u64) -> u64 {
        self.ring.revoke_from(position)
    }
    fn allow_all(&self) {
        self.ring.allow_all();
    }
    fn interrupt(&self, _: u64) {}
    fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.ring.wake();
    }
    fn meet(&mut self, _: u32, _: u64) {}
    fn tray(&self) -> Option<TrayContent> {
        None
    }
}

type Pool = Hub<Slip, ThreadLink>;

/// A pool with its pump and its workers.
struct House {
    hub: Arc<Pool>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    next_token: Arc<AtomicU64>,
    /// By token: what tells a worker to die.
    kills: Arc<Mutex<HashMap<u64, Arc<AtomicBool>>>>,
}

impl Clone for House {
    fn clone(&self) -> Self {
        Self {
            hub: Arc::clone(&self.hub),
            threads: Arc::clone(&self.threads),
            next_token: Arc::clone(&self.next_token),
            kills: Arc::clone(&self.kills),
        }
    }
}

impl House {
    fn new(workers: usize) -> Self {
        let arena = Arc::new(Arena::with_limits("hub-test", 1 << 30, 1 << 20).unwrap());
        let (_file, page) = create_page().unwrap();
        let crew = Crew::new(Limits { workers, tasks_per_worker: None }, arena);
        let house = Self {
            hub: Arc::new(Hub::new(crew, page)),
            threads: Arc::default(),
            next_token: Arc::new(AtomicU64::new(1)),
            kills: Arc::default(),
        };
        let pump = house.clone();
        house.keep(std::thread::spawn(move || pump.hub.pump(&|work| pump.act(work))));
        house
    }

    fn keep(&self, thread: JoinHandle<()>) {
        self.threads.lock().unwrap().push(thread);
    }

    fn act(&self, work: Work<Slip>) {
        let mut left = VecDeque::from([work]);
        while let Some(work) = left.pop_front() {
            assert!(work.words.is_empty(), "these workers say nothing");
            for effect in work.effects {
                match effect {
                    Effect::Hire => left.push_back(self.hire()),
                    Effect::Notify(slip) => slip.0.was_told.store(true, Ordering::Release),
                    Effect::Drop(_) => {}
                    Effect::HangUp(token) => {
                        self.kills.lock().unwrap()[&token].store(true, Ordering::Release);
                    }
                    Effect::Ended(_) => {}
                }
            }
        }
    }

    fn hire(&self) -> Work<Slip> {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let (file, end) = create_link(64 * 1024 * 4).unwrap();
        let worker =
            open_link(SharedFile::from_fd(file.as_fd().as_fd().try_clone_to_owned().unwrap())).unwrap();
        let storage = Arc::new(Storage::new(SharedFile::create("hub-test").unwrap()));
        let killed = Arc::new(AtomicBool::new(false));
        self.kills.lock().unwrap().insert(token, Arc::clone(&killed));
        let ring = RingLink::new(end, Arc::clone(&storage));
        let link = ThreadLink { ring, killed: Arc::clone(&killed) };
        let ((), work) = self.hub.with(|crew| crew.seat(token, link, storage));
        let (hub, page) = (Arc::clone(&self.hub), self.hub.page().clone());
        self.keep(std::thread::spawn(move || {
            let signal = serve(worker, &page, &killed).then_some(9);
            hub.report(Death { pid: 1, signal, token, ..Death::default() });
        }));
        work
    }

    /// Hand in a task that takes about `length_us`; above an hour it takes its worker along.
    fn submit(&self, length_us: u64) -> Slip {
        let slip = Slip::default();
        self.submit_for(&slip, length_us);
        slip
    }

    fn submit_for(&self, slip: &Slip, length_us: u64) {
        let body: Arc<[u8]> = Arc::from(length_us.to_le_bytes());
        let work = self.hub.submit([Task::new(slip.clone(), 0, true, body)]);
        self.act(work);
    }

    /// Wait as a caller. False when the deadline came first.
    fn wait(&self, slip: &Slip, deadline_ns: Option<u64>) -> bool {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < BOUND, "waits for ever");
            match self.hub.wait(&mut |_| slip.is_settled(), deadline_ns) {
                Waited::Done => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
                Waited::Work(work) => self.act(work),
            }
        }
    }

    fn close(self) {
        let ((), work) = self.hub.with(|crew| crew.close());
        self.act(work);
        let begun = Instant::now();
        while !self.hub.look(|crew| crew.is_over()) {
            assert!(begun.elapsed() < BOUND, "never over");
            std::thread::yield_now();
        }
        self.hub.nudge();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// A task that takes its worker along.
const DEADLY_US: u64 = u64::MAX;

/// Be a worker until told to leave (false) or to die (true).
fn serve(mut end: WorkerEnd, page: &Page, killed: &AtomicBool) -> bool {
    let mut spin = Spin::new();
    end.results.try_push(&[&ReplyHead::plain(ReplyKind::Ready, 1, 0).to_bytes()]).unwrap();
    loop {
        let order = end.requests.pop(|record| {
            let request = Request::parse(record).unwrap();
            let length = request.body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            (request.head.kind, request.head.position, length)
        });
        if killed.load(Ordering::Acquire) {
            return true;
        }
        match order {
            None => {
                page.bell().ring();
                let ready = || !end.requests.is_empty() || killed.load(Ordering::Acquire);
                end.desk.bell().wait(ready, Some(TICK), &mut spin); // hanging up rings no bell
            }
            Some((RequestKind::Stop, ..)) => return false,
            Some((_, position, length_us)) => {
                if !run(&mut end, page, position, length_us) {
                    return true;
                }
            }
        }
    }
}

/// False when the task is deadly.
fn run(end: &mut WorkerEnd, page: &Page, position: u64, length_us: u64) -> bool {
    let begun = Instant::now();
    let mut kind = ReplyKind::Revoked;
    if end.desk.begin(position, monotonic_ns()) == Begin::Go {
        if length_us == DEADLY_US {
            return false;
        }
        while begun.elapsed() < Duration::from_micros(length_us) {
            std::thread::yield_now();
        }
        kind = ReplyKind::Coded;
    }
    let number = if kind == ReplyKind::Revoked { position } else { 1000 + length_us * 1000 };
    let reply = ReplyHead::plain(kind, position, number).to_bytes();
    let begun = Instant::now();
    while end.results.try_push(&[&reply]).is_err() {
        assert!(begun.elapsed() < BOUND, "the caller does not look");
        page.bell().ring();
        std::thread::yield_now();
    }
    end.desk.end();
    true
}

/// Until `done`, without looking after the pool meanwhile.
fn eventually(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < BOUND, "it never comes to that");
        std::thread::yield_now();
    }
}

#[test]
fn no_wake_is_lost_in_a_hundred_thousand_round_trips() {
    const ROUNDS: u32 = 100_000;
    let house = House::new(1);
    assert!(house.wait(&house.submit(0), None));
    let (begun, mut late) = (Instant::now(), 0);
    for _ in 0..ROUNDS {
        let sent = Instant::now();
        assert!(house.wait(&house.submit(0), None));
        late += u32::from(sent.elapsed() >= TICK);
    }
    // A busy machine may keep us waiting now and then; a protocol that loses wakes does it all the time.
    assert!(late < 20, "{late} of {ROUNDS} round trips took a tick, {:?} in all", begun.elapsed());
    house.close();
}

#[test]
fn callers_that_wait_at_once_each_get_their_own() {
    let house = House::new(2);
    let callers: Vec<_> = (0..4)
        .map(|caller: u64| {
            let house = house.clone();
            std::thread::spawn(move || {
                for round in 0..500 {
                    let slip = house.submit((caller + round) % 30);
                    assert!(house.wait(&slip, None));
                    assert_eq!(slip.ended(), "returned");
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert_eq!(house.hub.look(|crew| crew.counts().returned), 2000);
    house.close();
}

#[test]
fn a_follower_is_told_when_the_leader_has_gone() {
    let house = House::new(2);
    for round in 0..50 {
        let (short, long) = (house.submit(100), house.submit(2000));
        let follower = {
            let (house, long) = (house.clone(), long.clone());
            std::thread::spawn(move || house.wait(&long, None))
        };
        assert!(house.wait(&short, None)); // leads or follows, and leaves first
        assert!(follower.join().unwrap(), "round {round}");
    }
    house.close();
}

#[test]
fn a_deadline_ends_the_wait_and_not_the_task() {
    let house = House::new(1);
    let slip = house.submit(100_000);
    let begun = monotonic_ns();
    assert!(!house.wait(&slip, Some(begun + 5_000_000)));
    assert!(monotonic_ns() >= begun + 5_000_000 && !slip.is_settled());
    assert!(!house.wait(&slip, Some(0)), "a deadline that has passed");
    assert!(house.wait(&slip, None));
    assert!(house.wait(&slip, Some(0)), "it has ended, whatever the time");
    house.close();
}

#[test]
fn the_pump_goes_on_when_callers_have_left() {
    let house = House::new(2);
    // More than workers hold ahead: somebody has to hand out the rest.
    let slips: Vec<Slip> = (0..5000).map(|_| house.submit(5)).collect();
    assert!(house.wait(&slips[0], None));
    eventually(|| slips.iter().all(Slip::is_settled));
    house.close();
}

#[test]
fn who_wants_to_be_told_is_told_without_a_caller() {
    let house = House::new(1);
    for length_us in [0, 0, 3000, 100, 30_000] {
        let slip = Slip::default();
        slip.0.wants_telling.store(true, Ordering::Release);
        house.hub.add_listener();
        house.submit_for(&slip, length_us);
        eventually(|| slip.0.was_told.load(Ordering::Acquire));
    }
    house.close();
}

#[test]
fn a_death_is_reported_to_who_waits_and_to_who_does_not() {
    let house = House::new(1);
    let (deadly, after) = (house.submit(DEADLY_US), house.submit(10));
    assert!(house.wait(&after, None));
    assert_eq!((deadly.ended(), after.ended()), ("died", "returned"));
    let (deadly, after) = (house.submit(DEADLY_US), house.submit(10));
    eventually(|| deadly.is_settled() && after.is_settled());
    assert_eq!((deadly.ended(), after.ended()), ("died", "returned"));
    house.close();
}

#[test]
fn a_pool_that_breaks_wakes_everybody() {
    let house = House::new(1);
    let slips: Vec<Slip> = (0..3).map(|_| house.submit(200_000)).collect();
    let waiting: Vec<_> = slips
        .iter()
        .map(|slip| {
            let (house, slip) = (house.clone(), slip.clone());
            std::thread::spawn(move || house.wait(&slip, None))
        })
        .collect();
    let ((), work) =
        house.hub.with(|crew| crew.break_down(Broken { reason: "a test".to_owned(), error: None }));
    house.act(work);
    assert!(waiting.into_iter().all(|caller| caller.join().unwrap()));
    assert!(slips.iter().all(|slip| slip.ended() == "broken"));
    house.close();
}

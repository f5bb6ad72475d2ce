//! Workers are killed at random instants, hundreds of times: what they leave is what PROTOCOL.md says.
#![cfg(not(loom))]
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it, as the test does")]

mod support;

use std::process::Child;
use std::time::Duration;

use support::{role, start_again};
use whichever_ring::{
    Begin, CallerEnd, Page, PushError, Spin, Wait, WorkerEnd, create_link, create_page, open_link, open_page,
};
use whichever_sys::{SharedFile, monotonic_ns};

const KILLS: u64 = 250;
/// How long a worker lives after its first sign of life, at most.
const LIFE_NS: u64 = 1_500_000;
/// Longer than anything here takes: who waits this long has lost a wake.
const BOUND: Option<Duration> = Some(Duration::from_secs(20));
/// Small, so that records wrap around and the ring is full at times.
const CAPACITY: usize = 1024;

/// What a worker says about a task.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Answer {
    seq: u64,
    ran: bool,
}

impl Answer {
    /// A record of a length of its own, filled with bytes of its own.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.seq.to_ne_bytes().to_vec();
        bytes.push(u8::from(self.ran));
        bytes.resize(9 + usize::try_from(self.seq % 100).unwrap(), self.seq.to_ne_bytes()[0]);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let seq = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
        let answer = Self { seq, ran: bytes[8] == 1 };
        assert_eq!(bytes, answer.to_bytes(), "a record that is not whole");
        answer
    }
}

#[test]
#[ignore = "a role that the tests below start"]
fn plays_the_worker() {
    let Some((name, mut files)) = role() else { return };
    let page = open_page(files.pop().unwrap()).unwrap();
    let worker = open_link(files.pop().unwrap()).unwrap();
    if name == "works" { work(worker, &page) } else { chatter(worker, &page) }
}

/// Do as a pool's worker does, until killed or left alone.
fn work(worker: WorkerEnd, page: &Page) {
    let WorkerEnd { mut requests, mut results, desk } = worker;
    let mut spin = Spin::never();
    loop {
        assert_eq!(desk.bell().wait(|| !requests.is_empty(), BOUND, &mut spin), Wait::Ready);
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
        let seq = requests.pop(number).unwrap();
        let ran = desk.begin(seq, monotonic_ns()) == Begin::Go;
        let record = Answer { seq, ran }.to_bytes();
        let has_room = || results.try_push(&[&record]) != Err(PushError::Full);
        assert_eq!(desk.bell().wait(has_room, BOUND, &mut spin), Wait::Ready);
        desk.end();
        page.bell().ring();
    }
}

/// Push and ring without being asked, until killed; should the test die first, not for long.
fn chatter(worker: WorkerEnd, page: &Page) {
    let WorkerEnd { mut results, .. } = worker;
    let end_ns = monotonic_ns() + 20_000_000_000;
    while monotonic_ns() < end_ns {
        let _ = results.try_push(&[&[1; 8]]);
        page.bell().ring();
    }
}

fn start(name: &str, link: &SharedFile, page: &SharedFile) -> Child {
    start_again(&["--exact", "plays_the_worker", "--ignored"], name, &[link, page])
}

/// Numbers that differ from run to run: the instants of the kills do anyway.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(monotonic_ns() | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A caller that feeds one worker and writes down its answers.
struct Feeder {
    end: CallerEnd,
    next: u64,
    answers: Vec<Answer>,
}

impl Feeder {
    /// Push what fits, take what is there, and wake the worker for both.
    fn turn(&mut self) {
        while self.end.requests.try_push(&[&self.next.to_ne_bytes()]).is_ok() {
            self.next += 1;
        }
        self.drain();
        self.end.desk.bell().ring();
    }

    fn drain(&mut self) {
        while let Some(answer) = self.end.results.pop(Answer::from_bytes) {
            self.answers.push(answer);
        }
        assert!(!self.end.results.is_corrupt());
    }

    /// Go on until the clock says so.
    fn feed_until(&mut self, instant_ns: u64) {
        while monotonic_ns() < instant_ns {
            self.turn();
        }
    }

    /// Go on until the worker has answered something.
    fn feed_until_answered(&mut self, page: &Page) {
        self.turn();
        let mut spin = Spin::never();
        let end = page.bell().wait(|| !self.end.results.is_empty(), BOUND, &mut spin);
        assert_eq!(end, Wait::Ready, "the worker has not answered");
    }

    /// What must hold once the worker is dead.
    fn check(&mut self, revoked: Option<(u64, u64, u64)>) {
        let (running, started_ns) = self.end.desk.running();
        self.drain();
        let last = self.answers.last().map_or(0, |answer| answer.seq);
        let in_order = self.answers.iter().map(|answer| answer.seq).eq(1..=last);
        assert!(in_order, "an answer is missing or came twice");
        assert!(last < self.next, "an answer without a question");
        let over = running == 0 || running == last;
        assert!(over || running == last + 1, "{running} is named after {last} was answered");
        assert_eq!(running != 0, started_ns != 0);
        let Some((first, named, seen)) = revoked else {
            return assert!(self.answers.iter().all(|answer| answer.ran), "nothing was revoked");
        };
        for answer in self.answers.iter().filter(|answer| answer.ran && answer.seq >= first) {
            assert!(
                answer.seq <= seen || answer.seq == named,
                "{answer:?} ran, {named} was named after {seen}"
            );
        }
        assert!(self.answers.iter().all(|answer| answer.ran || answer.seq >= first), "revoked too much");
    }

    /// Take back tasks from about the next on. Gives the first of them, the one that was named, and the last that was
    /// answered when it was.
    fn revoke(&mut self, dice: &mut Dice) -> (u64, u64, u64) {
        self.drain();
        let first = self.answers.last().map_or(0, |answer| answer.seq) + 1 + dice.below(4);
        let named = self.end.desk.revoke_from(first);
        self.drain();
        (first, named, self.answers.last().map_or(0, |answer| answer.seq))
    }
}

#[test]
fn a_killed_worker_leaves_whole_answers_and_names_the_task_it_ran() {
    let mut dice = Dice::new();
    let (page_file, page) = create_page().unwrap();
    let (mut died_running, mut died_between) = (0, 0);
    for round in 0..KILLS {
        let (link, end) = create_link(CAPACITY).unwrap();
        let mut worker = start("works", &link, &page_file);
        let mut feeder = Feeder { end, next: 1, answers: Vec::new() };
        feeder.feed_until_answered(&page);
        let first_half = monotonic_ns() + dice.below(LIFE_NS);
        feeder.feed_until(first_half);
        let revoked = (round % 2 == 1).then(|| feeder.revoke(&mut dice));
        feeder.feed_until(first_half + dice.below(LIFE_NS));
        worker.kill().unwrap();
        worker.wait().unwrap();
        feeder.check(revoked);
        *(if feeder.end.desk.running().0 == 0 { &mut died_between } else { &mut died_running }) += 1;
        // Nobody is there any more, and ringing does no harm.
        feeder.turn();
    }
    assert!(died_running > 0 && died_between > 0, "all died at one place: {died_running}, {died_between}");
}

#[test]
fn a_ringer_killed_at_any_step_costs_no_other_worker_its_wake() {
    let mut dice = Dice::new();
    let (page_file, page) = create_page().unwrap();
    let (link, end) = create_link(CAPACITY).unwrap();
    let mut survivor = start("works", &link, &page_file);
    let CallerEnd { mut requests, mut results, desk } = end;
    let mut spin = Spin::never();
    let mut seq = 0;
    let mut ask = |requests: &mut whichever_ring::Producer| {
        seq += 1;
        requests.try_push(&[&u64::to_ne_bytes(seq)]).unwrap();
        desk.bell().ring();
        assert_eq!(page.bell().wait(|| !results.is_empty(), BOUND, &mut spin), Wait::Ready, "task {seq}");
        assert_eq!(results.pop(Answer::from_bytes), Some(Answer { seq, ran: true }));
    };
    for _ in 0..KILLS {
        let (link, mut end) = create_link(CAPACITY).unwrap();
        let mut victim = start("chatters", &link, &page_file);
        let born = page.bell().wait(|| !end.results.is_empty(), BOUND, &mut Spin::never());
        assert_eq!(born, Wait::Ready);
        let instant_ns = monotonic_ns() + dice.below(LIFE_NS);
        while monotonic_ns() < instant_ns {
            while end.results.pop(|_| ()).is_some() {}
            ask(&mut requests);
        }
        victim.kill().unwrap();
        ask(&mut requests);
        victim.wait().unwrap();
        ask(&mut requests);
    }
    survivor.kill().unwrap();
    survivor.wait().unwrap();
}

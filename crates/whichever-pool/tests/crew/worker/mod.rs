//! A worker in memory that takes the steps of the real one, one at a time, and can be killed before each.
//!
//! It runs by itself whenever the crew touches its link, so that a crew's own calls meet every order of steps.

mod batch;
mod link;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use whichever_pool::Death;
use whichever_pool::wire::{
    BODY_IN_ARENA, RECYCLE, ReplyHead, ReplyKind, Request, RequestKind, Span, offsets, table_bytes,
};
use whichever_ring::{Arena, Range, TrayContent};

use self::batch::Stage;
pub(crate) use self::link::ModelLink;
use super::world::{Dice, Shared, Way, lock};

/// How likely a worker is to do what it need not: one in so many steps; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Temper {
    pub(crate) dies: u64,
    pub(crate) recycles: u64,
    pub(crate) talks: u64,
    /// Looks about as often as the real one; else at random.
    pub(crate) steady: bool,
    /// Most records that a ring holds.
    pub(crate) ring: usize,
    /// Steps it takes at most whenever its link is touched.
    pub(crate) eager: u64,
}

#[derive(Debug)]
pub(crate) struct Job {
    position: u64,
    ids: Vec<u32>,
    /// Ranges of the caller's arena in use while it runs, and the byte each is filled with.
    slabs: Vec<(Span, u8)>,
    interrupted: bool,
}

#[derive(Debug)]
enum Step {
    Boot,
    Next,
    /// A plain task: told to the desk, looked whether it may start, runs, is sent, is over.
    Begin(Job),
    Look(Job),
    Run(Job, u64),
    Send(Job, Vec<u8>),
    End(Option<Job>),
    /// A batch.
    Batch(Job, Stage),
    Over,
}

/// See the module.
pub(crate) struct Worker {
    token: u64,
    temper: Temper,
    dice: Dice,
    world: Shared,
    arena: Arc<Arena>,
    step: Step,
    requests: VecDeque<Vec<u8>>,
    replies: VecDeque<Vec<u8>>,
    running: (u64, u64),
    first_revoked: u64,
    interrupt: u64,
    tray: TrayContent,
    has_met: bool,
    functions: HashSet<u32>,
    freed: Vec<u64>,
    /// Offsets of its own arena that the caller has not given back.
    lent: HashSet<u64>,
    /// Somebody else takes memory whenever a reply is read: its ranges.
    pub(crate) neighbours: Option<Vec<Range>>,
    position: u64,
    leased: u64,
    in_batch_end: bool,
    /// What has begun here and was not finished.
    runs: Option<u32>,
    /// When that began.
    began_ns: u64,
    /// How long what lies in the tray ran.
    tray_ns: u64,
    /// Items that may begin before the next look; when that was; when what lies in the tray was begun.
    pace: u64,
    looked_ns: u64,
    part_ns: u64,
    /// How it ended, until somebody asks.
    pub(crate) death: Option<Death>,
    pub(crate) is_dead: bool,
    /// How often its link was touched.
    pub(crate) calls: u64,
    pub(crate) is_corrupt: bool,
}

impl Worker {
    pub(crate) fn new(token: u64, temper: Temper, world: &Shared, arena: &Arc<Arena>, seed: u64) -> Self {
        Self {
            token,
            temper,
            dice: Dice(seed),
            world: Arc::clone(world),
            arena: Arc::clone(arena),
            step: Step::Boot,
            requests: VecDeque::new(),
            replies: VecDeque::new(),
            running: (0, 0),
            first_revoked: u64::MAX,
            interrupt: 0,
            tray: TrayContent { first: 0, count: 0, codes: Vec::new() },
            has_met: false,
            functions: HashSet::new(),
            freed: Vec::new(),
            lent: HashSet::new(),
            neighbours: None,
            position: 0,
            leased: 0,
            in_batch_end: false,
            runs: None,
            began_ns: 0,
            tray_ns: 0,
            pace: 1,
            looked_ns: 0,
            part_ns: 0,
            death: None,
            is_dead: false,
            calls: 0,
            is_corrupt: false,
        }
    }

    /// Whether it waits for time to pass or for a request.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_dead || (matches!(self.step, Step::Next) && self.requests.is_empty())
    }

    /// When what it runs will be over; None when it has something to do now, or nothing at all.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        match &self.step {
            Step::Run(_, end) | Step::Batch(_, Stage::Run(end)) if !self.is_dead => Some(*end),
            _ => None,
        }
    }

    /// Say something that no worker says.
    pub(crate) fn rave(&mut self, record: Vec<u8>) {
        if !self.is_dead {
            self.replies.push_back(record);
        }
    }

    /// No faults from now on.
    pub(crate) fn calm(&mut self) {
        self.temper.dies = 0;
        self.temper.recycles = 0;
    }

    pub(crate) fn die(&mut self, signal: Option<i32>) {
        if self.is_dead {
            return;
        }
        self.is_dead = true;
        let exit_code = if signal.is_none() { Some(0) } else { None };
        match (self.runs, self.id_at_death()) {
            (Some(id), _) => lock(&self.world).lose(id),
            (None, Some(id)) => lock(&self.world).lose_unbegun(id),
            (None, None) => {}
        }
        let pid = if self.has_met { self.token as u32 + 1000 } else { 0 };
        self.death = Some(Death { pid, signal, exit_code, token: self.token, ..Death::default() });
    }

    /// The item that the desk names now, or would be about to start.
    fn id_at_death(&self) -> Option<u32> {
        match &self.step {
            Step::Look(job) | Step::Run(job, _) | Step::Send(job, _) => job.ids.first().copied(),
            Step::Batch(job, _) => {
                let index = usize::try_from(self.position.checked_sub(job.position)?).ok()?;
                job.ids.get(index).copied()
            }
            _ => None,
        }
    }

    /// Go one step; false when there is nothing to do.
    pub(crate) fn step(&mut self) -> bool {
        if self.is_dead || self.is_idle() {
            return false;
        }
        if self.dice.one_in(self.temper.dies) {
            self.die(Some(11));
            return true;
        }
        let step = std::mem::replace(&mut self.step, Step::Over);
        self.step = self.follow(step);
        true
    }

    fn follow(&mut self, step: Step) -> Step {
        match step {
            Step::Boot => {
                let ready = ReplyHead::plain(ReplyKind::Ready, self.token + 1000, 0).to_bytes();
                if self.push(&[&ready]) { Step::Next } else { Step::Boot }
            }
            Step::Next => self.take_request(),
            Step::Begin(job) => {
                self.begin(job.position);
                Step::Look(job)
            }
            Step::Look(job) if job.position >= self.first_revoked => {
                let head = ReplyHead::plain(ReplyKind::Revoked, job.position, job.position);
                if self.push(&[&head.to_bytes()]) { self.drop_job(job) } else { Step::Look(job) }
            }
            Step::Look(job) => self.start_plain(job),
            Step::Run(job, end_ns) => self.run_plain(job, end_ns),
            Step::Send(job, reply) => {
                if self.push(&[&reply]) {
                    self.finish(job.ids[0]);
                    Step::End(Some(job))
                } else {
                    Step::Send(job, reply)
                }
            }
            Step::End(job) => {
                self.running = (0, 0);
                job.map_or(Step::Next, |job| self.drop_job(job))
            }
            Step::Batch(job, stage) => self.follow_batch(job, stage),
            Step::Over => Step::Over,
        }
    }

    fn begin(&mut self, position: u64) {
        self.running = (position, lock(&self.world).now_ns);
    }

    /// Let go of what a task used: only now its memory goes back, with the next record.
    fn drop_job(&mut self, job: Job) -> Step {
        self.freed.extend(job.slabs.iter().map(|(span, _)| span.offset));
        Step::Next
    }

    /// Send a record, after one that gives memory back. False when it has to be tried again.
    fn push(&mut self, parts: &[&[u8]]) -> bool {
        if self.replies.len() >= self.temper.ring {
            return false;
        }
        if self.freed.is_empty() {
            self.replies.push_back(parts.concat());
            return true;
        }
        let body: Vec<u8> = self.freed.drain(..).flat_map(u64::to_le_bytes).collect();
        let head = ReplyHead::plain(ReplyKind::Free, 0, 0).to_bytes();
        self.replies.push_back([&head[..], &body].concat());
        false
    }

    fn take_request(&mut self) -> Step {
        let Some(record) = self.requests.pop_front() else { return Step::Next };
        let request = Request::parse(&record).expect("the crew sends what can be read");
        match request.head.kind {
            RequestKind::Function => {
                assert!(self.functions.insert(request.head.function), "a function comes twice");
            }
            RequestKind::Forget => assert!(self.functions.remove(&request.head.function)),
            RequestKind::Free => {
                for offset in offsets(request.body) {
                    assert!(self.lent.remove(&offset), "a range comes back that was not lent");
                }
            }
            RequestKind::Stop => {
                self.die(None);
            }
            RequestKind::Items => return self.take_batch(&request),
            RequestKind::Coded | RequestKind::Pickled => return Step::Begin(self.take_plain(&request)),
        }
        Step::Next
    }

    fn take_plain(&mut self, request: &Request<'_>) -> Job {
        assert!(request.head.function == 0 || self.functions.contains(&request.head.function));
        let mut spans: Vec<Span> = request.table.spans().collect();
        let body = if request.head.flags & BODY_IN_ARENA == 0 {
            request.body.to_vec()
        } else {
            let span = spans.pop().expect("a body lies somewhere");
            let mut body = vec![0; span.len as usize];
            self.arena.file().read_at(&mut body, span.offset).expect("it lies in the file");
            self.freed.push(span.offset);
            body
        };
        let id = id_at(&body);
        assert!(body[4..].iter().all(|byte| *byte == id as u8), "the body of another task");
        let slabs = spans.into_iter().map(|span| (span, id as u8)).collect();
        Job { position: request.head.position, ids: vec![id], slabs, interrupted: false }
    }

    fn start_plain(&mut self, job: Job) -> Step {
        let mut world = lock(&self.world);
        let item = world.items[job.ids[0] as usize].clone();
        world.start(self.token, job.ids[0]);
        (self.runs, self.began_ns) = (Some(job.ids[0]), world.now_ns);
        if item.way == Way::DoesNotLoad {
            drop(world);
            let reply = answer(ReplyKind::Unloadable, 0, (job.position, job.ids[0]), 0);
            return Step::Send(job, reply);
        }
        let end_ns = world.now_ns.saturating_add(item.length_ns);
        drop(world);
        Step::Run(job, end_ns)
    }

    /// A signal handler that runs now: whether the task that runs is to end.
    fn take_interrupt(&mut self) -> bool {
        let asked = self.running.0 != 0 && self.interrupt == self.running.0;
        if asked {
            self.interrupt = 0;
        }
        asked
    }

    fn run_plain(&mut self, job: Job, end_ns: u64) -> Step {
        self.check_slabs(&job);
        let (now_ns, item) = {
            let world = lock(&self.world);
            (world.now_ns, world.items[job.ids[0] as usize].clone())
        };
        let stopped = self.take_interrupt() && item.way != Way::Hangs { stubborn: true };
        self.talk(job.ids[0]);
        if !stopped && now_ns < end_ns {
            return Step::Run(job, end_ns);
        }
        if item.way == Way::Kills && item.starts == 1 && !stopped {
            self.step = Step::Run(job, end_ns);
            self.die(Some(11));
            return std::mem::replace(&mut self.step, Step::Over);
        }
        let kind = if stopped { ReplyKind::Raised } else { kind_of(item.way) };
        let flags = if self.dice.one_in(self.temper.recycles) { RECYCLE } else { 0 };
        let reply = if item.way == Way::ReturnsLarge && !stopped {
            self.large_answer(job.position, job.ids[0])
        } else {
            answer(kind, flags, (job.position, job.ids[0]), self.ran_ns())
        };
        Step::Send(job, reply)
    }

    /// The item's result is where the caller finds it, whatever happens to us.
    fn finish(&mut self, id: u32) {
        lock(&self.world).finish(id);
        self.runs = None;
    }

    /// How long the present task has run.
    fn ran_ns(&self) -> u64 {
        lock(&self.world).now_ns - self.began_ns
    }

    /// Print or log something.
    fn talk(&mut self, id: u32) {
        if self.dice.one_in(self.temper.talks) {
            let kind = if self.dice.one_in(2) { ReplyKind::Say } else { ReplyKind::Log };
            self.push(&[&ReplyHead::plain(kind, 1, 0).to_bytes(), &id.to_le_bytes()]);
        }
    }

    fn large_answer(&mut self, position: u64, id: u32) -> Vec<u8> {
        let span = Span { offset: position * 4096, len: 16 };
        self.lent.insert(span.offset);
        let head = ReplyHead { buffers: 1, ..ReplyHead::plain(ReplyKind::Pickled, position, self.ran_ns()) };
        [&head.to_bytes()[..], &table_bytes(&[span]), &id.to_le_bytes()].concat()
    }

    /// The memory of a task that runs is in use, and holds what the caller put there.
    fn check_slabs(&self, job: &Job) {
        for (span, byte) in &job.slabs {
            let mut content = vec![0; span.len as usize];
            self.arena.file().read_at(&mut content, span.offset).expect("it lies in the file");
            assert!(
                content.iter().all(|found| found == byte || *found == SHARED_BYTE),
                "memory of item {} is used for something else while it runs",
                job.ids[0]
            );
            let range = Range { offset: span.offset, len: span.len, warm: true };
            let used = self.arena.fill(&range, 0, &content[..1]);
            assert!(used.is_ok(), "memory of item {} was given back while it runs", job.ids[0]);
        }
    }
}

/// What shared memory is filled with.
pub(crate) const SHARED_BYTE: u8 = 0xee;

fn id_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn kind_of(way: Way) -> ReplyKind {
    match way {
        Way::Raises | Way::Hangs { .. } => ReplyKind::Raised,
        Way::DoesNotLoad => ReplyKind::Unloadable,
        Way::IsTooLarge => ReplyKind::TooLarge,
        Way::ReturnsLarge => ReplyKind::Pickled,
        Way::Returns | Way::Kills => ReplyKind::Coded,
    }
}

fn answer(kind: ReplyKind, flags: u8, (position, id): (u64, u32), ran_ns: u64) -> Vec<u8> {
    let head = ReplyHead { flags, ..ReplyHead::plain(kind, position, ran_ns) };
    [&head.to_bytes()[..], &id.to_le_bytes()].concat()
}

//! A pool whose workers, clock and faults are a test's: the crew as its hub drives it, without threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use whichever_pool::wire::Span;
use whichever_pool::{
    Batch, Broken, Buffer as _, Crew, Death, Effect, Limits, Parcel, Storage, Task, Why, Word,
};
use whichever_ring::Arena;
use whichever_sys::SharedFile;

use super::worker::{ModelLink, SHARED_BYTE, Temper, Worker};
use super::world::{Dice, Item, Shared, Slip, Way, World, lock};

/// Rounds in which a pool without further disturbance must come to rest.
const PATIENCE: usize = 200_000;

/// What a task brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baggage {
    None,
    LongBody,
    Copied,
    Shared,
}

/// Shared memory of the caller, freed with its last user.
struct Loaned {
    arena: Arc<Arena>,
    span: Span,
}

impl Drop for Loaned {
    fn drop(&mut self) {
        self.arena.free(self.span.offset);
    }
}

/// See the module.
pub(crate) struct Sim {
    pub(crate) crew: Crew<Slip, ModelLink>,
    pub(crate) world: Shared,
    pub(crate) arena: Arc<Arena>,
    pub(crate) workers: Vec<(u64, ModelLink)>,
    pub(crate) dice: Dice,
    pub(crate) temper: Temper,
    /// One in so many workers asked for cannot be started; 0: none.
    pub(crate) hires_fail: u64,
    pub(crate) hires: u64,
    loading: Vec<Task<Slip>>,
    words: VecDeque<Word<Slip>>,
    deaths: Vec<Death>,
    shared: Option<(Span, Arc<Loaned>)>,
    next_token: u64,
    /// Whether tasks may stay away to be loaded while other things happen.
    pub(crate) loads_slowly: bool,
    /// Whether words wait for `tell`.
    pub(crate) tells_slowly: bool,
}

impl Sim {
    pub(crate) fn new(limits: Limits, temper: Temper, seed: u64) -> Self {
        let arena = Arc::new(Arena::with_limits("crew-test", 1 << 30, 1 << 20).unwrap());
        Self {
            crew: Crew::new(limits, Arc::clone(&arena)),
            world: Arc::new(Mutex::new(World::default())),
            arena,
            workers: Vec::new(),
            dice: Dice(seed),
            temper,
            hires_fail: 0,
            hires: 0,
            loading: Vec::new(),
            words: VecDeque::new(),
            deaths: Vec::new(),
            shared: None,
            next_token: 1,
            loads_slowly: false,
            tells_slowly: false,
        }
    }

    pub(crate) fn item(way: Way, length_ns: u64) -> Item {
        Item {
            way,
            length_ns,
            retries: 0,
            has_timeout: false,
            starts: 0,
            deaths: 0,
            vain: 0,
            finished: false,
            settled: false,
            cancelled: false,
        }
    }

    /// Note items of one ticket; the first one's number.
    pub(crate) fn enter(&mut self, items: Vec<Item>) -> Slip {
        let mut world = lock(&self.world);
        let first = u32::try_from(world.items.len()).unwrap();
        world.items.extend(items);
        let count = world.items.len();
        world.places.resize(count, None);
        Slip { world: Arc::clone(&self.world), first }
    }

    pub(crate) fn submit(&mut self, function: u32, item: Item, timeout_ns: u64, baggage: Baggage) -> u32 {
        let retries = item.retries;
        let slip = self.enter(vec![Item { has_timeout: timeout_ns > 0, ..item }]);
        let id = slip.first;
        let mut body = id.to_le_bytes().to_vec();
        if baggage == Baggage::LongBody {
            body.resize(33_000, id as u8);
        }
        let parcels = self.parcels(baggage, id);
        let task = Task::new(slip, function, false, Arc::from(body));
        self.crew.submit(Task { parcels, timeout_ns, retries, ..task });
        self.supply();
        id
    }

    fn parcels(&mut self, baggage: Baggage, id: u32) -> Vec<Parcel> {
        match baggage {
            Baggage::None | Baggage::LongBody => Vec::new(),
            Baggage::Copied => [100, 5000].map(|len| Parcel::Copied(Arc::new(vec![id as u8; len]))).into(),
            Baggage::Shared => {
                let (span, owner) = self.shared.get_or_insert_with(|| share(&self.arena)).clone();
                vec![Parcel::Copied(Arc::new(vec![id as u8; 64])), Parcel::Shared(span, owner)]
            }
        }
    }

    /// The caller lets go of what it shared so far.
    pub(crate) fn unshare(&mut self) {
        self.shared = None;
    }

    pub(crate) fn submit_batch(&mut self, function: u32, items: Vec<Item>, timeout_ns: u64) -> u32 {
        let count = u32::try_from(items.len()).unwrap();
        let retries = items[0].retries;
        let items = items.into_iter().map(|item| Item { has_timeout: timeout_ns > 0, retries, ..item });
        let slip = self.enter(items.collect());
        let first = slip.first;
        let body: Vec<u8> = (first..first + count).flat_map(u32::to_le_bytes).collect();
        let starts: Vec<u32> = (0..=count).map(|item| item * 4).collect();
        let batch = Batch { starts: Arc::from(starts), items: 0..count, single: true };
        let task = Task::new(slip, function, false, Arc::from(body));
        self.crew.submit(Task { batch: Some(batch), timeout_ns, retries, ..task });
        self.supply();
        first
    }

    /// Hand out what can be, and do what is left to the pool's holder.
    pub(crate) fn supply(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "the pool asks for the same again and again");
            while let Some(task) = self.crew.hand_out() {
                self.loading.push(task);
                if !self.loads_slowly || self.dice.one_in(2) {
                    self.load();
                } else {
                    break;
                }
            }
            let work = self.crew.take_work();
            if work.is_empty() {
                break;
            }
            work.effects.into_iter().for_each(|effect| self.act(effect));
            if !work.words.is_empty() {
                assert!(self.words.is_empty(), "two deliver words at once");
                self.words = work.words;
            }
            if !self.tells_slowly {
                self.tell();
            }
        }
    }

    /// Deliver the words that were taken.
    pub(crate) fn tell(&mut self) {
        if self.words.is_empty() {
            return;
        }
        let mut ends = Vec::new();
        for word in std::mem::take(&mut self.words) {
            match word {
                Word::Say(_, text) => lock(&self.world).hear(&text),
                Word::Log(record) => lock(&self.world).hear(&record.body),
                Word::Settle(task, ended) => ends.push((task, ended)),
            }
        }
        self.crew.told(ends);
    }

    /// Finish the loading that was begun.
    pub(crate) fn load(&mut self) {
        for mut task in std::mem::take(&mut self.loading) {
            let result = task.load(&self.arena);
            self.crew.loaded(task, result);
        }
    }

    fn act(&mut self, effect: Effect<Slip>) {
        match effect {
            Effect::Hire if self.dice.one_in(self.hires_fail) => {
                lock(&self.world).may_break = true;
                self.hires += 1;
                self.crew.hire_failed("a test says no");
            }
            Effect::Hire => self.hire(),
            Effect::HangUp(token) => {
                let found = self.workers.iter().find(|(own, _)| *own == token);
                found.into_iter().for_each(|(_, link)| link.worker().die(Some(9)));
            }
            Effect::Ended(death) => self.workers.retain(|(token, _)| *token != death.token),
            Effect::Notify(_) | Effect::Drop(_) => {}
        }
    }

    fn hire(&mut self) {
        self.hires += 1;
        let token = self.next_token;
        self.next_token += 1;
        let seed = self.dice.roll(u64::MAX);
        let worker = Worker::new(token, self.temper, &self.world, &self.arena, seed);
        let link = ModelLink(Arc::new(Mutex::new(worker)));
        self.workers.push((token, link.clone()));
        let file = SharedFile::create("crew-test-results").unwrap();
        file.grow(1 << 40).unwrap();
        self.crew.seat(token, link, Arc::new(Storage::new(file)));
    }

    /// Let one worker go some steps.
    pub(crate) fn work(&mut self, which: usize, steps: usize) {
        if self.workers.is_empty() {
            return;
        }
        let link = self.workers[which % self.workers.len()].1.clone();
        let mut worker = link.worker();
        for _ in 0..steps {
            if !worker.step() {
                break;
            }
        }
    }

    /// Hear of the deaths there were.
    pub(crate) fn bury(&mut self) {
        for (_, link) in &self.workers {
            self.deaths.extend(link.worker().death.take());
        }
        for death in std::mem::take(&mut self.deaths) {
            let (died, retried) = (lock(&self.world).died, self.crew.counts().retried);
            if !death_is_expected(&death) {
                lock(&self.world).may_break = true; // three in a row before they are ready
            }
            self.crew.bury(death);
            let cost = lock(&self.world).died - died + self.crew.counts().retried - retried;
            assert!(cost <= 1, "one death costs {cost} tasks");
        }
        self.supply();
    }

    pub(crate) fn collect(&mut self) {
        self.crew.collect();
        self.supply();
    }

    pub(crate) fn pass(&mut self, length_ns: u64) {
        lock(&self.world).now_ns += length_ns;
    }

    pub(crate) fn supervise(&mut self) -> Option<u64> {
        let now_ns = lock(&self.world).now_ns;
        let next_ns = self.crew.supervise(now_ns);
        self.supply();
        next_ns
    }

    /// The user cancels the ticket of this item.
    pub(crate) fn cancel(&mut self, id: u32) {
        let (place, now_ns) = {
            let mut world = lock(&self.world);
            world.items[id as usize].cancelled = true;
            (world.places[id as usize], world.now_ns)
        };
        if let Some((token, position)) = place {
            self.crew.stop(token, position, Why::Cancelled, now_ns);
        }
        self.supply();
    }

    /// The user gives up a batch.
    pub(crate) fn cancel_batch(&mut self, first: u32, count: u32) {
        lock(&self.world).items[first as usize..(first + count) as usize]
            .iter_mut()
            .for_each(|item| item.cancelled = true);
        self.crew.drop_cancelled();
        self.supply();
    }

    pub(crate) fn stop_all(&mut self) {
        let now_ns = {
            let mut world = lock(&self.world);
            (world.may_stop, world.may_drop) = (true, true);
            world.now_ns
        };
        self.crew.stop_all(now_ns, 1_000_000);
        self.supply();
    }

    pub(crate) fn drop_pending(&mut self) {
        lock(&self.world).may_drop = true;
        self.crew.drop_pending();
        self.supply();
    }

    pub(crate) fn break_down(&mut self) {
        lock(&self.world).may_break = true;
        self.crew.break_down(Broken { reason: "a test says so".to_owned(), error: None });
        self.supply();
    }

    /// Without faults from now on: let all go on until `done`, time passing to the next moment that matters.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            self.load();
            self.tell();
            self.collect();
            let next_ns = self.supervise();
            self.bury();
            if done(self) {
                return;
            }
            let mut moved = false;
            for index in 0..self.workers.len() {
                moved |= self.workers[index].1.worker().step();
            }
            if !moved || self.is_waiting() {
                self.skip_time(next_ns);
            }
        }
        panic!("no rest: {:?} waiting, workers {:?}", self.crew.depth(), self.crew.pids());
    }

    /// Whether every worker waits for time to pass.
    fn is_waiting(&self) -> bool {
        self.workers.iter().all(|(_, link)| {
            let worker = link.worker();
            worker.is_idle() || worker.due_ns().is_some_and(|due_ns| due_ns > lock(&self.world).now_ns)
        })
    }

    /// To the next moment at which a task ends or the crew wants to look.
    fn skip_time(&mut self, next_ns: Option<u64>) {
        let due = self.workers.iter().filter_map(|(_, link)| link.worker().due_ns());
        let next = due.chain(next_ns).filter(|due_ns| *due_ns != u64::MAX).min();
        let mut world = lock(&self.world);
        world.now_ns = world.now_ns.max(next.unwrap_or(0)) + 1;
    }

    /// The end: no task is to come, and nothing may be left.
    pub(crate) fn finish(mut self) {
        self.calm();
        self.unshare();
        self.run_until(|sim| !sim.crew.is_busy());
        let unsettled: Vec<usize> = {
            let world = lock(&self.world);
            world.items.iter().enumerate().filter(|(_, item)| !item.settled).map(|(id, _)| id).collect()
        };
        assert_eq!(unsettled, [] as [usize; 0], "not settled");
        assert_eq!(self.crew.depth(), (0, 0));
        self.crew.close();
        self.run_until(|sim| sim.crew.is_over());
        assert!(!self.crew.has_workers());
        assert_eq!(self.arena.statistics().used_ranges, 0, "memory is left behind");
        let counts = self.crew.counts();
        let ends = counts.returned + counts.raised + counts.cancelled + counts.timed_out + counts.lost;
        assert_eq!(ends, counts.submitted);
    }

    /// No faults any more.
    pub(crate) fn calm(&mut self) {
        self.hires_fail = 0;
        (self.loads_slowly, self.tells_slowly) = (false, false);
        self.temper.dies = 0;
        for (_, link) in &self.workers {
            link.worker().calm();
        }
    }
}

fn death_is_expected(death: &Death) -> bool {
    death.exit_code == Some(0)
}

fn share(arena: &Arc<Arena>) -> (Span, Arc<Loaned>) {
    let bytes = vec![SHARED_BYTE; 3000];
    let range = arena.allocate(bytes.len()).unwrap();
    bytes.copy_to(arena, &range).unwrap();
    let span = Span { offset: range.offset, len: bytes.len() as u64 };
    (span, Arc::new(Loaned { arena: Arc::clone(arena), span }))
}

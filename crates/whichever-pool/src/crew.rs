//! Who runs what: tasks wait here, are handed to workers a little ahead of time, and are settled when they end.
//!
//! Pure but for the links: time is an argument, and what needs Python or the system is left as an [`Effect`] for whoever
//! holds the pool. Guarantees:
//!
//! - every task is settled exactly once;
//! - a task that started is never started again, unless its worker died and it has retries left;
//! - tasks of a dead worker that had not started go back to the front of the queue in their order.
//!
//! How far ahead a worker is supplied follows from how long tasks of the same function took: about
//! [`WINDOW_NS`] of work, so that tiny tasks cost no wake-up each and long ones go one by one to whoever is free. What
//! was handed over too early is taken back (see `steal`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use whichever_ring::Arena;

use crate::slot::{Flight, Link, Phase, Slot};
use crate::statistics::Counts;
use crate::task::{Batch, Broken, Cargo, Death, Ended, Parcel, Storage, Task, Ticket};
use crate::wire::{BODY_IN_ARENA, RequestHead, RequestKind, SINGLE, Span, table_bytes};

/// Work that a worker holds ahead, by the average of its tasks.
pub(crate) const WINDOW_NS: u64 = 1_500_000;
/// Tasks longer than this are handed out one at a time.
const SINGLE_NS: u64 = 20_000_000;
/// Most tasks that a worker holds.
const WINDOW_TASKS: usize = 16 * 1024;
/// Work that is sent in one record, by the average of its tasks: what a slow task can keep waiting unseen.
const PIECE_NS: u64 = 250_000;
/// Most tasks in one record.
const PIECE_TASKS: usize = 4096;
/// Workers that die before they are ready, one after the other, until the pool gives up.
const START_FAILURES: u32 = 3;

/// From a worker that could not be started to the next try, while others do the work.
const ASK_AGAIN_NS: u64 = 1_000_000_000;

/// Limits that the user sets.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most workers at a time.
    pub workers: usize,
    /// Tasks after which a worker is replaced.
    pub tasks_per_worker: Option<u64>,
}

/// What the pool cannot do by itself.
pub enum Effect<T> {
    /// Start a worker.
    Hire,
    /// Somebody wants to be told that this task has ended.
    Notify(T),
    /// This worker has ended: let go of its socket.
    Ended(Death),
    /// Kill this worker by its socket: its process id is not known yet.
    HangUp(u64),
}

/// What tasks printed and logged, and the ends that came after it: to be delivered in this order.
pub enum Word<T> {
    /// A task printed this to stream 1 or 2.
    Say(u64, Vec<u8>),
    /// A task logged this; the body is its pickled record.
    Log(Cargo),
    /// A task ended so; to be given back to `told`.
    Settle(Task<T>, Ended),
}

/// What the holder of a pool has to do.
pub struct Work<T> {
    /// In any order, by any thread.
    pub effects: VecDeque<Effect<T>>,
    /// In this order. When there are any, nobody else gets some before `told` was called.
    pub words: VecDeque<Word<T>>,
    /// What ended tasks held of the caller's memory. To be dropped without the pool's lock: its end may run code of the
    /// user's, which may use the pool.
    pub remains: Vec<Parcel>,
}

impl<T> Work<T> {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { effects: VecDeque::new(), words: VecDeque::new(), remains: Vec::new() }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.words.is_empty() && self.remains.is_empty()
    }
}

pub(crate) struct Function {
    pub(crate) letter: Arc<[u8]>,
    /// Where the letter lies in the arena, when it is long.
    pub(crate) stored: Option<Span>,
    /// Average run time of its tasks; 0 while unknown.
    pub(crate) average_ns: u64,
    /// Tasks that a worker may hold at least: the chunk size a user asked for.
    pub(crate) at_least: usize,
    /// Tasks of it that have not ended.
    users: u64,
    /// To be forgotten with the last of these.
    dropped: bool,
}

/// The pool's state. See the module.
pub struct Crew<T, L> {
    pub(crate) limits: Limits,
    pub(crate) arena: Arc<Arena>,
    pub(crate) pending: VecDeque<Task<T>>,
    pub(crate) slots: Vec<Slot<T, L>>,
    pub(crate) functions: HashMap<u32, Function>,
    next_function: u32,
    /// Workers asked for whose links are not here yet.
    pub(crate) hiring: usize,
    pub(crate) start_failures: u32,
    /// A worker could not be started: no more are asked for while others are there.
    refused: bool,
    /// When they are asked for again; 0 until that is known.
    ask_again_ns: u64,
    /// Tasks that someone else copies into the arena now.
    pub(crate) loading: usize,
    pub(crate) effects: VecDeque<Effect<T>>,
    pub(crate) words: VecDeque<Word<T>>,
    remains: Vec<Parcel>,
    /// Somebody delivers words now.
    telling: bool,
    pub(crate) broken: Option<Arc<Broken>>,
    /// A task has ended since somebody last looked.
    pub(crate) settled: bool,
    /// No task is to come: workers leave when they have nothing to do.
    pub(crate) closing: bool,
    pub(crate) counts: Counts,
    /// Average run time of tasks that carry their function.
    pub(crate) loose_ns: u64,
}

impl<T: Ticket, L: Link> Crew<T, L> {
    /// A pool without workers yet.
    #[must_use]
    pub fn new(limits: Limits, arena: Arc<Arena>) -> Self {
        Self {
            limits,
            arena,
            pending: VecDeque::new(),
            slots: Vec::new(),
            functions: HashMap::new(),
            next_function: 1,
            hiring: 0,
            start_failures: 0,
            refused: false,
            ask_again_ns: 0,
            loading: 0,
            effects: VecDeque::new(),
            words: VecDeque::new(),
            remains: Vec::new(),
            telling: false,
            broken: None,
            settled: false,
            closing: false,
            counts: Counts::default(),
            loose_ns: 0,
        }
    }

    /// Keep a pickled function and return its number.
    pub fn define(&mut self, letter: Arc<[u8]>, stored: Option<Span>, at_least: usize) -> u32 {
        let number = self.next_function;
        self.next_function = self.next_function.checked_add(1).unwrap_or(1);
        self.functions
            .insert(number, Function { letter, stored, average_ns: 0, at_least, users: 0, dropped: false });
        number
    }

    /// Forget a function as soon as no task of it is left: none is to come.
    pub fn forget(&mut self, number: u32) {
        let Some(function) = self.functions.get_mut(&number) else { return };
        function.dropped = true;
        if function.users > 0 {
            return;
        }
        // A long letter stays where it is until the pool ends: a worker may not have read it yet.
        self.functions.remove(&number);
        let record = RequestHead::control(RequestKind::Forget, number).to_bytes();
        for slot in &mut self.slots {
            // A full ring loses nothing but the memory of one function in one worker.
            if slot.known.remove(&number) && slot.phase != Phase::Leaving {
                let _kept = slot.push(&[&record]);
            }
        }
    }

    /// Take a task in. It is settled at once when the pool is broken.
    pub fn submit(&mut self, task: Task<T>) {
        self.counts.submitted += u64::from(task.count());
        if let Some(function) = self.functions.get_mut(&task.function) {
            function.users += u64::from(task.count());
        }
        if let Some(broken) = &self.broken {
            let broken = Arc::clone(broken);
            self.settle(task, Ended::Broken(broken));
        } else if let Some(reason) = task.misfit() {
            self.settle(task, Ended::TooLarge(reason));
        } else {
            self.pending.push_back(task);
        }
    }

    /// Hand waiting tasks to workers that have room; ask for workers where there are too few.
    ///
    /// Returns a task whose buffers must first be copied into the arena: do that without the lock, then call `loaded`.
    pub fn hand_out(&mut self) -> Option<Task<T>> {
        let mut unloaded = None;
        while let Some(task) = self.pending.front() {
            if task.ticket.is_cancelled() {
                self.drop_front();
                continue;
            }
            let window = self.window(task.function);
            let Some(index) = self.roomiest(window) else { break };
            let Some(task) = self.take_piece(index, window) else { break };
            if task.wants_loading() {
                self.loading += 1;
                unloaded = Some(task);
                break;
            }
            if let Err(task) = self.hand_over(index, task) {
                self.pending.push_front(task);
                break;
            }
        }
        self.hire_more();
        for slot in &mut self.slots {
            slot.wake();
        }
        unloaded
    }

    /// Take a task back that `hand_out` gave away to be loaded.
    pub fn loaded(&mut self, task: Task<T>, result: Result<(), String>) {
        self.loading -= 1;
        match (result, &self.broken) {
            (_, Some(broken)) => {
                let broken = Arc::clone(broken);
                self.settle(task, Ended::Broken(broken));
            }
            (Ok(()), None) => self.pending.push_front(task),
            (Err(reason), None) => self.settle(task, Ended::TooLarge(reason)),
        }
    }

    fn drop_front(&mut self) {
        if let Some(task) = self.pending.pop_front() {
            self.settle(task, Ended::Dropped);
        }
    }

    /// The first waiting task, or as much of a waiting batch as this worker should have at once.
    fn take_piece(&mut self, index: usize, window: usize) -> Option<Task<T>> {
        let (average_ns, at_least) = self.habit(self.pending.front()?.function);
        let slot = &self.slots[index];
        let front = self.pending.front_mut()?;
        let most = self.limits.tasks_per_worker.map_or(u64::MAX, |most| most.saturating_sub(slot.given));
        let piece = if front.timeout_ns > 0 { 1 } else { piece_for(average_ns).max(at_least) };
        let piece = piece.min(window.saturating_sub(slot.held)).max(1) as u64;
        let piece = u32::try_from(piece.min(most).max(1)).unwrap_or(u32::MAX);
        if front.count() > piece { front.split_front(piece) } else { self.pending.pop_front() }
    }

    /// How many tasks of this function a worker may hold.
    fn window(&self, number: u32) -> usize {
        let (average_ns, at_least) = self.habit(number);
        window_for(average_ns).max(at_least)
    }

    /// How long tasks of this function take on average, and how many of them a worker may always hold.
    fn habit(&self, number: u32) -> (u64, usize) {
        match self.functions.get(&number) {
            Some(function) => (function.average_ns, function.at_least),
            None => (self.loose_ns, 1),
        }
    }

    /// The worker with the fewest tasks among those that have room.
    fn roomiest(&self, window: usize) -> Option<usize> {
        let candidates = self.slots.iter().enumerate().filter(|(_, slot)| slot.has_room(window));
        candidates.min_by_key(|(_, slot)| slot.held).map(|(index, _)| index)
    }

    /// Gives the task back when the worker's ring is full.
    #[expect(clippy::result_large_err, reason = "a task moves either way")]
    fn hand_over(&mut self, index: usize, task: Task<T>) -> Result<(), Task<T>> {
        let slot = &mut self.slots[index];
        let freed = slot.storage.take_freed();
        if !freed.is_empty() {
            let body: Vec<u8> = freed.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            for chunk in body.chunks(crate::wire::INLINE_BYTES) {
                // Lost only if the ring is full: then the range stays taken until the worker ends.
                let _kept = slot.push(&[&RequestHead::control(RequestKind::Free, 0).to_bytes(), chunk]);
            }
        }
        if task.function != 0 && !slot.known.contains(&task.function) {
            if !introduce(slot, task.function, self.functions.get(&task.function)) {
                return Err(task);
            }
            slot.known.insert(task.function);
        }
        let position = slot.next_position;
        // Placed first: whoever cancels it from now on finds the place and stops it here.
        task.ticket.place(Some((slot.token, position)));
        if task.ticket.is_cancelled() {
            task.ticket.place(None);
            self.settle(task, Ended::Dropped);
            return Ok(());
        }
        if !send(slot, position, &task) {
            task.ticket.place(None);
            return Err(task);
        }
        let count = task.count();
        slot.next_position += u64::from(count);
        slot.give(count, self.limits.tasks_per_worker);
        slot.lend(&task);
        slot.flights.push_back(Flight { position, task, kill_at_ns: 0 });
        Ok(())
    }

    /// Ask for workers while tasks wait that nobody idle could take.
    fn hire_more(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let coming = self.hiring + self.slots.iter().filter(|slot| slot.phase == Phase::Hired).count();
        let alive = self.hiring + self.slots.iter().filter(|slot| slot.phase != Phase::Leaving).count();
        if self.refused && (alive > 0 || self.pending.is_empty()) {
            return;
        }
        let waiting = self.waiting(self.limits.workers);
        let wanted = waiting.saturating_sub(coming).min(self.limits.workers.saturating_sub(alive));
        for _ in 0..wanted {
            self.hiring += 1;
            self.effects.push_back(Effect::Hire);
        }
    }

    /// How many tasks wait, counted up to `most`.
    fn waiting(&self, most: usize) -> usize {
        let mut waiting = self.loading;
        for task in &self.pending {
            if waiting >= most {
                break;
            }
            waiting += task.count() as usize;
        }
        waiting
    }

    /// Start as many workers as the limits allow, tasks or not.
    pub fn hire_all(&mut self) {
        let alive = self.hiring + self.slots.iter().filter(|slot| slot.phase != Phase::Leaving).count();
        for _ in alive..self.limits.workers {
            self.hiring += 1;
            self.effects.push_back(Effect::Hire);
        }
    }

    /// A worker that was asked for is on its way.
    pub fn seat(&mut self, token: u64, link: L, storage: Arc<Storage>) {
        self.hiring -= 1;
        self.refused = false;
        self.counts.hired += 1;
        let mut slot = Slot::new(token, link, storage);
        if self.broken.is_some() {
            slot.phase = Phase::Leaving;
            self.effects.push_back(Effect::HangUp(token));
        }
        self.slots.push(slot);
    }

    /// A worker that was asked for could not be started. The pool goes on with those it has; with none, what waits fails.
    pub fn hire_failed(&mut self, reason: &str) {
        self.hiring -= 1;
        self.refuse();
        self.fail_if_alone(reason);
    }

    fn refuse(&mut self) {
        (self.refused, self.ask_again_ns) = (true, 0);
    }

    /// Ask for workers again when a refusal is `ASK_AGAIN_NS` old; returns when that is.
    pub(crate) fn ask_again(&mut self, now_ns: u64) -> Option<u64> {
        if !self.refused {
            return None;
        }
        if self.ask_again_ns == 0 {
            self.ask_again_ns = now_ns.saturating_add(ASK_AGAIN_NS);
        }
        self.refused = now_ns < self.ask_again_ns;
        self.refused.then_some(self.ask_again_ns)
    }

    /// A worker ended before it was ready.
    pub(crate) fn start_failed(&mut self, reason: &str) {
        self.start_failures += 1;
        if self.start_failures >= START_FAILURES {
            self.start_failures = 0;
            self.refuse();
            self.fail_if_alone(reason);
        }
    }

    fn fail_if_alone(&mut self, reason: &str) {
        if self.hiring > 0 || self.slots.iter().any(|slot| slot.phase != Phase::Leaving) {
            return;
        }
        let broken = Arc::new(Broken { reason: reason.to_owned(), error: None });
        for task in std::mem::take(&mut self.pending) {
            self.settle(task, Ended::Broken(Arc::clone(&broken)));
        }
    }

    /// Run nothing any more: every task that has not ended is settled with the reason, and the workers leave.
    pub fn break_down(&mut self, broken: Broken) {
        let broken = Arc::new(broken);
        self.broken = Some(Arc::clone(&broken));
        self.kill_all(); // first: what is settled must not start
        for task in self.take_unfinished() {
            self.settle(task, Ended::Broken(Arc::clone(&broken)));
        }
    }

    /// No task is to come: let the workers go when there are none left.
    pub fn close(&mut self) {
        self.closing = true;
        self.let_go();
    }

    /// Whether the pool is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closing && !self.is_busy() && !self.has_workers() && self.effects.is_empty()
    }

    /// Every task that has not ended, those under way first.
    pub(crate) fn take_unfinished(&mut self) -> Vec<Task<T>> {
        let mut tasks: Vec<Task<T>> = Vec::new();
        for slot in &mut self.slots {
            tasks.extend(slot.flights.drain(..).map(|flight| flight.task.left_to_worker()));
            slot.held = 0;
        }
        tasks.extend(std::mem::take(&mut self.pending));
        tasks
    }

    pub(crate) fn settle(&mut self, mut task: Task<T>, ended: Ended) {
        let items = task.items();
        let count = items.end - items.start;
        self.counts.count(&ended, count);
        self.settled = true;
        // What the task still calls its own. What a worker was lent is not: it, or its death, gives that back.
        task.lent().for_each(|offset| self.arena.free(offset));
        self.remains.append(&mut task.parcels);
        if let Some(function) = self.functions.get_mut(&task.function) {
            function.users -= u64::from(count);
            if function.users == 0 && function.dropped {
                self.forget(task.function);
            }
        }
        if task.ticket.settle(items, ended) {
            self.effects.push_back(Effect::Notify(task.ticket));
        }
    }

    /// Settle a task that a worker has ended; after what was printed and logged before.
    pub(crate) fn conclude(&mut self, task: Task<T>, ended: Ended) {
        if self.telling || !self.words.is_empty() {
            self.words.push_back(Word::Settle(task, ended));
        } else {
            self.settle(task, ended);
        }
    }

    /// What is left for the holder to do.
    pub fn take_work(&mut self) -> Work<T> {
        let words = if self.telling { VecDeque::new() } else { std::mem::take(&mut self.words) };
        self.telling |= !words.is_empty();
        let (effects, remains) = (std::mem::take(&mut self.effects), std::mem::take(&mut self.remains));
        Work { effects, words, remains }
    }

    /// The words that were taken are delivered, up to these ends.
    pub fn told(&mut self, ends: Vec<(Task<T>, Ended)>) {
        for (task, ended) in ends {
            self.settle(task, ended);
        }
        self.telling = false;
    }

    /// Whether something is left for the holder to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.effects.is_empty() || !self.remains.is_empty() || !self.telling && !self.words.is_empty()
    }

    /// Whether tasks wait, run, or workers are on their way in or out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let is_telling = self.telling || !self.words.is_empty();
        is_telling
            || !self.pending.is_empty()
            || self.loading > 0
            || self.slots.iter().any(|slot| slot.held > 0)
    }

    /// Whether any worker is there or on its way.
    #[must_use]
    pub fn has_workers(&self) -> bool {
        self.hiring > 0 || !self.slots.is_empty()
    }

    /// Whether a worker has sent something that was not looked at.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.slots.iter().any(|slot| slot.link.has_record())
    }

    /// The average run time of tasks of this function (0 while unknown), and the most workers there may be.
    #[must_use]
    pub fn pace(&self, number: u32) -> (u64, usize) {
        (self.functions.get(&number).map_or(0, |function| function.average_ns), self.limits.workers)
    }

    /// Whether this task runs now.
    #[must_use]
    pub fn runs(&self, token: u64, position: u64) -> bool {
        let slot = self.slots.iter().find(|slot| slot.token == token);
        slot.is_some_and(|slot| slot.link.running().0 == position)
    }

    /// What the pool has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Tasks that wait, and tasks that are with workers.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        (
            self.pending.iter().map(|task| task.count() as usize).sum::<usize>() + self.loading,
            self.slots.iter().map(|slot| slot.held).sum(),
        )
    }

    /// Why the pool runs nothing any more, if so.
    #[must_use]
    pub fn broken(&self) -> Option<Arc<Broken>> {
        self.broken.clone()
    }

    /// Process ids of the workers that have said theirs.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.slots.iter().map(|slot| slot.pid).filter(|pid| *pid != 0).collect()
    }
}

fn window_for(average_ns: u64) -> usize {
    if average_ns == 0 || average_ns > SINGLE_NS {
        return 1;
    }
    let tasks = usize::try_from(WINDOW_NS / average_ns).unwrap_or(WINDOW_TASKS);
    tasks.clamp(2, WINDOW_TASKS)
}

/// How many tasks of a batch go to a worker at once.
fn piece_for(average_ns: u64) -> usize {
    if average_ns == 0 {
        return 1;
    }
    usize::try_from(PIECE_NS / average_ns).unwrap_or(PIECE_TASKS).clamp(1, PIECE_TASKS)
}

/// Send a worker a function it does not know yet.
fn introduce<T, L: Link>(slot: &mut Slot<T, L>, number: u32, function: Option<&Function>) -> bool {
    let Some(function) = function else { return true };
    let mut head = RequestHead::control(RequestKind::Function, number);
    match function.stored {
        None => slot.push(&[&head.to_bytes(), &function.letter]),
        Some(span) => {
            head.flags = BODY_IN_ARENA;
            head.buffers = 1;
            slot.push(&[&head.to_bytes(), &table_bytes(&[span])])
        }
    }
}

fn send<T, L: Link>(slot: &mut Slot<T, L>, position: u64, task: &Task<T>) -> bool {
    let in_arena = task.body_in_arena();
    let head = RequestHead {
        kind: if task.coded { RequestKind::Coded } else { RequestKind::Pickled },
        flags: if in_arena { BODY_IN_ARENA } else { 0 },
        context: u16::try_from(task.context.len()).unwrap_or(0),
        function: task.function,
        position,
        buffers: u32::try_from(task.loaded.len()).unwrap_or(u32::MAX),
        count: 0,
    };
    if let Some(batch) = &task.batch {
        return send_batch(slot, head, task, batch);
    }
    let context: &[u8] = if head.context == 0 { &[] } else { &task.context };
    let body: &[u8] = if in_arena { &[] } else { &task.body };
    if task.loaded.is_empty() {
        slot.push(&[&head.to_bytes(), context, body])
    } else {
        slot.push(&[&head.to_bytes(), context, &table_bytes(&task.loaded), body])
    }
}

fn send_batch<T, L: Link>(slot: &mut Slot<T, L>, head: RequestHead, task: &Task<T>, batch: &Batch) -> bool {
    let items = batch.span(&batch.items).and_then(|span| task.body.get(span)).unwrap_or_default();
    let head = RequestHead {
        kind: RequestKind::Items,
        flags: if batch.single { SINGLE } else { 0 },
        count: task.count(),
        ..head
    };
    let context: &[u8] = if head.context == 0 { &[] } else { &task.context };
    slot.push(&[&head.to_bytes(), context, items])
}

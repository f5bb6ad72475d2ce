//! Who runs what: tasks wait here until they are handed out, and are settled here when they end.
//!
//! Pure but for the links: time is an argument, and what needs Python or the system is left as an [`Effect`] for whoever
//! holds the pool. Guarantees:
//!
//! - every task is settled exactly once;
//! - a task that started is never started again, unless its worker died and it has retries left;
//! - tasks of a dead worker that had not started go back to the front of the queue in their order.
//!
//! The rooms beside it are parts of it: `hand_out` and `hire`, `collect` and `stop`, and `distrust`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use whichever_ring::Arena;

use crate::slot::{Link, Phase, Slot};
use crate::statistics::Counts;
use crate::task::{Broken, Cargo, Death, Ended, Parcel, Task, Ticket};
use crate::wire::{RequestHead, RequestKind, Span};

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
    /// This ticket was settled otherwise, and is to be dropped where code of the user's may run.
    Drop(T),
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
    /// By number. A tree: there are few, looked up several times a task, and hashing costs more than finding them.
    pub(crate) functions: BTreeMap<u32, Function>,
    next_function: u32,
    /// Workers asked for whose links are not here yet.
    pub(crate) hiring: usize,
    pub(crate) start_failures: u32,
    /// A worker could not be started: no more are asked for while others are there.
    pub(crate) refused: bool,
    /// When they are asked for again; 0 until that is known.
    pub(crate) ask_again_ns: u64,
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
            functions: BTreeMap::new(),
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

    /// Whether no task is to come.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
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
        } else if task.ticket.drop_runs_code() {
            self.effects.push_back(Effect::Drop(task.ticket));
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

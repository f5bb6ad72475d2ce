//! One worker as its caller sees it: the link to it, the tasks it holds, and what it has been told.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use whichever_ring::TrayContent;

use crate::task::{Parcel, Storage, Task};

/// The caller's end of a worker. The rings in shared memory, or a stand-in for tests.
pub trait Link: Send {
    /// Send a record made of `parts`; false when the ring is full.
    fn try_push(&mut self, parts: &[&[u8]]) -> bool;
    /// Wake the worker, if it sleeps.
    fn wake(&self);
    /// Take the next record and show it to `read`; false when there is none.
    fn pop(&mut self, read: &mut dyn FnMut(&[u8])) -> bool;
    /// Whether so much was taken since the last yes that the worker may be waiting for the room.
    fn has_made_room(&mut self) -> bool;
    /// Whether the worker has written to the ring what no worker writes: nothing more comes out of it.
    fn is_corrupt(&self) -> bool;
    /// Whether a record is waiting.
    fn has_record(&self) -> bool;
    /// The position of the task that runs (0 for none) and since when.
    fn running(&self) -> (u64, u64);
    /// From this position on nothing may start; answers the position that runs.
    fn revoke_from(&self, position: u64) -> u64;
    /// Take `revoke_from` back.
    fn allow_all(&self);
    /// Raise an exception in the task at this position, if it still runs.
    fn interrupt(&self, position: u64);
    /// End the worker now.
    fn kill(&self);
    /// Learn the worker's process id, and where its tray lies.
    fn meet(&mut self, pid: u32, tray: u64);
    /// What lies in the worker's tray.
    fn tray(&self) -> Option<TrayContent>;
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asked for, not heard of yet.
    Hired,
    /// Runs tasks.
    Ready,
    /// Finishes what it holds; gets nothing new.
    Retiring,
    /// Was told to leave, or killed.
    Leaving,
}

/// A task, or a batch, with its place in the worker's order.
pub(crate) struct Flight<T> {
    /// The position of its first item that has not ended.
    pub(crate) position: u64,
    /// What has not ended of it.
    pub(crate) task: Task<T>,
    /// When its stop escalates from an exception to a kill; 0 while it is not being stopped.
    pub(crate) kill_at_ns: u64,
}

impl<T> Flight<T> {
    /// The position behind its last item.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.task.count())
    }
}

/// A worker.
pub(crate) struct Slot<T, L> {
    pub(crate) token: u64,
    pub(crate) link: L,
    pub(crate) phase: Phase,
    pub(crate) pid: u32,
    /// Tasks handed over and not answered, in the order of their positions.
    pub(crate) flights: VecDeque<Flight<T>>,
    /// How many tasks these are.
    pub(crate) held: usize,
    pub(crate) next_position: u64,
    /// Numbers of the functions it has been sent.
    pub(crate) known: BTreeSet<u32>,
    /// Offsets in the caller's arena that only it uses.
    pub(crate) lent: HashSet<u64>,
    /// What keeps shared memory in place that it uses, by offset, once for each task that brought it.
    pub(crate) shared: HashMap<u64, Vec<Arc<dyn Send + Sync>>>,
    /// How often an offset will be given back for tasks that were taken back.
    void: HashMap<u64, u32>,
    /// Its own arena.
    pub(crate) storage: Arc<Storage>,
    /// Tasks it was given in its life and that were not taken back.
    pub(crate) given: u64,
    /// It has asked to be replaced once its task has ended.
    pub(crate) outgrown: bool,
    /// The last position taken back that it has not answered yet: until then it gets nothing.
    pub(crate) revoked_to: Option<u64>,
    /// The last task it holds, and since when it has been seen to wait while another worker was idle.
    pub(crate) waits: (u64, u64),
    /// What was taken from the tray before it was sent: position of the tray's first, how many, their bytes.
    pub(crate) early: Option<(u64, u32, usize)>,
    /// It has said what cannot be: nothing it says counts any more.
    pub(crate) mad: bool,
    /// The task that ran when its tray was last looked into.
    pub(crate) peeked: u64,
    /// Something was pushed, or room made that it may wait for, since it was last woken.
    pub(crate) unwoken: bool,
}

impl<T, L: Link> Slot<T, L> {
    pub(crate) fn new(token: u64, link: L, storage: Arc<Storage>) -> Self {
        Self {
            token,
            link,
            phase: Phase::Hired,
            pid: 0,
            flights: VecDeque::new(),
            held: 0,
            next_position: 1,
            known: BTreeSet::new(),
            lent: HashSet::new(),
            shared: HashMap::new(),
            void: HashMap::new(),
            storage,
            given: 0,
            outgrown: false,
            revoked_to: None,
            waits: (0, 0),
            early: None,
            mad: false,
            peeked: 0,
            unwoken: false,
        }
    }

    /// Whether it may be given tasks until it holds `window`.
    pub(crate) fn has_room(&self, window: usize) -> bool {
        self.phase == Phase::Ready && self.revoked_to.is_none() && self.held < window
    }

    /// Count tasks that it is given, of the `most` it may be given in its life.
    pub(crate) fn give(&mut self, count: u32, most: Option<u64>) {
        self.held += count as usize;
        self.given += u64::from(count);
        if most.is_some_and(|most| self.given >= most) && self.phase == Phase::Ready {
            self.phase = Phase::Retiring;
        }
    }

    /// Count out tasks that it was given and has not begun: it may be given others for them.
    pub(crate) fn ungive(&mut self, count: u32) {
        self.held -= count as usize;
        self.given -= u64::from(count);
        if self.phase == Phase::Retiring && !self.outgrown {
            self.phase = Phase::Ready;
        }
    }

    /// The worker has gone past `last`: what was taken back up to there, it has answered for.
    pub(crate) fn allow_after(&mut self, last: u64) {
        if self.revoked_to.is_some_and(|revoked| last >= revoked) {
            self.revoked_to = None;
            self.link.allow_all();
        }
    }

    /// The first position behind `running` whose task is `wanted`.
    pub(crate) fn first_after(&self, running: u64, wanted: impl Fn(&Task<T>) -> bool) -> Option<u64> {
        let mut behind =
            self.flights.iter().filter(|flight| flight.end() > running + 1 && wanted(&flight.task));
        behind.next().map(|flight| flight.position.max(running + 1))
    }

    /// Take the first `count` tasks off, which belong together and have ended.
    pub(crate) fn pop_front(&mut self, count: u32) -> Option<Task<T>>
    where
        T: Clone,
    {
        let flight = self.flights.front_mut()?;
        self.held -= count.min(flight.task.count()) as usize;
        if count < flight.task.count() {
            flight.position += u64::from(count);
            return flight.task.split_front(count);
        }
        self.flights.pop_front().map(|flight| flight.task.left_to_worker())
    }

    /// Send a record and remember to wake the worker.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> bool {
        let pushed = self.link.try_push(parts);
        self.unwoken |= pushed;
        pushed
    }

    /// Remember what memory a task brings.
    pub(crate) fn lend(&mut self, task: &Task<T>) {
        self.lent.extend(task.lent());
        for (parcel, span) in task.parcels.iter().zip(&task.loaded) {
            if let Parcel::Shared(_, owner) = parcel {
                self.shared.entry(span.offset).or_default().push(Arc::clone(owner));
            }
        }
    }

    /// Forget the memory of a task that was taken back; its copies stay with the task.
    ///
    /// The worker, which passes the task over later, will give that memory back all the same: by then it may be in use
    /// here again, so that this one time must not count.
    pub(crate) fn unlend(&mut self, task: &Task<T>) {
        for offset in task.lent() {
            self.lent.remove(&offset);
        }
        for span in &task.loaded {
            *self.void.entry(span.offset).or_default() += 1;
        }
        for (parcel, span) in task.parcels.iter().zip(&task.loaded) {
            if matches!(parcel, Parcel::Shared(..)) {
                self.release_shared(span.offset);
            }
        }
    }

    /// The worker gives this memory back. True when it was a copy, which is free then.
    pub(crate) fn take_return(&mut self, offset: u64) -> bool {
        if let Entry::Occupied(mut void) = self.void.entry(offset) {
            *void.get_mut() -= 1;
            if *void.get() == 0 {
                void.remove();
            }
            return false;
        }
        let was_copy = self.lent.remove(&offset);
        if !was_copy {
            self.release_shared(offset);
        }
        was_copy
    }

    /// One user less of shared memory.
    fn release_shared(&mut self, offset: u64) {
        if let Some(owners) = self.shared.get_mut(&offset) {
            owners.pop();
            if owners.is_empty() {
                self.shared.remove(&offset);
            }
        }
    }

    /// Wake the worker if there is something for it since the last time.
    pub(crate) fn wake(&mut self) {
        if std::mem::take(&mut self.unwoken) {
            self.link.wake();
        }
    }
}

//! Handing out: which worker gets which task, how far ahead, and as which records.
//!
//! How far ahead a worker is supplied follows from how long tasks of the same function took: about [`WINDOW_NS`] of work,
//! so that tiny tasks cost no wake-up each and long ones go one by one to whoever is free. What was handed over too early
//! is taken back (see `stop`).

use std::sync::Arc;

use crate::crew::{Crew, Function};
use crate::slot::{Flight, Link, Slot};
use crate::task::{Batch, Ended, Task, Ticket};
use crate::wire::{BODY_IN_ARENA, INLINE_BYTES, RequestHead, RequestKind, SINGLE, table_bytes};

/// Work that a worker holds ahead, by the average of its tasks.
const WINDOW_NS: u64 = 1_500_000;
/// Tasks longer than this are handed out one at a time.
const SINGLE_NS: u64 = 20_000_000;
/// Most tasks that a worker holds.
const WINDOW_TASKS: usize = 16 * 1024;
/// Work that is sent in one record, by the average of its tasks: what a slow task can keep waiting unseen.
const PIECE_NS: u64 = 250_000;
/// Most tasks in one record.
const PIECE_TASKS: usize = 4096;
/// Work that one worker holds before another is woken for more: about as long as one who sleeps takes to begin, and ten
/// times what waking him costs the caller. Tiny tasks that come one by one then keep one worker awake, not all of them
/// falling asleep in turn.
const WAKE_WORTH_NS: u64 = 30_000;
/// What a task costs its worker beside the task, counted when tasks are as short as that.
const HANDLING_NS: u64 = 1_000;

/// What is known of a function's tasks.
#[derive(Clone, Copy)]
struct Habit {
    /// How long they take on average; 0 while unknown.
    average_ns: u64,
    /// How many of them a worker may always hold.
    at_least: usize,
}

impl Habit {
    /// How many of them a worker may hold.
    fn window(self) -> usize {
        window_for(self.average_ns).max(self.at_least)
    }
}

impl<T: Ticket, L: Link> Crew<T, L> {
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
            let habit = self.habit(task.function);
            let Some(index) = self.fittest(habit) else { break };
            let Some(task) = self.take_piece(index, habit) else { break };
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
    fn take_piece(&mut self, index: usize, habit: Habit) -> Option<Task<T>> {
        let slot = &self.slots[index];
        let front = self.pending.front_mut()?;
        let most = self.limits.tasks_per_worker.map_or(u64::MAX, |most| most.saturating_sub(slot.given));
        let piece = if front.timeout_ns > 0 { 1 } else { piece_for(habit.average_ns).max(habit.at_least) };
        let piece = piece.min(habit.window().saturating_sub(slot.held)).max(1) as u64;
        let piece = u32::try_from(piece.min(most).max(1)).unwrap_or(u32::MAX);
        if front.count() > piece { front.split_front(piece) } else { self.pending.pop_front() }
    }

    fn habit(&self, number: u32) -> Habit {
        match self.functions.get(&number) {
            Some(function) => Habit { average_ns: function.average_ns, at_least: function.at_least },
            None => Habit { average_ns: self.loose_ns, at_least: 1 },
        }
    }

    /// Among the workers that have room: one that is awake and soon done with what it holds, else the one with the fewest
    /// tasks.
    fn fittest(&self, habit: Habit) -> Option<usize> {
        let (window, few) = (habit.window(), few_for(habit.average_ns));
        let candidates = self.slots.iter().enumerate().filter(|(_, slot)| slot.has_room(window));
        let rank = |held: usize| (held == 0 || held > few, held);
        candidates.min_by_key(|(_, slot)| rank(slot.held)).map(|(index, _)| index)
    }

    /// Gives the task back when the worker's ring is full.
    #[expect(clippy::result_large_err, reason = "a task moves either way")]
    fn hand_over(&mut self, index: usize, task: Task<T>) -> Result<(), Task<T>> {
        let slot = &mut self.slots[index];
        let freed = slot.storage.take_freed();
        if !freed.is_empty() {
            let body: Vec<u8> = freed.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            for chunk in body.chunks(INLINE_BYTES) {
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
}

fn window_for(average_ns: u64) -> usize {
    if average_ns == 0 || average_ns > SINGLE_NS {
        return 1;
    }
    let tasks = usize::try_from(WINDOW_NS / average_ns).unwrap_or(WINDOW_TASKS);
    tasks.clamp(2, WINDOW_TASKS)
}

/// How many tasks a worker may hold and yet get another one before an idle worker does.
fn few_for(average_ns: u64) -> usize {
    if average_ns == 0 {
        return 0;
    }
    usize::try_from(WAKE_WORTH_NS / (average_ns + HANDLING_NS)).unwrap_or(0)
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

//! What workers say: results, released memory, output, and the news of their end.

use std::sync::Arc;

use crate::crew::{Crew, Effect, Word};
use crate::distrust::may_end;
use crate::slot::{Flight, Link, Phase};
use crate::task::{Broken, Cargo, Death, Ended, Loan, Storage, Task, Ticket};
use crate::wire::{self, BODY_IN_ARENA, RECYCLE, Reply, ReplyKind, RequestHead, RequestKind};

/// A reply, taken out of the ring.
struct News {
    kind: ReplyKind,
    recycle: bool,
    count: u16,
    position: u64,
    number: u64,
    cargo: Cargo,
}

impl<T: Ticket, L: Link> Crew<T, L> {
    /// Take everything that workers have sent.
    pub fn collect(&mut self) {
        for index in 0..self.slots.len() {
            self.collect_from(index);
        }
        self.retire_idle();
        self.let_go();
    }

    pub(crate) fn collect_from(&mut self, index: usize) {
        while !self.slots[index].mad {
            let slot = &mut self.slots[index];
            let mut news = None;
            let storage = &slot.storage;
            if !slot.link.pop(&mut |record| news = read(record, storage)) {
                if slot.link.is_corrupt() {
                    self.condemn(index);
                }
                break;
            }
            if !news.is_some_and(|news| self.hear(index, news)) {
                self.condemn(index);
            }
        }
        let slot = &mut self.slots[index];
        // It may wait for the room; to be woken for every record taken would cost more than the records.
        slot.unwoken |= slot.link.has_made_room();
    }

    /// Whether the news make sense.
    fn hear(&mut self, index: usize, news: News) -> bool {
        match news.kind {
            ReplyKind::Ready => return self.welcome(index, news.position, news.number),
            ReplyKind::Say => self.words.push_back(Word::Say(news.position, news.cargo.body)),
            ReplyKind::Log => self.words.push_back(Word::Log(news.cargo)),
            ReplyKind::Free => {
                for offset in wire::offsets(&news.cargo.body) {
                    if self.slots[index].take_return(offset) {
                        self.arena.free(offset);
                    }
                }
            }
            ReplyKind::Unprepared => self.break_down(Broken {
                reason: "the initializer of a worker raised; the pool runs nothing any more".to_owned(),
                error: Some(news.cargo.body),
            }),
            ReplyKind::Revoked => return self.answered(index, news.position, news.number),
            _ => return self.finish(index, news),
        }
        true
    }

    fn welcome(&mut self, index: usize, pid: u64, tray: u64) -> bool {
        let slot = &mut self.slots[index];
        let Some(pid) = u32::try_from(pid).ok().filter(|pid| *pid != 0 && slot.pid == 0) else {
            return false;
        };
        slot.pid = pid;
        slot.link.meet(pid, tray);
        self.start_failures = 0;
        if slot.phase == Phase::Hired {
            slot.phase = Phase::Ready;
        }
        true
    }

    /// A task has ended, well or not, or some of a batch have.
    fn finish(&mut self, index: usize, mut news: News) -> bool {
        let slot = &mut self.slots[index];
        let is_part = news.kind == ReplyKind::Items;
        let said = if is_part { u64::from(news.count) } else { 1 };
        let last = news.position.saturating_add(said).saturating_sub(1);
        let was_taken = is_part && forget_early(&mut slot.early, &mut news) && news.count == 0;
        let count = if is_part { u32::from(news.count) } else { 1 };
        if !was_taken && !may_end(slot, news.kind, news.position, count) {
            // Tasks that broke with the pool may still end.
            return slot.phase == Phase::Leaving;
        }
        // A worker that has gone past what was taken back has answered for it.
        slot.allow_after(last);
        slot.outgrown |= news.recycle;
        if news.recycle && slot.phase == Phase::Ready {
            slot.phase = Phase::Retiring;
            self.counts.recycled += 1;
        }
        if was_taken {
            return true;
        }
        let Some(task) = slot.pop_front(count) else { return false };
        self.note_duration(task.function, news.number, count);
        let ended = match (task.stopping, news.kind) {
            (Some(why), ReplyKind::Raised) => Ended::Stopped(why),
            (_, ReplyKind::Items) => Ended::Items(news.cargo.body),
            (_, ReplyKind::Coded) if news.cargo.is_plain() => Ended::Scalar(news.cargo.body),
            (_, ReplyKind::Raised) => Ended::Raised(news.cargo),
            (_, ReplyKind::Unloadable) => Ended::Unloadable(news.cargo),
            (_, ReplyKind::TooLarge) => {
                Ended::TooLarge(String::from_utf8_lossy(&news.cargo.body).into_owned())
            }
            _ => Ended::Value(news.cargo),
        };
        self.conclude(task, ended);
        true
    }

    /// Tasks that were taken back have been passed over, up to `last`.
    fn answered(&mut self, index: usize, position: u64, last: u64) -> bool {
        let slot = &mut self.slots[index];
        if position == 0 || position > last || last >= slot.next_position {
            return false;
        }
        slot.allow_after(last);
        // They had seemed to run when they were taken back, and did not.
        if slot.flights.front().is_some_and(|flight| flight.position == position)
            && let Some(flight) = slot.flights.pop_front()
        {
            slot.ungive(flight.task.count());
            // The worker has read the request: it gives the memory back, or has done so.
            self.requeue(flight.task.left_to_worker());
        }
        true
    }

    /// Put a task that did not start back to the front of the queue, or settle it if nobody wants it any more.
    pub(crate) fn requeue(&mut self, task: Task<T>) {
        if let Some(why) = task.stopping {
            self.settle(task, Ended::Stopped(why));
        } else if task.ticket.is_cancelled() {
            self.settle(task, Ended::Dropped);
        } else {
            task.ticket.place(None);
            self.pending.push_front(task);
        }
    }

    fn note_duration(&mut self, number: u32, duration_ns: u64, count: u32) {
        self.counts.busy_ns += duration_ns;
        let average = match self.functions.get_mut(&number) {
            Some(function) => &mut function.average_ns,
            None => &mut self.loose_ns,
        };
        let sample = (duration_ns / u64::from(count)).max(1);
        *average = if *average == 0 { sample } else { (*average * 7 + sample).div_ceil(8) };
    }

    /// Let workers go that are done with their last task.
    fn retire_idle(&mut self) {
        for slot in &mut self.slots {
            if slot.phase == Phase::Retiring && slot.flights.is_empty() {
                dismiss(slot);
            }
        }
    }

    /// A closing pool without waiting tasks needs no idle workers.
    pub(crate) fn let_go(&mut self) {
        if !self.closing || !self.pending.is_empty() || self.loading > 0 {
            return;
        }
        for slot in &mut self.slots {
            if slot.flights.is_empty() && slot.phase != Phase::Leaving {
                dismiss(slot);
            }
        }
    }

    /// A worker has ended. What it had sent before is heard first.
    pub fn bury(&mut self, death: Death) {
        let Some(index) = self.slots.iter().position(|slot| slot.token == death.token) else { return };
        self.clear_tray(index);
        let (running, _) = self.slots[index].link.running();
        let mut slot = self.slots.swap_remove(index);
        let death = Death { pid: if death.pid == 0 { slot.pid } else { death.pid }, ..death };
        for offset in slot.lent.drain() {
            self.arena.free(offset);
        }
        let expected = slot.phase == Phase::Leaving;
        let unready = slot.phase == Phase::Hired;
        while let Some(flight) = slot.flights.pop_back() {
            let mut flight = Flight { task: flight.task.left_to_worker(), ..flight };
            let begun = (flight.position..flight.end()).contains(&running);
            if !begun && flight.kill_at_ns == 0 {
                self.requeue(flight.task);
                continue;
            }
            // The first that has not ended is the one that ran.
            let first = if flight.task.count() > 1 { flight.task.split_front(1) } else { None };
            match first {
                None => self.lose(flight.task, &death),
                Some(first) => {
                    self.requeue(flight.task);
                    self.lose(first, &death);
                }
            }
        }
        if !expected {
            self.counts.died += 1;
        }
        if unready && !expected && self.broken.is_none() {
            self.start_failed(&format!("worker processes end before they are ready: {}", describe(&death)));
        }
        self.effects.push_back(Effect::Ended(death));
    }

    /// Settle what a batch has come to so far and has not sent: of a worker that is dead, or busy with a long task.
    ///
    /// The tray is read first: what a task said before its result was put there is in the ring by then.
    pub(crate) fn clear_tray(&mut self, index: usize) {
        let content = self.slots[index].link.tray();
        self.collect_from(index);
        let Some(content) = content else { return };
        let slot = &mut self.slots[index];
        let Some(flight) = slot.flights.front() else { return };
        let early = slot.early.filter(|(first, ..)| *first == content.first);
        let (taken, bytes) = early.map_or((0, 0), |(_, count, bytes)| (count, bytes));
        let fresh = content.count.saturating_sub(taken);
        let expected = content.first.checked_add(u64::from(taken)) == Some(flight.position);
        if !expected || !may_end(slot, ReplyKind::Items, flight.position, fresh) {
            return;
        }
        slot.early = Some((content.first, content.count, content.codes.len()));
        let codes = content.codes.get(bytes..).unwrap_or_default().to_vec();
        if let Some(task) = slot.pop_front(fresh) {
            self.conclude(task, Ended::Items(codes));
        }
    }

    /// The task that a dead worker ran: stopped as asked, run again, or lost.
    pub(crate) fn lose(&mut self, mut task: Task<T>, death: &Death) {
        if let Some(why) = task.stopping {
            self.settle(task, Ended::Stopped(why));
        } else if task.retries > 0 && self.broken.is_none() && !task.ticket.is_cancelled() {
            task.retries -= 1;
            self.counts.retried += 1;
            task.ticket.place(None);
            self.pending.push_front(task);
        } else {
            self.conclude(task, Ended::Died(death.clone()));
        }
    }
}

/// Take off a part what was taken from the tray before it was sent. False when nothing was.
fn forget_early(early: &mut Option<(u64, u32, usize)>, news: &mut News) -> bool {
    let Some((first, count, bytes)) = early.filter(|(first, ..)| *first == news.position) else {
        return false;
    };
    if u32::from(news.count) < count || bytes > news.cargo.body.len() {
        return false;
    }
    *early = None;
    news.position = first + u64::from(count);
    news.count -= u16::try_from(count).unwrap_or(news.count);
    news.cargo.body.drain(..bytes);
    true
}

/// Send a worker home; a full ring means kill, for it would never hear.
fn dismiss<T, L: Link>(slot: &mut crate::slot::Slot<T, L>) {
    if !slot.push(&[&RequestHead::control(RequestKind::Stop, 0).to_bytes()]) {
        slot.link.kill();
    }
    slot.phase = Phase::Leaving;
    slot.wake();
}

/// Say how a worker ended.
#[must_use]
pub fn describe(death: &Death) -> String {
    if let Some(number) = death.start_error {
        return format!("the system refused to start it: {}", std::io::Error::from_raw_os_error(number));
    }
    match (death.signal, death.exit_code) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// None for a record that no worker sends.
fn read(record: &[u8], storage: &Arc<Storage>) -> Option<News> {
    let reply = Reply::parse(record)?;
    if reply.head.buffers > 0 {
        let len = storage.file().len().ok()?;
        let lies_inside = |span: wire::Span| span.offset.checked_add(span.len).is_some_and(|end| end <= len);
        if !reply.table.spans().all(lies_inside) {
            return None; // whoever maps it would be killed for looking at it
        }
    }
    let mut loans: Vec<Loan> = reply.table.spans().map(|span| Loan::new(span, Arc::clone(storage))).collect();
    let body_loan = if reply.head.flags & BODY_IN_ARENA == 0 { None } else { Some(loans.pop()?) };
    Some(News {
        kind: reply.head.kind,
        recycle: reply.head.flags & RECYCLE != 0,
        count: reply.head.count,
        position: reply.head.position,
        number: reply.head.number,
        cargo: Cargo {
            coded: reply.head.kind == ReplyKind::Coded,
            body: reply.body.to_vec(),
            body_loan,
            buffers: loans,
        },
    })
}

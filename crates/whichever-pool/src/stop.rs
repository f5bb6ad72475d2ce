//! Taking tasks back and stopping them: theft between workers, cancellation, timeouts.

use crate::crew::{Crew, Effect};
use crate::slot::{Flight, Link, Phase, Slot};
use crate::task::{Ended, Ticket, Why};

/// Tasks that have waited this long, or for a task that runs as long, go to a worker that is idle.
const STEAL_AFTER_NS: u64 = 300_000;
/// Results that wait behind a task longer than this are fetched.
const PEEK_AFTER_NS: u64 = 1_000_000;
/// Waiting tasks that are searched for those that nobody wants any more: half a millisecond's work.
const SEARCHED_TASKS: usize = 8192;
/// From the exception in a task to the end of its worker.
pub const GRACE_NS: u64 = 300_000_000;

impl<T: Ticket, L: Link> Crew<T, L> {
    /// Do what is due: steal for idle workers, stop tasks that ran out of time. Returns when to look again.
    pub fn supervise(&mut self, now_ns: u64) -> Option<u64> {
        let peek = self.peek(now_ns);
        let steal = self.steal(now_ns);
        let stops = self.slots.iter_mut().filter_map(|slot| check_time(slot, now_ns)).min();
        let hire = self.ask_again(now_ns);
        [peek, steal, stops, hire].into_iter().flatten().min()
    }

    /// Look after workers that do not ring: a result that came soon after another waits for the next ring, which a long
    /// task may keep waiting; those of a batch wait in its tray. So once for each task that takes long, look.
    fn peek(&mut self, now_ns: u64) -> Option<u64> {
        let mut look_again = None;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let (running, since_ns) = slot.link.running();
            if slot.held == 0 || running != 0 && slot.peeked == running {
                continue;
            }
            let since_ns = if running == 0 { now_ns } else { since_ns };
            let due_ns = since_ns.saturating_add(PEEK_AFTER_NS);
            if now_ns < due_ns {
                look_again = Some(look_again.unwrap_or(u64::MAX).min(due_ns));
                continue;
            }
            slot.peeked = running;
            self.clear_tray(index);
        }
        look_again
    }

    /// Give an idle worker the later half of what waits behind a task that takes long.
    fn steal(&mut self, now_ns: u64) -> Option<u64> {
        let idle = self.slots.iter().any(|slot| slot.has_room(1));
        if !idle || !self.pending.is_empty() {
            return None;
        }
        let mut look_again = None;
        for index in 0..self.slots.len() {
            match self.slots[index].spare(now_ns) {
                Steal::From(position) => self.take_back(index, position),
                Steal::NotBefore(due_ns) => {
                    let due_ns = due_ns.max(now_ns + STEAL_AFTER_NS / 2);
                    look_again = Some(look_again.unwrap_or(u64::MAX).min(due_ns));
                }
                Steal::Nothing => {}
            }
        }
        look_again
    }

    /// Take back every task from `position` on that has not started.
    ///
    /// May be called again before the worker has answered: since it was given nothing meanwhile, all that it was told not
    /// to start lies behind what it still holds.
    fn take_back(&mut self, index: usize, position: u64) {
        let slot = &mut self.slots[index];
        let running = slot.link.revoke_from(position);
        slot.revoked_to = Some(slot.next_position - 1);
        // What ended before the revoke was seen must not be taken for something that has not begun.
        self.collect_from(index);
        let slot = &mut self.slots[index];
        // What may have begun stays, and so does what lies before.
        let from = position.max(running + 1);
        let mut given_up = Vec::new();
        while slot.flights.back().is_some_and(|flight| flight.end() > from) {
            let Some(mut flight) = slot.flights.pop_back() else { break };
            if flight.position < from {
                let kept = u32::try_from(from - flight.position).unwrap_or(u32::MAX);
                let front = flight.task.split_front(kept);
                let Some(front) = front else {
                    slot.flights.push_back(flight);
                    break;
                };
                slot.flights.push_back(Flight { task: front, ..flight });
            }
            slot.ungive(flight.task.count());
            slot.unlend(&flight.task);
            self.counts.moved += u64::from(flight.task.count());
            // Taken from the back and put to the front: the order stays.
            if let Some(why) = flight.task.stopping {
                given_up.push((flight.task, why));
            } else {
                flight.task.ticket.place(None);
                self.pending.push_front(flight.task);
            }
        }
        for (task, why) in given_up {
            self.settle(task, Ended::Stopped(why));
        }
    }

    /// Stop the task at this place: never start it, or interrupt it and then kill its worker.
    ///
    /// The ticket's own state says that it is cancelled; here the machinery follows.
    pub fn stop(&mut self, token: u64, position: u64, why: Why, now_ns: u64) {
        let Some(index) = self.slots.iter().position(|slot| slot.token == token) else { return };
        let slot = &mut self.slots[index];
        let Some(flight) = slot.flights.iter_mut().find(|flight| flight.position == position) else { return };
        flight.task.stopping = Some(why);
        let (running, _) = slot.link.running();
        if running == position {
            begin_stop(flight, &slot.link, now_ns);
        } else {
            self.take_back(index, position);
            let slot = &mut self.slots[index];
            let flight = slot.flights.iter_mut().find(|flight| flight.position == position);
            if let Some(flight) = flight {
                begin_stop(flight, &slot.link, now_ns); // it started in between
            }
        }
    }

    /// Stop everything: nothing that waits will start, what runs is interrupted and killed after `grace_ns`.
    pub fn stop_all(&mut self, now_ns: u64, grace_ns: u64) {
        for task in std::mem::take(&mut self.pending) {
            self.settle(task, Ended::Dropped);
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let Some(first) = slot.flights.front().map(|flight| flight.position) else { continue };
            for flight in &mut slot.flights {
                flight.task.stopping = Some(Why::Cancelled);
            }
            self.take_back(index, first);
            let slot = &mut self.slots[index];
            if let Some(flight) = slot.flights.front_mut() {
                begin_stop(flight, &slot.link, now_ns);
                flight.kill_at_ns = now_ns + grace_ns;
            }
        }
    }

    /// Drop what has not started; what runs goes on, and so does what workers on their way are to begin with.
    pub fn drop_pending(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let (running, _) = slot.link.running();
            let Some(position) = slot.first_after(running, |_| true) else { continue };
            self.take_back(index, position);
        }
        let coming = self.hiring + self.slots.iter().filter(|slot| slot.phase == Phase::Hired).count();
        for task in self.pending.split_off(coming.min(self.pending.len())) {
            self.settle(task, Ended::Dropped);
        }
    }

    /// Drop what nobody wants any more and has not started. What waits far in front of the last comers is left to be
    /// dropped when its turn comes: a million tasks of others must not be searched for the few of one call.
    pub fn drop_cancelled(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let (running, _) = slot.link.running();
            if let Some(position) = slot.first_after(running, |task| task.ticket.is_cancelled()) {
                self.take_back(index, position);
            }
        }
        let near = self.pending.split_off(self.pending.len().saturating_sub(SEARCHED_TASKS));
        let (unwanted, kept): (Vec<_>, Vec<_>) =
            near.into_iter().partition(|task| task.ticket.is_cancelled());
        self.pending.extend(kept);
        for task in unwanted {
            self.settle(task, Ended::Dropped);
        }
    }

    /// End every worker now.
    pub fn kill_all(&mut self) {
        for slot in &mut self.slots {
            if slot.pid == 0 {
                self.effects.push_back(Effect::HangUp(slot.token));
            } else {
                slot.link.kill();
            }
            slot.phase = Phase::Leaving;
        }
    }
}

/// What an idle worker may take from another.
enum Steal {
    /// All from this position on.
    From(u64),
    /// Nothing before this moment.
    NotBefore(u64),
    Nothing,
}

impl<T, L: Link> Slot<T, L> {
    /// The later half of what waits here, once it has waited long while somebody was idle, or waits for a long task.
    fn spare(&mut self, now_ns: u64) -> Steal {
        let (Some(front), Some(back)) = (self.flights.front(), self.flights.back()) else {
            return Steal::Nothing;
        };
        let (first, last) = (front.position, back.end() - 1);
        if self.held < 2 {
            return Steal::Nothing;
        }
        if self.waits.0 != last {
            self.waits = (last, now_ns);
        }
        let (running, since_ns) = self.link.running();
        let long_ns = if running == 0 { u64::MAX } else { since_ns.saturating_add(STEAL_AFTER_NS) };
        // Of a batch several may be said to run: all of them wait for the one that does.
        let is_lease = first < running;
        if running >= last && (!is_lease || self.revoked_to.is_some()) {
            return Steal::Nothing;
        }
        if is_lease && now_ns >= long_ns {
            return Steal::From(first + 1);
        }
        let waits_ns = self.waits.1.saturating_add(STEAL_AFTER_NS);
        let due_ns = if running >= last { long_ns } else { long_ns.min(waits_ns) };
        if now_ns < due_ns {
            return Steal::NotBefore(due_ns);
        }
        let begun = running.max(first);
        Steal::From(last + 1 - (last - begun).div_ceil(2))
    }
}

/// Raise an exception in a running task; the kill follows if that does not end it.
fn begin_stop<T, L: Link>(flight: &mut Flight<T>, link: &L, now_ns: u64) {
    let (running, _) = link.running();
    let runs = (flight.position..flight.end()).contains(&running);
    link.interrupt(if runs { running } else { flight.position });
    flight.kill_at_ns = now_ns.saturating_add(GRACE_NS).max(1);
}

/// Stop this worker's running task if its time is over; returns when something is due here.
fn check_time<T, L: Link>(slot: &mut Slot<T, L>, now_ns: u64) -> Option<u64> {
    let front = slot.flights.front_mut()?;
    if front.kill_at_ns != 0 {
        if now_ns < front.kill_at_ns {
            return Some(front.kill_at_ns);
        }
        slot.phase = Phase::Leaving;
        slot.link.kill();
        return None;
    }
    if front.task.timeout_ns == 0 {
        return None;
    }
    let (running, since_ns) = slot.link.running();
    let due_ns = since_ns.saturating_add(front.task.timeout_ns);
    if running != front.position {
        return Some(now_ns.saturating_add(front.task.timeout_ns)); // it starts later than now
    }
    if now_ns < due_ns {
        return Some(due_ns);
    }
    front.task.stopping = Some(Why::TimedOut);
    begin_stop(front, &slot.link, now_ns);
    Some(front.kill_at_ns)
}

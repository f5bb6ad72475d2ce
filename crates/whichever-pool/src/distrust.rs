//! Workers that say what cannot be: a worker gone mad, or its memory.
//!
//! Nothing such a worker has said is believed any more, so that all it held counts as lost with it: what of that ran
//! is not known, and nothing may run twice that may not. It is killed, and replaced like one that died.

use crate::collect::describe;
use crate::crew::{Crew, Effect};
use crate::slot::{Link, Phase, Slot};
use crate::task::{Death, Ticket};
use crate::wire::ReplyKind;

const SIGKILL: i32 = 9;

impl<T: Ticket, L: Link> Crew<T, L> {
    /// End a worker that is not to be trusted.
    pub(crate) fn condemn(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if std::mem::replace(&mut slot.mad, true) {
            return;
        }
        if slot.pid == 0 {
            self.effects.push_back(Effect::HangUp(slot.token));
        } else {
            slot.link.kill();
        }
        let phase = std::mem::replace(&mut slot.phase, Phase::Leaving);
        let death = Death { pid: slot.pid, token: slot.token, signal: Some(SIGKILL), ..Death::default() };
        slot.held = 0;
        for flight in std::mem::take(&mut slot.flights).into_iter().rev() {
            self.lose(flight.task.left_to_worker(), &death);
        }
        if phase != Phase::Leaving {
            self.counts.died += 1;
        }
        if phase == Phase::Hired && self.broken.is_none() {
            self.start_failed(&format!("worker processes send what makes no sense: {}", describe(&death)));
        }
    }
}

/// Whether a worker may say that these `count` tasks from `position` on have ended, in this way.
pub(crate) fn may_end<T, L: Link>(slot: &Slot<T, L>, kind: ReplyKind, position: u64, count: u32) -> bool {
    let Some(flight) = slot.flights.front() else { return false };
    let batch = flight.task.batch.is_some();
    flight.position == position
        && count > 0
        && count <= flight.task.count()
        && (batch || kind != ReplyKind::Items)
}

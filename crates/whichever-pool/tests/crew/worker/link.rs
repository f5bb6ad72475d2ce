//! The caller's end of a model worker.

use std::sync::{Arc, Mutex, MutexGuard};

use whichever_pool::Link;
use whichever_pool::wire::RECORD_BYTES;
use whichever_ring::TrayContent;

use super::Worker;

/// The caller's end of it.
#[derive(Clone)]
pub(crate) struct ModelLink(pub(crate) Arc<Mutex<Worker>>);

impl ModelLink {
    pub(crate) fn worker(&self) -> MutexGuard<'_, Worker> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn stirred(&self) -> MutexGuard<'_, Worker> {
        let mut worker = self.worker();
        worker.calls += 1;
        let steps = if worker.temper.eager > 0 { worker.temper.eager } else { 1 };
        for _ in 0..worker.dice.roll(steps) {
            worker.step();
        }
        worker
    }
}

impl Link for ModelLink {
    fn try_push(&mut self, parts: &[&[u8]]) -> bool {
        let mut worker = self.stirred();
        let has_room = worker.requests.len() < worker.temper.ring;
        let record = parts.iter().map(|part| part.len()).sum::<usize>();
        assert!(record <= RECORD_BYTES, "no ring takes {record} bytes");
        if has_room {
            worker.requests.push_back(parts.concat());
        }
        has_room
    }

    fn wake(&self) {}

    fn pop(&mut self, read: &mut dyn FnMut(&[u8])) -> bool {
        let mut worker = self.stirred();
        let record = worker.replies.pop_front();
        if record.is_some() {
            let arena = Arc::clone(&worker.arena);
            worker.neighbours.iter_mut().for_each(|ranges| ranges.push(arena.allocate(33_000).unwrap()));
        }
        drop(worker);
        record.inspect(|record| read(record)).is_some()
    }

    fn has_made_room(&mut self) -> bool {
        false
    }

    fn is_corrupt(&self) -> bool {
        self.worker().is_corrupt
    }

    fn has_record(&self) -> bool {
        !self.worker().replies.is_empty()
    }

    fn running(&self) -> (u64, u64) {
        self.stirred().running
    }

    fn revoke_from(&self, position: u64) -> u64 {
        let mut worker = self.stirred();
        worker.first_revoked = position;
        worker.running.0
    }

    fn allow_all(&self) {
        self.stirred().first_revoked = u64::MAX;
    }

    fn interrupt(&self, position: u64) {
        self.stirred().interrupt = position;
    }

    fn kill(&self) {
        let mut worker = self.worker();
        assert!(worker.has_met, "its process id is not known yet");
        worker.die(Some(9));
    }

    fn meet(&mut self, _pid: u32, _tray: u64) {
        self.worker().has_met = true;
    }

    fn tray(&self) -> Option<TrayContent> {
        let worker = self.stirred();
        (worker.has_met && worker.tray.count > 0).then(|| worker.tray.clone())
    }
}

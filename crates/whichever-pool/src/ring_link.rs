//! A link made of shared memory and a process.

use std::sync::Arc;

use whichever_ring::{CallerEnd, DEFAULT_CAPACITY, TrayContent, read_tray};
use whichever_sys::Pidfd;

use crate::slot::Link;
use crate::task::Storage;
use crate::wire::RECORD_BYTES;

const _: () =
    assert!(RECORD_BYTES <= DEFAULT_CAPACITY / 4, "a ring takes records of a quarter of its length");

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;

/// The caller's end of a worker process.
pub struct RingLink {
    end: CallerEnd,
    process: Option<Pidfd>,
    storage: Arc<Storage>,
    tray: Option<u64>,
}

impl RingLink {
    /// Speak to whoever opens the other end; `storage` is that one's arena.
    #[must_use]
    pub fn new(end: CallerEnd, storage: Arc<Storage>) -> Self {
        Self { end, process: None, storage, tray: None }
    }

    fn signal(&self, signal: i32) {
        if let Some(process) = &self.process {
            // A process that is gone needs no signal; its end is reported by others.
            let _gone = process.signal(signal);
        }
    }
}

impl Link for RingLink {
    fn try_push(&mut self, parts: &[&[u8]]) -> bool {
        self.end.requests.try_push(parts).is_ok()
    }

    fn wake(&self) {
        self.end.desk.bell().ring();
    }

    fn pop(&mut self, read: &mut dyn FnMut(&[u8])) -> bool {
        self.end.results.pop(|record| read(record)).is_some()
    }

    fn has_made_room(&mut self) -> bool {
        self.end.results.has_made_room()
    }

    fn is_corrupt(&self) -> bool {
        self.end.results.is_corrupt()
    }

    fn has_record(&self) -> bool {
        !self.end.results.is_empty()
    }

    fn running(&self) -> (u64, u64) {
        self.end.desk.running()
    }

    fn revoke_from(&self, position: u64) -> u64 {
        self.end.desk.revoke_from(position)
    }

    fn allow_all(&self) {
        self.end.desk.allow_all();
    }

    fn interrupt(&self, position: u64) {
        self.end.desk.ask_interrupt(position);
        self.signal(SIGINT);
    }

    fn kill(&self) {
        self.signal(SIGKILL);
    }

    fn meet(&mut self, pid: u32, tray: u64) {
        self.tray = Some(tray);
        // A descriptor of a process that has ended since is refused: then there is nothing to signal.
        self.process = Pidfd::open(pid).ok();
    }

    fn tray(&self) -> Option<TrayContent> {
        read_tray(self.storage.file(), self.tray?)
    }
}

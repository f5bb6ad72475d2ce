//! The state of one thread at one instant, from the GIL words and `/proc`.
//!
//! The instant is that of the first read of the GIL words. They are read again after the thread's call: where
//! the thread lost the GIL in between, it must have run until then, so a call that blocks now says nothing of
//! the instant. Resolving such races towards the first read, instead of dropping them, keeps a thread that
//! releases the GIL often from being seen only in its quiet stretches.
//!
//! A waiter can only leave by taking the GIL, and taking it from another thread moves the switch number: a
//! thread last seen waiting, runnable now, with the number unmoved, waits still and queues for a core.

use std::fs::File;
use std::io;

use whichever_model::BlockedKind;

use crate::calls::{CallClass, classify_call};
use crate::descriptors::Descriptors;
use crate::interpreter::{GilWords, Interpreter};
use crate::memory::Memory;
use crate::procfs::{CallState, parse_call};

/// The longest line: a number, eight words of up to 18 characters, and the spaces between.
const LINE_BYTES: usize = 256;

/// What a thread does at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// Holds the GIL; `on_core` unless it was runnable without a core.
    Held {
        /// Whether a core ran it.
        on_core: bool,
    },
    /// Holds the GIL while off-CPU in a call of this kind.
    HeldBlocked(BlockedKind),
    /// Runnable without the GIL; `on_core` unless it queues.
    Free {
        /// Whether a core ran it.
        on_core: bool,
    },
    /// Waits for the GIL; `woken` when it already queues for a core to take it.
    Waiting {
        /// Whether it is runnable.
        woken: bool,
    },
    /// Off-CPU in a call of this kind, without the GIL.
    Blocked(BlockedKind),
}

/// One look at a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// The state at the instant of the first read.
    pub(crate) state: ThreadState,
    /// Whether the thread lost or took the GIL while being looked at.
    pub(crate) raced: bool,
    /// The call it was in.
    pub(crate) call: CallState,
}

/// Looks at one thread of this process again and again.
#[derive(Debug)]
pub struct ThreadReader {
    native_id: u32,
    /// Address of its Python thread state; 0 for a thread that Python does not know.
    state: u64,
    call: File,
    /// The switch number when it was last seen waiting, unless it was seen otherwise since.
    waiting_since: Option<u64>,
}

impl ThreadReader {
    /// Open the thread's file. `state` is the address of its thread state, 0 when unknown.
    ///
    /// # Errors
    /// The thread is gone, or `/proc` does not tell.
    pub fn open(native_id: u32, state: u64) -> io::Result<Self> {
        let call = File::open(format!("/proc/self/task/{native_id}/syscall"))?;
        let reader = Self { native_id, state, call, waiting_since: None };
        reader.call_state().ok_or(io::ErrorKind::InvalidData)?;
        Ok(reader)
    }

    /// The thread's kernel id.
    #[must_use]
    pub fn native_id(&self) -> u32 {
        self.native_id
    }

    /// Look at the thread now; `None` when it is gone.
    pub(crate) fn look(
        &mut self,
        interpreter: Option<&Interpreter>,
        descriptors: &mut Descriptors,
        now_ns: u64,
    ) -> Option<Look> {
        let before = gil_words(interpreter);
        let call = self.call_state()?;
        let after = gil_words(interpreter);
        let (held, holds) = (before.held_by(self.state), after.held_by(self.state));
        let state = match (held, call) {
            (true, CallState::Running) => ThreadState::Held { on_core: self.is_on_core() },
            (true, _) if !holds => ThreadState::Held { on_core: true },
            (false, CallState::Running) if self.waiting_since == Some(before.switches) => {
                ThreadState::Waiting { woken: true }
            }
            (false, CallState::Running) => ThreadState::Free { on_core: self.is_on_core() },
            (true, call) => ThreadState::HeldBlocked(blocked_kind(call, interpreter, descriptors, now_ns)),
            (false, call) if is_gil_wait(call, interpreter) => ThreadState::Waiting { woken: false },
            (false, call) => ThreadState::Blocked(blocked_kind(call, interpreter, descriptors, now_ns)),
        };
        self.waiting_since = match state {
            ThreadState::Waiting { woken: false } => Some(after.switches),
            ThreadState::Waiting { woken: true } => self.waiting_since,
            _ => None,
        };
        Some(Look { state, raced: held != holds, call })
    }

    fn call_state(&self) -> Option<CallState> {
        let mut line = [0; LINE_BYTES];
        let count = read_start(&self.call, &mut line)?;
        parse_call(line.get(..count)?)
    }

    /// A runnable thread's CPU clock moves between two reads, or it has no core.
    fn is_on_core(&self) -> bool {
        let clock = || whichever_sys::thread_cpu_ns_of(self.native_id);
        match (clock(), clock()) {
            (Some(first), Some(second)) => second > first,
            _ => true,
        }
    }
}

/// Read a small file of `/proc` from its start.
#[cfg(unix)]
pub(crate) fn read_start(file: &File, buffer: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, 0).ok()
}

/// Read a small file of `/proc` from its start.
#[cfg(not(unix))]
pub(crate) fn read_start(_file: &File, _buffer: &mut [u8]) -> Option<usize> {
    None
}

fn gil_words(interpreter: Option<&Interpreter>) -> GilWords {
    interpreter.and_then(|interpreter| interpreter.gil().ok()).unwrap_or_default()
}

fn is_gil_wait(call: CallState, interpreter: Option<&Interpreter>) -> bool {
    let (CallState::InCall { number, arguments }, Some(interpreter)) = (call, interpreter) else {
        return false;
    };
    classify_call(number) == CallClass::Futex && interpreter.is_gil_futex(arguments[0])
}

/// What an off-CPU thread waits for.
pub(crate) fn blocked_kind(
    call: CallState,
    interpreter: Option<&Interpreter>,
    descriptors: &mut Descriptors,
    now_ns: u64,
) -> BlockedKind {
    let CallState::InCall { number, arguments } = call else { return BlockedKind::File };
    match classify_call(number) {
        CallClass::Kind(kind) => kind,
        CallClass::Descriptor(index) => {
            arguments.get(index).map_or(BlockedKind::Unknown, |number| descriptors.kind(*number, now_ns))
        }
        CallClass::Futex => BlockedKind::Lock,
        CallClass::Poll => match (arguments[1], interpreter) {
            (0, _) => BlockedKind::Sleep,
            // A socket with a timeout polls itself alone: that is waiting for the network, not for any of several.
            (1, Some(interpreter)) => polled_descriptor(interpreter, arguments[0])
                .map_or(BlockedKind::Poll, |number| descriptors.kind(number, now_ns)),
            _ => BlockedKind::Poll,
        },
        CallClass::Select if arguments[1..4] == [0, 0, 0] => BlockedKind::Sleep,
        CallClass::Select => BlockedKind::Poll,
        CallClass::Unnamed => BlockedKind::Unknown,
    }
}

/// The descriptor in the `pollfd` at `address`.
fn polled_descriptor(interpreter: &Interpreter, address: u64) -> Option<u64> {
    let mut bytes = [0; 4];
    interpreter.memory().read(address, &mut bytes).ok()?;
    u64::try_from(i32::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    /// Look at a thread that runs `work` until `wanted` is seen, for 5 seconds at most.
    fn is_seen(wanted: ThreadState, work: impl FnOnce(mpsc::Receiver<()>) + Send + 'static) -> bool {
        let (tell, id) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(whichever_sys::thread_id()).unwrap();
            work(stopped);
        });
        let mut reader = ThreadReader::open(id.recv().unwrap(), 0).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut descriptors = Descriptors::default();
        let mut seen = false;
        while !seen && Instant::now() < deadline {
            seen = reader.look(None, &mut descriptors, 1).is_some_and(|look| look.state == wanted);
        }
        drop(stop);
        thread.join().unwrap();
        seen
    }

    #[test]
    fn a_waiting_thread_is_blocked_on_a_lock() {
        assert!(is_seen(ThreadState::Blocked(BlockedKind::Lock), |stopped| {
            let _ = stopped.recv();
        }));
    }

    #[test]
    fn a_sleeping_thread_is_blocked_on_sleep() {
        assert!(is_seen(ThreadState::Blocked(BlockedKind::Sleep), |stopped| {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }));
    }

    #[test]
    fn a_spinning_thread_is_seen_on_a_core() {
        assert!(is_seen(ThreadState::Free { on_core: true }, |stopped| {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                std::hint::spin_loop();
            }
        }));
    }

    #[test]
    fn a_thread_that_is_gone_is_not_opened() {
        assert!(ThreadReader::open(u32::MAX, 0).is_err());
    }

    #[test]
    fn a_poll_or_select_of_nothing_is_a_sleep() {
        let mut descriptors = Descriptors::default();
        let mut kind = |number, arguments| {
            blocked_kind(CallState::InCall { number, arguments }, None, &mut descriptors, 1)
        };
        let (poll, select) = if cfg!(target_arch = "aarch64") { (73, 72) } else { (271, 270) };
        assert_eq!(kind(poll, [0; 6]), BlockedKind::Sleep);
        assert_eq!(kind(poll, [1, 3, 0, 0, 0, 0]), BlockedKind::Poll);
        assert_eq!(kind(select, [0; 6]), BlockedKind::Sleep);
        assert_eq!(kind(select, [4, 1, 0, 0, 0, 0]), BlockedKind::Poll);
    }
}

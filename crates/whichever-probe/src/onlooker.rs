//! Looks at one thread from another, now and then: what keeps it, and in which call.

use std::io;

use whichever_model::BlockedKind;

use crate::calls::call_name;
use crate::descriptors::Descriptors;
use crate::interpreter::Interpreter;
use crate::procfs::CallState;
use crate::thread::{ThreadReader, ThreadState};

/// What a thread did at an instant, as a program's owner would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// Held the GIL and computed.
    Held,
    /// Ran without the GIL, or on an interpreter that has none.
    Released,
    /// Wanted the GIL, which others held.
    Waiting,
    /// Could run, while all cores were taken. One look does not tell: who looks again may find out.
    Queued,
    /// Was off-CPU in a call.
    Blocked {
        /// What the call waited for.
        kind: BlockedKind,
        /// The call's name, where it is one of the common ones.
        call: Option<&'static str>,
    },
}

impl Doing {
    /// The state's name, as ledgers have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Blocked { .. } => "blocked",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Onlooker {
    reader: ThreadReader,
    descriptors: Descriptors,
}

impl Onlooker {
    /// Look at a thread of this process. `state` is the address of its Python thread state, 0 when unknown.
    ///
    /// # Errors
    /// The thread is gone, or `/proc` does not tell.
    pub fn open(native_id: u32, state: u64) -> io::Result<Self> {
        Ok(Self { reader: ThreadReader::open(native_id, state)?, descriptors: Descriptors::default() })
    }

    /// Look now. None when the thread is gone.
    pub fn look(&mut self, interpreter: Option<&Interpreter>, now_ns: u64) -> Option<Doing> {
        let look = self.reader.look(interpreter, &mut self.descriptors, now_ns)?;
        Some(match look.state {
            ThreadState::Held { .. } => Doing::Held,
            ThreadState::Free { .. } => Doing::Released,
            ThreadState::Waiting { .. } => Doing::Waiting,
            ThreadState::HeldBlocked(kind) | ThreadState::Blocked(kind) => {
                Doing::Blocked { kind, call: name_of(look.call) }
            }
        })
    }
}

fn name_of(call: CallState) -> Option<&'static str> {
    match call {
        CallState::InCall { number, .. } => call_name(number),
        _ => None,
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_thread_that_receives_is_seen_in_its_call() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (tell, id) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(whichever_sys::thread_id()).unwrap();
            let _ = here.read(&mut [0; 8]);
        });
        let mut onlooker = Onlooker::open(id.recv().unwrap(), 0).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let is_seen = |doing| {
            matches!(
                doing,
                Some(Doing::Blocked { kind: BlockedKind::Network, call: Some("recvfrom" | "read") })
            )
        };
        let mut seen = false;
        while !seen && Instant::now() < deadline {
            seen = is_seen(onlooker.look(None, 1));
        }
        drop(there);
        thread.join().unwrap();
        assert!(seen);
    }
}

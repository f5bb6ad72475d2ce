//! How threads of one process hand work to each other and wait for it, as pools of threads need it.
//!
//! A **phase** is the state of a future and the place where its waiters sleep. An **event** is a flag to sleep on. A **run
//! queue** holds tasks that wait for a worker; a **roster** says which worker is to be called for them. No wake is
//! lost: loom explores each pair of steps (`make test-loom`). Knows no task, no Python and no GIL.
#![forbid(unsafe_code)]

mod event;
mod phase;
mod queue;
mod roster;
mod spin;
mod sync;

pub use event::Event;
pub use phase::{Marks, Phase, State, Waited};
pub use queue::RunQueue;
pub use roster::{Call, Next, Roster, Seat};
pub use spin::Spin;

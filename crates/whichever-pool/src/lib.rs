//! The process pool without Python: tasks, workers, and who waits for whom.
//!
//! `crew` decides, with the rooms that are parts of it (pure but for its links); `hub` lets threads share a crew, `wire` is
//! what crosses the rings. What needs Python or a new process is left to the holder as an `Effect`.

#![forbid(unsafe_code)]

mod collect;
mod crew;
mod distrust;
mod hand_out;
mod hire;
mod hub;
mod ring_link;
mod slot;
mod statistics;
mod stop;
mod task;
mod warden;
pub mod wire;

pub use collect::describe;
pub use crew::{Crew, Effect, Limits, Word, Work};
pub use hub::{Hub, Waited};
pub use ring_link::RingLink;
pub use slot::Link;
pub use statistics::Counts;
pub use stop::GRACE_NS;
pub use task::{Batch, Broken, Buffer, Cargo, Death, Ended, Loan, Parcel, Storage, Task, Ticket, Why};
pub use warden::{Mourner, Warden};

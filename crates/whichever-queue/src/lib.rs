//! A queue inside one process: bounded, with back-pressure, for threads that sleep and event loops that are called.
//!
//! Knows no Python: items are of any type, and so are the **bells** by which those hear that cannot sleep. Guarantees:
//! no wake-up is lost (`line.rs` has the argument), nobody is woken while another woken one is on its way to the same
//! thing, and no code of an item or a bell runs under the lock. No unsafe code.
#![forbid(unsafe_code)]

mod line;
mod parker;
mod queue;
mod sync;

pub use line::{Wakes, Watch};
pub use queue::{GetError, Limit, Order, Phase, PutError, Queue, Seat, Slept, State, Tally, Want};

//! The parts of an event loop: which descriptors are ready, which timers are due, what other threads hand in, and what came
//! of it in figures.
//!
//! Generic over the callback, and without Python: the seam keeps these parts, runs what they give out, and never holds one
//! of them while a callback runs. Time is an argument.
#![forbid(unsafe_code)]

mod figures;
mod inbox;
#[cfg(not(loom))]
mod poller;
mod sync;
mod timers;
#[cfg(not(loom))]
mod watches;

pub use figures::{Figures, Late, Totals};
pub use inbox::{Doorbell, Inbox};
#[cfg(not(loom))]
pub use poller::{Glance, Poller};
pub use timers::{Timers, nanoseconds};
#[cfg(not(loom))]
pub use watches::{Side, Watches};

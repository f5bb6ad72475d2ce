//! What the auto pool needs of native code: a thread that sees when the program waits, and a plain loop that can be cut.

mod loops;
mod queued;
mod scout;

pub(crate) use loops::cut_short;
pub(crate) use scout::Scout;

//! The arithmetic of whichever: from a ledger and a machine's costs to forecasts and a verdict.
//!
//! Pure: no clock, no I/O, no globals, no unsafe. Time is an argument, and everything that crosses into this
//! crate or out of it is a value that serialises (`serde`), so that a question asked once can be asked again.

#![forbid(unsafe_code)]

mod ledger;
mod tally;

pub use ledger::{BlockedKind, Ledger, Parts};
pub use tally::{Bursts, Evidence, Samples, Sight, Totals, tally};

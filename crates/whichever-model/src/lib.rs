//! The arithmetic of whichever: from a ledger and a machine's costs to forecasts and a verdict.
//!
//! Pure: no clock, no I/O, no globals, no unsafe. Time is an argument, and everything that crosses into this
//! crate or out of it is a value that serialises (`serde`), so that a question asked once can be asked again.

#![forbid(unsafe_code)]

mod advice;
mod choose;
mod contention;
mod correct;
mod engine;
mod forecast;
mod governor;
mod ledger;
mod phrase;
mod pilot;
mod question;
mod reasons;
mod schedule;
mod switching;
mod tally;
mod task;
mod why;

pub use choose::{CLOSE, TIE, decide};
pub use engine::{Costs, Engine, EngineCost};
pub use governor::{Governor, Reading};
pub use ledger::{BlockedKind, Ledger, Parts};
pub use pilot::{Pilot, Window};
pub use question::{Answer, Contender, Forecast, Limit, Measurement, Payload, Question, Trial};
pub use tally::{Bursts, Evidence, Samples, Sight, Totals, tally};

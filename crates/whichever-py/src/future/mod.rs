//! The one future of all pools: its state, its outcome, and how threads with Python around wait for it.

mod cell;
mod event;
mod park;
mod promise;

pub(crate) use cell::FutureCell;
pub(crate) use event::DrainingEvent;
pub(crate) use park::{Limit, is_main_thread, park};
pub(crate) use promise::{Home, Outcome, Promise};

//! The thread pool's seam: a pool and its workers as Python classes around `whichever-sync`.

mod core;
mod crew;
mod crowd;
mod deadlines;
mod helm;
mod inner;
mod job;
mod map;
mod patience;
mod run;
mod station;
mod turn;
mod worker;

pub(crate) use core::{ThreadPoolCore, refuse_tasks, refuses_tasks};
pub(crate) use crew::Crew;
pub(crate) use deadlines::Timekeeper;
pub(crate) use map::ThreadMap;
pub(crate) use worker::ThreadWorker;

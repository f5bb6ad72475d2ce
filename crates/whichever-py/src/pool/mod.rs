//! The process pool's seam: futures, iterators and workers as Python classes around `whichever-pool`.

pub(crate) mod codec;
mod core;
mod future;
mod map;
pub(crate) mod memory;
mod process;
mod promise;
mod share;
mod shared;
mod wait;
mod worker;

pub(crate) use core::{PoolCore, share_buffer};
pub(crate) use future::{DrainingEvent, FutureCell};
pub(crate) use map::MapIterator;
pub(crate) use memory::Slab;
pub(crate) use process::forks;
pub(crate) use process::{
    adopt_template, after_fork_in_child, belongs_to_template, forget_worker, has_ended, new_token, watch_pid,
};
pub(crate) use worker::WorkerCore;

//! The process pool's seam: pools, iterators and workers as Python classes around `whichever-pool`.

mod block;
pub(crate) mod codec;
mod core;
mod descriptor;
mod function;
mod map;
pub(crate) mod memory;
mod process;
mod rescued;
mod share;
mod shared;
mod wait;
mod worker;

pub(crate) use core::{PoolCore, share_buffer};
pub(crate) use descriptor::Descriptor;
pub(crate) use map::{MapIterator, UNREAD};
pub(crate) use memory::Slab;
pub(crate) use process::{
    adopt_template, after_fork_in_child, belongs_to_template, forget_worker, forks, has_ended, new_token,
    watch_pid,
};
pub(crate) use shared::Shared;
pub(crate) use wait::{Until, wait_for};
pub(crate) use worker::WorkerCore;

//! The event loop's seam: Python's callbacks on the reactor's queue, timers and descriptors.
//!
//! `LoopCore` is what of an asyncio loop runs often: handles, turns, timers, descriptors. All else of it is the standard
//! library's, by inheritance (`whichever/loop/_event_loop.py`). No Python code runs while one of the loop's parts is held.

mod address;
mod bare_socket;
mod brief;
mod call;
mod core;
mod datagram;
mod errors;
mod flow;
mod handle;
mod pulse;
mod reader;
mod receive;
mod scene;
mod schedule;
mod snapshot;
mod socks;
mod statistics;
mod stream;
mod threadsafe;
mod turn;
mod turn_on_core;
mod watchdog;
mod watching;

pub(crate) use bare_socket::BareSocket;
pub(crate) use core::LoopCore;
pub(crate) use datagram::DatagramCore;
pub(crate) use handle::{Handle, TimerHandle};
pub(crate) use reader::{await_data, take};
pub(crate) use schedule::add_methods;
pub(crate) use stream::StreamCore;

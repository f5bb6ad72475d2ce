//! The atomics and the channel: the machine's, or loom's, which tries every order.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
    mpsc::{Receiver, Sender, channel},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
    mpsc::{Receiver, Sender, channel},
};

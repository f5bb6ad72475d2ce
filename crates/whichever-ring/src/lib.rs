//! Queues, words and ranges in memory that a caller and its workers share.
//!
//! A **link** joins one caller and one worker: a ring of records each way, a desk of words both read, and the worker's
//! bell. A **page** carries the bell of a whole pool. An **arena** holds what is too large for a ring. A **depot** is a
//! queue of records that any number of processes put into and take from. PROTOCOL.md says
//! what each step writes, why no wake is lost, and what a process killed at any step leaves behind.
//!
//! Knows bytes only: no task, no Python. Unix only; off Linux making a link, page or arena answers `Unsupported`.
#![cfg(unix)]

#[cfg(not(loom))]
mod arena;
mod bell;
mod call;
#[cfg(not(loom))]
mod depot;
mod desk;
mod link;
mod memory;
mod page;
#[cfg(not(loom))]
mod ranges;
mod ring;
mod sync;
#[cfg(not(loom))]
mod tray;

#[cfg(not(loom))]
pub use arena::{AllocateError, Arena, ArenaStatistics, Range};
pub use bell::{Bell, Wait};
pub use call::Call;
#[cfg(not(loom))]
pub use depot::{Address, Depot, DepotError, DepotState, DepotWant, open_address};
pub use desk::{Begin, Desk};
#[cfg(loom)]
pub use link::model_link;
pub use link::{CallerEnd, WorkerEnd};
#[cfg(not(loom))]
pub use link::{DEFAULT_CAPACITY, OpenError, create_link, open_link};
pub use page::Page;
#[cfg(loom)]
pub use page::model_page;
#[cfg(not(loom))]
pub use page::{create_page, open_page};
pub use ring::{Consumer, Producer, PushError};
#[cfg(not(loom))]
pub use tray::{Tray, TrayContent, read_tray};
pub use whichever_sync::Spin;

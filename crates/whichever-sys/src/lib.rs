//! Operating system calls as safe functions: the only room that knows libc.
//!
//! One mechanism a file. On Linux everything works; elsewhere the clocks do, and the rest answers with
//! `io::ErrorKind::Unsupported`, so that the rooms above compile everywhere and can say what is missing.

mod clock;
mod cores;
mod memory;
mod scheduling;
mod symbols;
mod usage;

pub use clock::{monotonic_ns, process_cpu_ns, sleep_until, thread_cpu_ns, thread_cpu_ns_of};
pub use cores::{UsableCores, usable_cores};
pub use memory::read_memory;
pub use scheduling::{Cores, Priority, SignalsBlocked, raise_priority, thread_id, tighten_timers};
pub use symbols::{StaticWords, find_symbol};
pub use usage::{Usage, children_cpu_ns, thread_usage};

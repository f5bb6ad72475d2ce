//! Operating system calls as safe functions: the only room that knows libc.
//!
//! One mechanism a file. On Linux everything works; elsewhere the clocks do, and the rest answers with
//! `io::ErrorKind::Unsupported`, so that the rooms above compile everywhere and can say what is missing.
//! What speaks of descriptors exists on Unix only.

#[cfg(target_os = "linux")]
mod address;
mod cgroup;
mod clock;
mod condition;
#[cfg(target_os = "linux")]
mod connections;
mod cores;
#[cfg(target_os = "linux")]
mod datagrams;
#[cfg(unix)]
mod epoll;
#[cfg(unix)]
mod eventfd;
mod futex;
mod load;
#[cfg(unix)]
mod mapping;
mod memory;
mod pages;
#[cfg(unix)]
mod pidfd;
#[cfg(unix)]
mod readiness;
mod robust;
mod scheduling;
#[cfg(unix)]
mod shared;
#[cfg(target_os = "linux")]
mod stream;
mod symbols;
mod usage;

#[cfg(target_os = "linux")]
pub use address::Address;
pub use clock::{monotonic_ns, process_cpu_ns, sleep_until, thread_cpu_ns, thread_cpu_ns_of};
pub use condition::{PER_WAITER, waiters_in_condition};
#[cfg(target_os = "linux")]
pub use connections::{accept, connect, own_address, send_at_once, shut_down, stream_socket};
pub use cores::{UsableCores, usable_cores};
#[cfg(target_os = "linux")]
pub use datagrams::{Datagrams, IP_DATAGRAM, MOST_DATAGRAMS, send_datagrams};
#[cfg(unix)]
pub use epoll::{Epoll, Events, Readiness, Ready, is_open, poll_many};
#[cfg(unix)]
pub use eventfd::EventFd;
pub use futex::{FutexWait, futex_clear_and_wake, futex_wait, futex_wait_here, futex_wake, futex_wake_here};
pub use load::{available_memory, resident_bytes, running_entities, total_memory};
#[cfg(unix)]
pub use mapping::{Access, Mapping};
pub use memory::read_memory;
pub use pages::page_size;
#[cfg(unix)]
pub use pidfd::Pidfd;
#[cfg(unix)]
pub use readiness::{kill_on_hangup, poll_readable};
pub use robust::{NotTaken, RobustLock, Taken};
pub use scheduling::{Cores, Priority, SignalsBlocked, raise_priority, thread_id, tighten_timers};
#[cfg(unix)]
pub use shared::SharedFile;
#[cfg(target_os = "linux")]
pub use stream::{MOST_PARTS, receive, send, send_parts};
pub use symbols::{StaticWords, find_symbol};
pub use usage::{Usage, children_cpu_ns, thread_usage};

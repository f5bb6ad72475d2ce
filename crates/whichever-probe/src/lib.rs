//! Reads a Python process, this one first of all: threads, GIL holder, states; and meters tasks with it.
//!
//! Guarantees: never takes the GIL, never runs Python, never follows a pointer: memory is copied as bytes and
//! parsed, and whatever bytes come back give a value or an error. What cannot be read is said, not guessed.
//!
//! From the bottom up: `memory`, `offsets` and `interpreter` find the GIL; `procfs`, `calls` and `descriptors`
//! say what a thread does; `thread` joins both into a state; `sampler` asks at random instants, `border` and
//! `tasks` read exact clocks, and `metering` ties them to the tasks of one thread. `onlooker` looks now and then.

#![forbid(unsafe_code)]

mod border;
mod burst;
mod calls;
mod descriptors;
mod interpreter;
mod memory;
mod metering;
mod offsets;
mod onlooker;
mod others;
mod procfs;
mod sampler;
mod tasks;
mod thread;
mod timeline;

pub use calls::{CallClass, classify_call};
pub use interpreter::{GilWords, Interpreter, ProbeError, PythonThread};
pub use memory::{Memory, ProcessMemory};
pub use metering::{Metering, Options, TaskError};
pub use offsets::Layout;
pub use onlooker::{Doing, Onlooker};
pub use procfs::{CallState, SchedStat, parse_call, parse_schedstat, parse_stat_state};
pub use thread::{ThreadReader, ThreadState};
pub use timeline::Span;

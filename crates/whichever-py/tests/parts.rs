//! Parts of the crate that know nothing of Python, built by themselves for their own tests: the crate as a whole links
//! against no interpreter, so that it cannot be run.

#![allow(dead_code, reason = "the rest of the crate uses them")]

#[path = "../src/threads/crowd.rs"]
mod crowd;
#[path = "../src/threads/patience.rs"]
mod patience;
#[path = "../src/event_loop/turn_on_core.rs"]
mod turn_on_core;

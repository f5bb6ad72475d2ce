//! A crew beside model workers: whatever happens in whatever order, every task is settled once and nothing is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

mod cases;
mod faults;
mod mad;
mod schedule;
mod sim;
mod worker;
mod world;

//! Whether threads of this process could go on if they got a core: they have one, or queue for one.
//!
//! Where `/proc` does not tell, none can.

use std::fs;
use std::path::Path;

use whichever_probe::parse_stat_state;

const TASKS: &str = "/proc/self/task";
const RUNNABLE: char = 'R';

/// Whether one thread can go on.
pub(super) fn is_runnable(thread: u32) -> bool {
    is_runnable_at(&Path::new(TASKS).join(thread.to_string()))
}

/// Whether any thread but one can go on.
pub(super) fn other_is_runnable(own: u32) -> bool {
    let Ok(threads) = fs::read_dir(TASKS) else { return false };
    let own = own.to_string();
    threads.flatten().any(|thread| thread.file_name() != *own && is_runnable_at(&thread.path()))
}

fn is_runnable_at(thread: &Path) -> bool {
    fs::read(thread.join("stat")).is_ok_and(|stat| parse_stat_state(&stat) == Some(RUNNABLE))
}

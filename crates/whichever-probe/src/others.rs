//! CPU time of the process's other threads while tasks run: the tasks' own doing, or foreign.
//!
//! A thread is foreign when it was there before metering began and either Python knows it (somebody else's
//! work) or it also burns CPU while no task runs. A native thread that was there before but works only
//! inside tasks is a library's pool (BLAS, OpenMP) and counts as the tasks' own, as does every thread that
//! starts inside a task. Our own threads that look after pools, queues and loops are foreign to every task. Where tasks follow each other so closely that there is no time outside of them to
//! judge by, a native thread counts as the tasks' own.

use std::collections::HashMap;

/// How often threads are listed.
pub(crate) const POLL_PERIOD_NS: u64 = 20_000_000;
/// Less time than this outside of tasks is too little to judge by: a library's pool spins for some milliseconds
/// after each use, and on a busy machine the metered thread may be off its core just then.
const ENOUGH_OUTSIDE_NS: f64 = 50_000_000.0;
/// A native thread this busy outside of tasks, relative to inside, is foreign.
const FOREIGN_RATIO: f64 = 0.5;
/// Name of our own threads, which are left out.
pub(crate) const SAMPLER_NAME: &str = "whichever-probe";
/// How the names of our threads begin that serve programs, as far as the kernel keeps names.
const SERVANTS: [&str; 5] =
    ["whichever-scout", "whichever-pump", "whichever-warde", "whichever-queue", "whichever-watch"];

#[derive(Clone, Copy, Debug)]
struct Other {
    /// CPU clock at the last poll.
    cpu_ns: u64,
    /// CPU used inside and outside of tasks.
    inside_ns: f64,
    outside_ns: f64,
    is_python: bool,
    /// Whether it was there when metering began.
    was_there: bool,
    is_sampler: bool,
    /// Whether it is one of ours that serves the program.
    is_servant: bool,
}

/// Follows the CPU clocks of all threads but the metered one.
#[derive(Debug, Default)]
pub(crate) struct OtherThreads {
    threads: HashMap<u32, Other>,
    inside_ns: f64,
    outside_ns: f64,
}

impl OtherThreads {
    /// Look at all threads. `inside` is the share of the time since the last poll that tasks ran, and
    /// `elapsed_ns` that time; the first poll finds the threads that were there.
    pub(crate) fn poll(&mut self, metered: u32, python: &[u32], inside: f64, elapsed_ns: u64) {
        let is_first = self.inside_ns + self.outside_ns <= 0.0 && self.threads.is_empty();
        for native_id in thread_ids().filter(|native_id| *native_id != metered) {
            let Some(cpu_ns) = whichever_sys::thread_cpu_ns_of(native_id) else { continue };
            let was_there = is_first || inside <= 0.0;
            let other = self.threads.entry(native_id).or_insert_with(|| Other {
                // A thread that started meanwhile has done all of its work since.
                cpu_ns: if was_there { cpu_ns } else { 0 },
                inside_ns: 0.0,
                outside_ns: 0.0,
                is_python: false,
                was_there,
                is_sampler: name_of(native_id) == SAMPLER_NAME,
                is_servant: SERVANTS.contains(&name_of(native_id).as_str()),
            });
            other.is_python |= python.contains(&native_id);
            other.advance(cpu_ns, inside);
        }
        if !is_first {
            self.inside_ns += elapsed_ns as f64 * inside;
            self.outside_ns += elapsed_ns as f64 * (1.0 - inside);
        }
        if is_first && self.threads.is_empty() {
            // Remember that the first poll has been: there was nobody else.
            self.outside_ns += 1.0;
        }
    }

    /// CPU seconds of foreign threads inside tasks.
    pub(crate) fn foreign_cpu(&self) -> f64 {
        let foreign = self.threads.values().filter(|other| self.is_foreign(other));
        foreign.map(|other| other.inside_ns).fold(0.0, |sum, nanoseconds| sum + nanoseconds) * 1e-9
    }

    fn is_foreign(&self, other: &Other) -> bool {
        if other.is_servant {
            return true;
        }
        if other.is_sampler || !other.was_there {
            return false;
        }
        if other.is_python {
            return true;
        }
        let outside_rate = other.outside_ns / self.outside_ns.max(1.0);
        let inside_rate = other.inside_ns / self.inside_ns.max(1.0);
        self.outside_ns >= ENOUGH_OUTSIDE_NS && outside_rate > FOREIGN_RATIO * inside_rate
    }
}

impl Other {
    fn advance(&mut self, cpu_ns: u64, inside: f64) {
        let used = cpu_ns.saturating_sub(self.cpu_ns) as f64;
        self.cpu_ns = cpu_ns;
        self.inside_ns += used * inside;
        self.outside_ns += used * (1.0 - inside);
    }
}

fn thread_ids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn name_of(native_id: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/self/task/{native_id}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(other: Other) -> OtherThreads {
        OtherThreads { threads: HashMap::from([(1, other)]), inside_ns: 1e9, outside_ns: 1e9 }
    }

    const BUSY_INSIDE: Other = Other {
        cpu_ns: 0,
        inside_ns: 5e8,
        outside_ns: 0.0,
        is_python: false,
        was_there: true,
        is_sampler: false,
        is_servant: false,
    };

    #[test]
    fn a_pool_that_works_only_inside_tasks_is_the_tasks_own() {
        assert!(others(BUSY_INSIDE).foreign_cpu() <= 0.0);
    }

    #[test]
    fn our_own_servants_are_foreign_whenever_they_came() {
        let servant = Other { was_there: false, is_servant: true, ..BUSY_INSIDE };
        assert!((others(servant).foreign_cpu() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_thread_that_is_always_busy_is_foreign() {
        let always = Other { outside_ns: 5e8, ..BUSY_INSIDE };
        assert!((others(always).foreign_cpu() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_python_thread_that_was_there_is_foreign_and_one_that_a_task_started_is_not() {
        let python = Other { is_python: true, ..BUSY_INSIDE };
        assert!((others(python).foreign_cpu() - 0.5).abs() < 1e-9);
        assert!(others(Other { was_there: false, ..python }).foreign_cpu() <= 0.0);
        assert!(others(Other { is_sampler: true, ..python }).foreign_cpu() <= 0.0);
    }

    #[test]
    fn without_time_outside_a_native_thread_is_the_tasks_own() {
        let mut others = others(Other { outside_ns: 1e6, ..BUSY_INSIDE });
        others.outside_ns = 1e6;
        assert!(others.foreign_cpu() <= 0.0);
    }
}

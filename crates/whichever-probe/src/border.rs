//! The exact clocks of the metered thread at one instant: what is read before and after tasks.
//!
//! A border costs a few microseconds, so short tasks share two of them (see `tasks`).

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use whichever_sys::Usage;

use crate::procfs::parse_schedstat;
use crate::thread::read_start;

/// CPU nanoseconds of all samplers of this process, so that no meter charges them to a task.
static SAMPLERS_CPU_NS: AtomicU64 = AtomicU64::new(0);

/// Say that a sampler has used this much more CPU.
pub(crate) fn add_sampler_cpu(nanoseconds: u64) {
    // Relaxed: a sum on its own, which orders nothing.
    SAMPLERS_CPU_NS.fetch_add(nanoseconds, Ordering::Relaxed);
}

/// Totals at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Border {
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    /// Run-queue delay.
    pub(crate) delay_ns: u64,
    /// CPU of the whole process.
    pub(crate) process_ns: u64,
    /// CPU of all samplers.
    pub(crate) samplers_ns: u64,
    /// CPU of children that ended.
    pub(crate) children_ns: u64,
    pub(crate) usage: Usage,
}

/// Reads borders for the thread it was made in.
#[derive(Debug)]
pub(crate) struct BorderReader {
    /// The thread's `schedstat`; `None` where the kernel does not keep it.
    schedstat: Option<File>,
}

impl BorderReader {
    /// For the calling thread.
    pub(crate) fn new() -> Self {
        let path = format!("/proc/self/task/{}/schedstat", whichever_sys::thread_id());
        Self { schedstat: File::open(path).ok() }
    }

    /// Whether run-queue delay can be told.
    pub(crate) fn knows_delay(&self) -> bool {
        self.schedstat.is_some()
    }

    /// Read everything, the thread's own clock last: what follows is the task.
    pub(crate) fn before_tasks(&self) -> Border {
        let counts = self.counts();
        Border { wall_ns: whichever_sys::monotonic_ns(), ..self.clocks(counts) }
    }

    /// Read everything, the thread's own clocks first: what came before was the task.
    pub(crate) fn after_tasks(&self) -> Border {
        let wall_ns = whichever_sys::monotonic_ns();
        let clocks = self.clocks(Border::default());
        let counts = self.counts();
        Border { wall_ns, cpu_ns: clocks.cpu_ns, process_ns: clocks.process_ns, ..counts }
    }

    /// The process's clock and then the thread's, always in this order: what lies between cancels out.
    fn clocks(&self, counts: Border) -> Border {
        let process_ns = whichever_sys::process_cpu_ns().unwrap_or(0);
        Border { process_ns, cpu_ns: whichever_sys::thread_cpu_ns().unwrap_or(0), ..counts }
    }

    fn counts(&self) -> Border {
        let mut line = [0; 96];
        let count = self.schedstat.as_ref().and_then(|file| read_start(file, &mut line));
        let stat = count.and_then(|count| parse_schedstat(line.get(..count)?));
        Border {
            delay_ns: stat.map_or(0, |stat| stat.delay_ns),
            samplers_ns: SAMPLERS_CPU_NS.load(Ordering::Relaxed),
            children_ns: whichever_sys::children_cpu_ns(),
            usage: whichever_sys::thread_usage(),
            ..Border::default()
        }
    }
}

//! Bursts of fast reads of the GIL: how often the metered thread gives it up.
//!
//! The switch number does not move when a lone thread releases the GIL and takes it again, so the sampler now
//! and then watches the `locked` word at the speed of memory and counts its falls. The count belongs to the
//! CPU time that the thread used meanwhile, so a thread that happened to have no core is not taken for quiet.
//! Measured: right within a fifth for releases 2 us apart and more; a thread that reads a few bytes at a time and
//! gives the GIL up every 0.3 us is seen to release it hardly at all, because both cores then wait for the same
//! cache line.

use whichever_model::Bursts;

use crate::interpreter::Interpreter;

/// Length of a burst.
const BURST_NS: u64 = 60_000;
/// From the start of one burst to the start of the next: 0.5 % of a core.
pub(crate) const BURST_PERIOD_NS: u64 = 12_000_000;
/// Reads between two looks at the clock, which costs more than a read.
const READS_PER_CLOCK: u32 = 64;

/// Watch the GIL for one burst.
pub(crate) fn watch(interpreter: &Interpreter, thread_state: u64, native_id: u32) -> Bursts {
    let Some(cpu_before) = whichever_sys::thread_cpu_ns_of(native_id) else { return Bursts::default() };
    let end_ns = whichever_sys::monotonic_ns() + BURST_NS;
    let mut releases = 0;
    let mut held = interpreter.is_held_by(thread_state);
    while whichever_sys::monotonic_ns() < end_ns {
        for _ in 0..READS_PER_CLOCK {
            let holds = interpreter.is_held_by(thread_state);
            releases += u64::from(held && !holds);
            held = holds;
        }
    }
    let cpu_after = whichever_sys::thread_cpu_ns_of(native_id).unwrap_or(cpu_before);
    Bursts { releases, cpu: cpu_after.saturating_sub(cpu_before) as f64 * 1e-9 }
}

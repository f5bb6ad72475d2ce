//! Whether a thread that could run had a core: on a busy machine it holds the GIL and computes nothing.

use whichever_probe::{SchedStat, parse_schedstat};

/// Less of the time than this on a core, and nothing counted as a delay: it is queued right now, all that time.
const HARDLY: u64 = 10;

/// What the kernel had counted of a thread, and when.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    at_ns: u64,
    stat: SchedStat,
}

impl Counted {
    /// Ask now. None where the kernel does not count, or the thread is gone.
    pub(super) fn now(native_id: u32, now_ns: u64) -> Option<Self> {
        let bytes = std::fs::read(format!("/proc/self/task/{native_id}/schedstat")).ok()?;
        Some(Self { at_ns: now_ns, stat: parse_schedstat(&bytes)? })
    }

    /// Whether a thread that can run now has queued for a core most of the time since `before`.
    pub(super) fn has_queued_since(&self, before: &Self) -> bool {
        let passed = self.at_ns.saturating_sub(before.at_ns);
        let used = self.stat.cpu_ns.saturating_sub(before.stat.cpu_ns);
        let queued = self.stat.delay_ns.saturating_sub(before.stat.delay_ns);
        // A delay is counted when it is over.
        let is_queued_now = queued == 0 && self.stat.slices == before.stat.slices && used * HARDLY < passed;
        passed > 0 && (is_queued_now || queued * 2 > passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(at_ns: u64, cpu_ns: u64, delay_ns: u64, slices: u64) -> bool {
        let before = Counted { at_ns: 1000, stat: SchedStat { cpu_ns: 50, delay_ns: 70, slices: 3 } };
        let stat = SchedStat { cpu_ns: 50 + cpu_ns, delay_ns: 70 + delay_ns, slices: 3 + slices };
        Counted { at_ns: 1000 + at_ns, stat }.has_queued_since(&before)
    }

    #[test]
    fn who_computes_has_not_queued() {
        assert!(!queued(100, 100, 0, 0));
        assert!(!queued(100, 60, 40, 4));
    }

    #[test]
    fn who_had_a_core_now_and_then_has() {
        assert!(queued(100, 30, 70, 4));
    }

    #[test]
    fn who_has_had_none_since_the_last_look_has() {
        assert!(queued(100, 0, 0, 0));
        assert!(!queued(0, 0, 0, 0));
    }

    #[test]
    fn who_slept_until_just_now_has_not() {
        assert!(!queued(100, 1, 2, 1));
    }
}

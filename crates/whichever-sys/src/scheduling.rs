//! How the calling thread is scheduled: its id, priority, timer slack and signal mask.

/// What `raise_priority` was allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Runs before every normal thread as soon as it wakes.
    RealTime,
    /// A normal thread with a higher weight.
    Favoured,
    /// As before: the privilege is missing.
    Normal,
}

/// The kernel's id of the calling thread; 0 where threads have none. Stale in the child of a fork.
#[must_use]
pub fn thread_id() -> u32 {
    thread_local! {
        static ID: u32 = os::thread_id();
    }
    ID.with(|id| *id)
}

/// Let the calling thread run soon after it wakes; for a thread that works microseconds at a time only.
#[must_use]
pub fn raise_priority() -> Priority {
    os::raise_priority()
}

/// Let timers of the calling thread fire within a microsecond of their instant instead of 50.
pub fn tighten_timers() {
    os::tighten_timers();
}

/// The cores the calling thread may run on when it was made, and a way to leave the present one.
#[derive(Debug)]
pub struct Cores(os::CoreSet);

impl Cores {
    /// The cores of the calling thread.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self(os::core_set())
    }

    /// Keep the calling thread off the core it is on now, if it may run on another.
    pub fn leave_current(&self) {
        os::leave_current(&self.0);
    }
}

/// Blocks every signal in the calling thread until dropped: threads started meanwhile never handle one.
#[derive(Debug)]
pub struct SignalsBlocked(#[cfg_attr(not(unix), allow(dead_code, reason = "no signals there"))] os::Mask);

impl SignalsBlocked {
    /// Block all signals of the calling thread.
    #[must_use]
    pub fn new() -> Self {
        Self(os::block_signals())
    }
}

impl Default for SignalsBlocked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        os::restore_signals(&self.0);
    }
}

#[cfg(target_os = "linux")]
mod os {
    use super::Priority;

    /// Lowest real-time priority: above all normal threads, below all other real-time ones.
    const LOWEST_REAL_TIME: libc::c_int = 1;
    /// As far as an unprivileged raise may be allowed by RLIMIT_NICE.
    const FAVOURED_NICE: libc::c_int = -10;
    /// Children do not inherit the real-time class.
    const RESET_ON_FORK: libc::c_int = 0x4000_0000;

    pub(super) fn thread_id() -> u32 {
        // SAFETY: gettid takes nothing and cannot fail.
        u32::try_from(unsafe { libc::gettid() }).unwrap_or(0)
    }

    pub(super) fn raise_priority() -> Priority {
        // SAFETY: sched_param is plain numbers, valid when zeroed.
        let mut wanted: libc::sched_param = unsafe { std::mem::zeroed() };
        wanted.sched_priority = LOWEST_REAL_TIME;
        // SAFETY: 0 is the calling thread, and `wanted` outlives the call.
        if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | RESET_ON_FORK, &raw const wanted) } == 0 {
            return Priority::RealTime;
        }
        // SAFETY: takes numbers only; 0 with PRIO_PROCESS is the calling thread on Linux.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, FAVOURED_NICE) } == 0 {
            return Priority::Favoured;
        }
        Priority::Normal
    }

    pub(super) fn tighten_timers() {
        // SAFETY: takes numbers only; a refusal leaves the slack as it was.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64, 0_u64, 0_u64, 0_u64) };
    }

    /// `None` when the mask could not be read.
    pub(super) type CoreSet = Option<libc::cpu_set_t>;

    pub(super) fn core_set() -> CoreSet {
        // SAFETY: cpu_set_t is plain bits, valid when zeroed.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: 0 is the calling thread; `set` is a place for as many bytes as we say.
        let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0;
        (!failed).then_some(set)
    }

    pub(super) fn leave_current(allowed: &CoreSet) {
        let Some(mut set) = *allowed else { return };
        // SAFETY: sched_getcpu takes nothing.
        let Ok(current) = usize::try_from(unsafe { libc::sched_getcpu() }) else { return };
        if current >= 8 * size_of::<libc::cpu_set_t>() {
            return;
        }
        // SAFETY: `current` is inside the set: it was checked above.
        unsafe { libc::CPU_CLR(current, &mut set) };
        // SAFETY: `set` is an initialised cpu_set_t.
        if unsafe { libc::CPU_COUNT(&set) } > 0 {
            // SAFETY: 0 is the calling thread; `set` outlives the call. A refusal leaves the mask as it was.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
        }
    }

    pub(super) use super::unix::{Mask, block_signals, restore_signals};
}

#[cfg(unix)]
mod unix {
    /// The signal mask to go back to; `None` when it could not be changed.
    pub(super) type Mask = Option<libc::sigset_t>;

    pub(super) fn block_signals() -> Mask {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `all` is a place for one signal set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: `all` was filled above and `before` is a place for the old mask.
        let failed =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) } != 0;
        // SAFETY: a zeroed signal set is an empty one, and pthread_sigmask has filled it.
        (!failed).then(|| unsafe { before.assume_init() })
    }

    pub(super) fn restore_signals(before: &Mask) {
        if let Some(before) = before {
            // SAFETY: `before` is the mask that pthread_sigmask gave us; the old one is not asked for.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *before, std::ptr::null_mut());
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use super::Priority;

    pub(super) fn thread_id() -> u32 {
        0
    }

    pub(super) fn raise_priority() -> Priority {
        Priority::Normal
    }

    pub(super) fn tighten_timers() {}

    #[derive(Debug)]
    pub(super) struct CoreSet;

    pub(super) fn core_set() -> CoreSet {
        CoreSet
    }

    pub(super) fn leave_current(_allowed: &CoreSet) {}

    #[cfg(unix)]
    pub(super) use super::unix::{Mask, block_signals, restore_signals};

    #[cfg(not(unix))]
    #[derive(Debug)]
    pub(super) struct Mask;

    #[cfg(not(unix))]
    pub(super) fn block_signals() -> Mask {
        Mask
    }

    #[cfg(not(unix))]
    pub(super) fn restore_signals(_before: &Mask) {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn two_threads_have_two_ids() {
        let other = std::thread::spawn(thread_id).join().unwrap();
        assert_ne!(thread_id(), other);
        assert_eq!(thread_id(), thread_id());
    }

    #[test]
    fn a_thread_leaves_its_core_only_where_there_is_another() {
        std::thread::spawn(|| {
            let cores = Cores::of_this_thread();
            let count = |set: &os::CoreSet| {
                // SAFETY: the set was filled by the kernel.
                set.map_or(0, |set| unsafe { libc::CPU_COUNT(&set) })
            };
            let before = count(&cores.0);
            cores.leave_current();
            cores.leave_current();
            assert_eq!(count(&os::core_set()), if before > 1 { before - 1 } else { before });
        })
        .join()
        .unwrap();
    }

    #[test]
    fn threads_started_while_signals_are_blocked_block_them() {
        let mask_of_a_new_thread = || {
            std::thread::spawn(|| {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
                u64::from_str_radix(line.trim(), 16).unwrap()
            })
            .join()
            .unwrap()
        };
        let before = mask_of_a_new_thread();
        let blocked = SignalsBlocked::new();
        let sigint = 1 << (libc::SIGINT - 1);
        assert_ne!(mask_of_a_new_thread() & sigint, 0);
        drop(blocked);
        assert_eq!(mask_of_a_new_thread(), before);
    }
}

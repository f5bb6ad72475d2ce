//! Whether to spin before sleeping: only where a core is idle, and only while it pays.
//!
//! Spinning saves the sleeper's wake-up, some microseconds, when what it waits for comes soon. On a machine with
//! work for every core it takes that time from the very worker that is waited for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use whichever_sys::{monotonic_ns, running_entities, usable_cores};

/// The longest spin: a few times what a sleep and a wake cost, which is the most that a spin can save.
const LIMIT_NS: u64 = 20_000;
/// How long one look at the machine's load is believed. A look costs about 10 us.
const LOOK_NS: u64 = 50_000_000;
/// Looks at the shared state between two looks at the clock, which costs about as much as all of them.
const LOOKS_PER_ROUND: u32 = 8;
/// Spins that may fail in a row after as many that paid.
const MOST_CREDIT: u32 = 8;
/// Without credit, every so manieth wait tries again.
const TRIAL_EVERY: u32 = 32;

/// One waiter's habit of spinning. Keep it from wait to wait.
#[derive(Clone, Debug)]
pub struct Spin {
    /// Failures we can still afford: a spin that pays earns two, one that does not costs one.
    credit: u32,
    /// Waits since the last trial without credit.
    waits: u32,
    /// Never spins.
    never: bool,
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

impl Spin {
    /// Spins at first, as long as cores are idle.
    #[must_use]
    pub fn new() -> Self {
        Self { credit: MOST_CREDIT, waits: 0, never: false }
    }

    /// Never spins.
    #[must_use]
    pub fn never() -> Self {
        Self { credit: 0, waits: 0, never: true }
    }

    /// Ask `ready` once, and go on asking for a while if that may pay.
    pub fn until(&mut self, ready: &mut impl FnMut() -> bool) -> bool {
        self.until_where(a_core_is_idle, ready)
    }

    fn until_where(&mut self, idle: fn() -> bool, ready: &mut impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        if !self.may_try() || !idle() {
            return false;
        }
        let paid = spin(ready);
        self.credit = if paid { (self.credit + 2).min(MOST_CREDIT) } else { self.credit.saturating_sub(1) };
        paid
    }

    fn may_try(&mut self) -> bool {
        if self.never {
            return false;
        }
        if self.credit == 0 {
            self.waits += 1;
            if self.waits < TRIAL_EVERY {
                return false;
            }
            self.waits = 0;
        }
        true
    }
}

fn spin(ready: &mut impl FnMut() -> bool) -> bool {
    let end = monotonic_ns() + LIMIT_NS;
    loop {
        for _ in 0..LOOKS_PER_ROUND {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if monotonic_ns() >= end {
            return false;
        }
    }
}

/// Whether every runnable thread of the machine, we among them, has had a core of its own lately.
fn a_core_is_idle() -> bool {
    /// When we last looked, in nanoseconds; the lowest bit says what we saw.
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let now = monotonic_ns() | 1;
    // A stale or torn answer does no harm: it is a guess that is soon made again.
    let seen = SEEN.load(Ordering::Relaxed);
    if seen != 0 && now.saturating_sub(seen) < LOOK_NS {
        return seen & 1 == 1;
    }
    let idle = running_entities().is_some_and(|running| running <= spinning_cores());
    SEEN.store(if idle { now } else { now & !1 }, Ordering::Relaxed);
    idle
}

/// Whole cores we may use; 0 when there is but one, where spinning never helps.
fn spinning_cores() -> u32 {
    /// One more than what was found. No `OnceLock`: a child forked while another thread fills it would wait for ever.
    static FOUND: AtomicU32 = AtomicU32::new(0);
    if let Some(cores) = FOUND.load(Ordering::Relaxed).checked_sub(1) {
        return cores;
    }
    let cores = usable_cores().cores.floor().clamp(0.0, 65_536.0);
    // Between 0 and 65536, as clamped above.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let cores = cores as u32;
    let cores = if cores < 2 { 0 } else { cores };
    FOUND.store(cores + 1, Ordering::Relaxed);
    cores
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    /// Wait in vain; says whether it spun.
    fn spins(spin: &mut Spin, idle: fn() -> bool) -> bool {
        let mut looks = 0;
        let found = spin.until_where(idle, &mut || {
            looks += 1;
            false
        });
        assert!(!found && looks >= 1);
        looks > 1
    }

    /// Wait for what comes at the third look; says whether it was seen.
    fn pays(spin: &mut Spin) -> bool {
        let mut looks = 0;
        spin.until_where(|| true, &mut || {
            looks += 1;
            looks == 3
        })
    }

    #[test]
    fn what_is_there_is_found_without_spinning() {
        assert!(Spin::never().until(&mut || true));
        assert!(!spins(&mut Spin::never(), || true));
    }

    #[test]
    fn nobody_spins_where_no_core_is_idle() {
        let mut spin = Spin::new();
        for _ in 0..100 {
            assert!(!spins(&mut spin, || false));
        }
    }

    #[test]
    fn who_spins_in_vain_gives_up_and_tries_again_now_and_then() {
        let mut spin = Spin::new();
        let credit = (0..MOST_CREDIT).all(|_| spins(&mut spin, || true));
        assert!(credit, "all of the first credit is spent");
        let trials = (0..10 * TRIAL_EVERY).filter(|_| spins(&mut spin, || true)).count();
        assert_eq!(trials, 10);
    }

    #[test]
    fn a_trial_that_pays_earns_credit() {
        let mut spin = Spin::new();
        while spin.credit > 0 {
            spins(&mut spin, || true);
        }
        let tried = (0..TRIAL_EVERY).filter(|_| pays(&mut spin)).count();
        assert_eq!(tried, 1);
        assert!(pays(&mut spin), "the next wait spins again");
    }

    #[test]
    fn a_spin_in_vain_lasts_until_its_limit() {
        let before = monotonic_ns();
        assert!(!spin(&mut || false));
        assert!(monotonic_ns() - before >= LIMIT_NS);
    }
}

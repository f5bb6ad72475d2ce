//! Who drains the rings: the caller that waits, or a pump thread when none does.
//!
//! One thread at a time *leads*: it sleeps on the pool's bell and moves what workers have sent. A caller that waits for a
//! result leads if nobody else does, else follows on a condition variable. The pump leads only when callers are away:
//! it keeps workers supplied, times watched, and tells those who want to be told. So between a worker and
//! `Future.result()` there is no second thread, and callbacks get one wake-up for all that has arrived.
//!
//! Nothing here waits while the lock is held, and nobody who holds the lock waits for Python.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use whichever_ring::{Arena, Page, Spin, Wait};
use whichever_sys::monotonic_ns;

use crate::crew::{Crew, Effect, Work};
use crate::slot::Link;
use crate::task::{Death, Task, Ticket};

/// How often the pump looks whether callers have gone away.
const WATCH: Duration = Duration::from_millis(2);
/// A pool without tasks is left to the bell after this long without a caller.
const QUIET_NS: u64 = 20_000_000;
/// How long a caller sleeps at most before it looks for signals.
const TICK_NS: u64 = 50_000_000;

/// How a wait went.
pub enum Waited<T> {
    /// What was waited for is there.
    Done,
    /// The deadline has passed.
    TimedOut,
    /// A signal may have arrived: look, then wait again.
    Interrupted,
    /// There is work for whoever may use Python: do it, then wait again.
    Work(Work<T>),
}

struct State<T, L> {
    crew: Crew<T, L>,
    led: bool,
    followers: usize,
    deaths: Vec<Death>,
    /// Tasks that somebody wants to be told of.
    listeners: usize,
    touched_ns: u64,
    stopped: bool,
}

/// A pool that any number of threads use at once.
pub struct Hub<T, L> {
    state: Mutex<State<T, L>>,
    /// Followers: a task has ended, or nobody leads any more.
    changed: Condvar,
    /// The pump: there may be a reason to lead.
    wanted: Condvar,
    page: Page,
    spin: Mutex<Spin>,
    /// Callers that wait. Read by a leading pump, which steps aside for them.
    callers: AtomicUsize,
    /// The leader is to look again. Set before the bell is rung.
    poked: AtomicBool,
    arena: Arc<Arena>,
}

type Guard<'a, T, L> = MutexGuard<'a, State<T, L>>;

impl<T: Ticket, L: Link> Hub<T, L> {
    /// Share `crew`; its workers ring `page`.
    #[must_use]
    pub fn new(crew: Crew<T, L>, page: Page) -> Self {
        let arena = Arc::clone(&crew.arena);
        let state = State {
            crew,
            led: false,
            followers: 0,
            deaths: Vec::new(),
            listeners: 0,
            touched_ns: 0,
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            wanted: Condvar::new(),
            page,
            spin: Mutex::new(Spin::new()),
            callers: AtomicUsize::new(0),
            poked: AtomicBool::new(false),
            arena,
        }
    }

    /// The page that holds the pool's bell.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The caller's arena.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    fn lock(&self) -> Guard<'_, T, L> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Look at the pool, or change it, under its lock; then hand out what can be.
    ///
    /// Returns what the caller has to do with Python.
    pub fn with<R>(&self, change: impl FnOnce(&mut Crew<T, L>) -> R) -> (R, Work<T>) {
        let mut state = self.lock();
        let result = change(&mut state.crew);
        let mut state = self.supply(state);
        let work = self.tell(&mut state);
        self.poke(&mut state);
        (result, work)
    }

    /// Look at the pool under its lock.
    pub fn look<R>(&self, look: impl FnOnce(&mut Crew<T, L>) -> R) -> R {
        look(&mut self.lock().crew)
    }

    /// Take tasks in and hand out what can be. Returns what the caller has to do with Python.
    pub fn submit(&self, tasks: impl IntoIterator<Item = Task<T>>) -> Work<T> {
        let mut state = self.lock();
        state.touched_ns = monotonic_ns();
        for task in tasks {
            state.crew.submit(task);
        }
        if state.crew.has_records() {
            state.crew.collect();
            self.announce(&mut state);
        }
        let mut state = self.supply(state);
        if state.crew.has_work() { self.tell(&mut state) } else { Work::none() }
    }

    /// Somebody wants to be told of one task more.
    pub fn add_listener(&self) {
        let mut state = self.lock();
        state.listeners += 1;
        if !state.led {
            self.wanted.notify_one();
        }
    }

    /// Nobody has to be told any more of a task that `add_listener` was called for.
    pub fn drop_listener(&self) {
        let mut state = self.lock();
        state.listeners = state.listeners.saturating_sub(1);
    }

    /// A worker has ended.
    pub fn report(&self, death: Death) {
        let mut state = self.lock();
        state.deaths.push(death);
        self.poke(&mut state);
    }

    /// Let followers and the leader look again: something they wait for may have changed.
    pub fn nudge(&self) {
        let mut state = self.lock();
        self.poke(&mut state);
    }

    /// End the pump, whatever is left.
    pub fn stop_pump(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.poke(&mut state);
    }

    fn poke(&self, state: &mut Guard<'_, T, L>) {
        if state.followers > 0 {
            self.changed.notify_all();
        }
        // Release: pairs with the leader's swap, which happens after it has armed the bell.
        self.poked.store(true, Ordering::SeqCst);
        if state.led {
            self.page.bell().ring();
        } else {
            state.touched_ns = 0; // the pump need not wait for a quiet moment
            self.wanted.notify_one();
        }
    }

    /// Hand out tasks; copy what must be copied without the lock.
    fn supply<'a>(&'a self, mut state: Guard<'a, T, L>) -> Guard<'a, T, L> {
        while let Some(mut task) = state.crew.hand_out() {
            drop(state);
            let result = task.load(&self.arena);
            state = self.lock();
            state.crew.loaded(task, result);
        }
        state
    }

    /// Move everything that has arrived; returns when to look again.
    fn advance<'a>(&'a self, mut state: Guard<'a, T, L>) -> (Guard<'a, T, L>, Option<u64>) {
        let deaths = std::mem::take(&mut state.deaths);
        state.crew.collect();
        for death in deaths {
            state.crew.bury(death);
        }
        state = self.supply(state);
        let next_ns = state.crew.supervise(monotonic_ns());
        (self.supply(state), next_ns)
    }

    /// Wait, as a caller, until `done` says so; drain the rings meanwhile.
    ///
    /// Call it detached. `done` is asked under the pool's lock and must not wait.
    pub fn wait(&self, done: &mut dyn FnMut(&Crew<T, L>) -> bool, deadline_ns: Option<u64>) -> Waited<T> {
        self.callers.fetch_add(1, Ordering::SeqCst);
        let waited = self.wait_as_caller(done, deadline_ns);
        self.callers.fetch_sub(1, Ordering::SeqCst);
        waited
    }

    fn wait_as_caller(
        &self,
        done: &mut dyn FnMut(&Crew<T, L>) -> bool,
        deadline_ns: Option<u64>,
    ) -> Waited<T> {
        let tick_ns = monotonic_ns().saturating_add(TICK_NS);
        let mut state = self.lock();
        loop {
            let next_ns;
            (state, next_ns) = self.advance(state);
            let now_ns = monotonic_ns();
            state.touched_ns = now_ns;
            self.announce(&mut state);
            if state.crew.has_work() {
                return Waited::Work(self.tell(&mut state));
            }
            if done(&state.crew) {
                self.leave(&state);
                return Waited::Done;
            }
            if deadline_ns.is_some_and(|deadline| now_ns >= deadline) {
                self.leave(&state);
                return Waited::TimedOut;
            }
            if now_ns >= tick_ns {
                return Waited::Interrupted;
            }
            let until_ns = [next_ns, deadline_ns, Some(tick_ns)].into_iter().flatten().min();
            if state.led {
                state = self.follow(state, until_ns, now_ns);
            } else {
                let heard;
                (state, heard) = self.lead(state, until_ns, now_ns, false);
                if heard == Wait::Interrupted {
                    return Waited::Interrupted;
                }
            }
        }
    }

    /// Wake followers if a task has ended since the last time.
    fn announce(&self, state: &mut Guard<'_, T, L>) {
        if std::mem::take(&mut state.crew.settled) && state.followers > 0 {
            self.changed.notify_all();
        }
    }

    /// A caller goes: whoever is left must not sleep on.
    fn leave(&self, state: &Guard<'_, T, L>) {
        if state.led {
            return;
        }
        if state.followers > 0 {
            self.changed.notify_all();
        } else if state.listeners > 0 {
            self.wanted.notify_one();
        }
    }

    fn tell(&self, state: &mut Guard<'_, T, L>) -> Work<T> {
        let work = state.crew.take_work();
        let told = work.effects.iter().filter(|effect| matches!(effect, Effect::Notify(_))).count();
        state.listeners = state.listeners.saturating_sub(told);
        self.leave(state);
        work
    }

    fn follow<'a>(
        &'a self,
        mut state: Guard<'a, T, L>,
        until_ns: Option<u64>,
        now_ns: u64,
    ) -> Guard<'a, T, L> {
        state.followers += 1;
        if state.led {
            self.page.bell().ring(); // a leading pump steps aside for a caller
        }
        let timeout = Duration::from_nanos(until_ns.unwrap_or(u64::MAX).saturating_sub(now_ns));
        let (mut state, _) =
            self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
        state.followers -= 1;
        state
    }

    /// Sleep on the bell until a worker has sent something or somebody pokes.
    fn lead<'a>(
        &'a self,
        mut state: Guard<'a, T, L>,
        until_ns: Option<u64>,
        now_ns: u64,
        as_pump: bool,
    ) -> (Guard<'a, T, L>, Wait) {
        state.led = true;
        drop(state);
        let timeout = until_ns.map(|until| Duration::from_nanos(until.saturating_sub(now_ns)));
        let mut ready = || {
            self.poked.swap(false, Ordering::SeqCst)
                || as_pump && self.callers.load(Ordering::SeqCst) > 0
                || self.lock().crew.has_records()
        };
        let heard = {
            let mut spin = self.spin.lock().unwrap_or_else(PoisonError::into_inner);
            self.page.bell().wait(&mut ready, timeout, &mut spin)
        };
        let mut state = self.lock();
        state.led = false;
        if as_pump && state.followers > 0 {
            self.changed.notify_all();
        }
        (state, heard)
    }

    /// Be the pump: lead while no caller does, until the pool is over. `act` does what needs Python.
    pub fn pump(&self, act: &dyn Fn(Work<T>)) {
        let mut state = self.lock();
        while !(state.stopped || state.crew.is_over() && state.deaths.is_empty()) {
            if state.led || self.callers.load(Ordering::SeqCst) > 0 || is_watched(&state) {
                (state, _) = self.wanted.wait_timeout(state, WATCH).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let next_ns;
            (state, next_ns) = self.advance(state);
            if state.crew.has_work() {
                let work = self.tell(&mut state);
                drop(state);
                act(work);
                state = self.lock();
                continue;
            }
            self.announce(&mut state);
            (state, _) = self.lead(state, next_ns, monotonic_ns(), true);
        }
    }
}

/// Whether callers come so often that the pump need not lead.
fn is_watched<T: Ticket, L: Link>(state: &State<T, L>) -> bool {
    let away_ns = monotonic_ns().saturating_sub(state.touched_ns);
    let patience_ns = if state.crew.is_busy() { WATCH.as_nanos() as u64 } else { QUIET_NS };
    state.listeners == 0 && away_ns < patience_ns && !state.crew.has_work() && state.deaths.is_empty()
}

//! The queue: items, places and unfinished items under one short lock.
//!
//! Nothing here waits but `sleep`. What cannot be done now says so and gives the item back; the caller sleeps (or has a
//! bell rung) and tries again, saying with its `Seat` whether it was woken.

use std::collections::VecDeque;
#[cfg(not(loom))]
use std::sync::PoisonError;

use crate::line::{Line, Wakes, Watch};
use crate::parker::{Parked, Parker};
use crate::sync::{Arc, Mutex, MutexGuard};

/// The most items; None for no limit.
pub type Limit = Option<std::num::NonZeroUsize>;

/// Which item comes out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that went in first.
    Fifo,
    /// The one that went in last.
    Lifo,
}

/// What the queue still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything.
    Open,
    /// Gives what is in it and takes nothing more.
    Closed,
    /// Nothing: its items are elsewhere, or on their way there.
    Moved,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// An item to get.
    Item,
    /// A place to put one.
    Place,
    /// That every item was finished.
    End,
}

/// Why an item was not put; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum PutError<T> {
    /// No place for it now.
    Full(T),
    /// The queue was closed.
    Closed(T),
    /// The queue is elsewhere now.
    Moved(T),
}

/// Why there is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetError {
    /// None is there now.
    Empty,
    /// None is there, and none will come.
    Closed,
    /// The queue is elsewhere now.
    Moved,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// Look again: it may be there.
    Woken,
    /// The time is over. Look a last time.
    TimedOut,
    /// A signal handler ran in this thread.
    Interrupted,
}

/// A waiter between its sleeps: whether it was told, and so has to pass the word on.
#[derive(Debug)]
pub struct Seat {
    want: Want,
    told: bool,
    again: bool,
}

impl Seat {
    /// For one who begins to wait.
    #[must_use]
    pub fn new(want: Want) -> Self {
        Self { want, told: false, again: false }
    }
}

/// What was done since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Items put.
    pub puts: u64,
    /// Items got.
    pub gets: u64,
    /// Times a thread went to sleep because no item was there.
    pub get_waits: u64,
    /// Times a thread went to sleep because no place was there.
    pub put_waits: u64,
    /// The most items that were there at once.
    pub most: usize,
}

/// What holds at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Items in the queue.
    pub len: usize,
    /// Places left; None for no limit.
    pub free: Option<usize>,
    /// Items put and not yet called finished.
    pub unfinished: u64,
    /// What it still does.
    pub phase: Phase,
    /// What it has done.
    pub tally: Tally,
    /// Threads asleep and bells that watch.
    pub waiting: usize,
}

/// See the crate. `T` is an item, `B` a bell.
#[derive(Debug)]
pub struct Queue<T, B> {
    inner: Mutex<Inner<T, B>>,
}

#[derive(Debug)]
struct Inner<T, B> {
    items: VecDeque<T>,
    order: Order,
    /// `usize::MAX` for none.
    limit: usize,
    /// Places that were promised to items on their way (`reserve`).
    reserved: usize,
    unfinished: u64,
    phase: Phase,
    /// It was closed and emptied: a promised place is worth nothing any more.
    emptied: bool,
    for_item: Line<B>,
    for_place: Line<B>,
    for_end: Line<B>,
    tally: Tally,
}

impl<T, B> Inner<T, B> {
    fn has_place(&self) -> bool {
        self.limit - self.reserved.min(self.limit) > self.items.len()
    }

    /// Nothing will come any more: neither what somebody may put, nor what was promised a place.
    fn has_ended(&self) -> bool {
        self.phase == Phase::Moved || (self.phase == Phase::Closed && self.reserved == 0)
    }

    fn line(&mut self, want: Want) -> &mut Line<B> {
        match want {
            Want::Item => &mut self.for_item,
            Want::Place => &mut self.for_place,
            Want::End => &mut self.for_end,
        }
    }

    /// Whether there is a reason not to wait.
    fn is_there(&self, want: Want) -> bool {
        match want {
            Want::Item => !self.items.is_empty() || self.has_ended(),
            Want::Place => self.has_place() || self.phase != Phase::Open,
            Want::End => self.unfinished == 0 || self.phase == Phase::Moved,
        }
    }

    /// A waiter is back: it no longer counts as on its way.
    fn arrive(&mut self, seat: &mut Seat) {
        if std::mem::take(&mut seat.told) {
            self.line(seat.want).arrive();
        }
    }

    /// Tell the next one, if what it waits for is there.
    fn pass_on(&mut self, want: Want) -> Wakes<B> {
        if self.is_there(want) { self.line(want).wake() } else { Wakes::none() }
    }

    #[inline]
    fn push(&mut self, item: T) -> Wakes<B> {
        self.items.push_back(item);
        self.unfinished += 1;
        self.tally.puts += 1;
        self.tally.most = self.tally.most.max(self.items.len());
        self.for_item.wake()
    }

    /// Wake all who wait for items, once none can come any more.
    fn tell_of_the_end(&mut self) -> Wakes<B> {
        if self.has_ended() { self.for_item.wake_all() } else { Wakes::none() }
    }

    fn wake_everybody(&mut self) -> Wakes<B> {
        self.for_item.wake_all().and(self.for_place.wake_all()).and(self.for_end.wake_all())
    }
}

impl<T, B> Queue<T, B> {
    /// An empty queue.
    #[must_use]
    pub fn new(order: Order, limit: Limit) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                order,
                limit: limit.map_or(usize::MAX, Into::into),
                reserved: 0,
                unfinished: 0,
                phase: Phase::Open,
                emptied: false,
                for_item: Line::new(),
                for_place: Line::new(),
                for_end: Line::new(),
                tally: Tally::default(),
            }),
        }
    }

    #[cfg(not(loom))]
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner<T, B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(loom)]
    fn lock(&self) -> MutexGuard<'_, Inner<T, B>> {
        self.inner.lock().expect("no model panics under the lock")
    }

    /// Put an item, if there is a place for it.
    ///
    /// # Errors
    /// The item, and why it was not taken.
    #[inline]
    pub fn try_put(&self, item: T) -> Result<Wakes<B>, PutError<T>> {
        let mut inner = self.lock();
        match inner.phase {
            Phase::Open if inner.has_place() => Ok(inner.push(item)),
            Phase::Open => Err(PutError::Full(item)),
            Phase::Closed => Err(PutError::Closed(item)),
            Phase::Moved => Err(PutError::Moved(item)),
        }
    }

    /// The same for one who has waited.
    ///
    /// # Errors
    /// As `try_put`.
    pub fn put_waited(&self, item: T, seat: &mut Seat) -> Result<Wakes<B>, PutError<T>> {
        let mut inner = self.lock();
        inner.arrive(seat);
        match inner.phase {
            Phase::Open if inner.has_place() => {
                let wakes = inner.push(item);
                Ok(wakes.and(inner.pass_on(Want::Place)))
            }
            Phase::Open => Err(PutError::Full(item)),
            Phase::Closed => Err(PutError::Closed(item)),
            Phase::Moved => Err(PutError::Moved(item)),
        }
    }

    /// Take the item whose turn it is.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub fn try_get(&self) -> Result<(T, Wakes<B>), GetError> {
        Self::get_under(&mut self.lock())
    }

    /// The same for one who has waited.
    ///
    /// # Errors
    /// As `try_get`.
    pub fn get_waited(&self, seat: &mut Seat) -> Result<(T, Wakes<B>), GetError> {
        let mut inner = self.lock();
        inner.arrive(seat);
        let (item, wakes) = Self::get_under(&mut inner)?;
        Ok((item, wakes.and(inner.pass_on(Want::Item))))
    }

    #[inline]
    fn get_under(inner: &mut Inner<T, B>) -> Result<(T, Wakes<B>), GetError> {
        if inner.phase == Phase::Moved {
            return Err(GetError::Moved);
        }
        let item = match inner.order {
            Order::Fifo => inner.items.pop_front(),
            Order::Lifo => inner.items.pop_back(),
        };
        let Some(item) = item else {
            return Err(if inner.has_ended() { GetError::Closed } else { GetError::Empty });
        };
        inner.tally.gets += 1;
        let wakes = if inner.has_place() { inner.for_place.wake() } else { Wakes::none() };
        Ok((item, wakes))
    }

    /// Promise a place to an item that is on its way; `seat` is that of one who has waited for it. Keep the promise
    /// by `put_reserved`, or give it back by `give_back`.
    ///
    /// # Errors
    /// As `try_put`.
    pub fn reserve(&self, seat: Option<&mut Seat>) -> Result<Wakes<B>, PutError<()>> {
        let mut inner = self.lock();
        let waited = seat.is_some();
        if let Some(seat) = seat {
            inner.arrive(seat);
        }
        match inner.phase {
            Phase::Open if inner.has_place() => {
                inner.reserved += 1;
                Ok(if waited { inner.pass_on(Want::Place) } else { Wakes::none() })
            }
            Phase::Open => Err(PutError::Full(())),
            Phase::Closed => Err(PutError::Closed(())),
            Phase::Moved => Err(PutError::Moved(())),
        }
    }

    /// Put an item into a reserved place. It goes in even if the queue was closed meanwhile: the place was promised.
    ///
    /// # Errors
    /// The item, when the queue was closed and emptied meanwhile. The place is given back.
    pub fn put_reserved(&self, item: T) -> Result<Wakes<B>, (T, Wakes<B>)> {
        let mut inner = self.lock();
        inner.reserved = inner.reserved.saturating_sub(1);
        if inner.emptied {
            return Err((item, inner.tell_of_the_end()));
        }
        let wakes = inner.push(item);
        Ok(wakes.and(inner.tell_of_the_end()))
    }

    /// Give a reserved place back.
    pub fn give_back(&self) -> Wakes<B> {
        let mut inner = self.lock();
        inner.reserved = inner.reserved.saturating_sub(1);
        let wakes = inner.tell_of_the_end();
        wakes.and(inner.pass_on(Want::Place))
    }

    /// Undo a get: the item is the next to come out, whatever the limit says.
    pub fn unget(&self, item: T) -> Wakes<B> {
        let mut inner = self.lock();
        match inner.order {
            Order::Fifo => inner.items.push_front(item),
            Order::Lifo => inner.items.push_back(item),
        }
        inner.tally.gets = inner.tally.gets.saturating_sub(1);
        inner.for_item.wake()
    }

    /// Sleep until it may be worth to look again. Returns at once if what is wanted is there.
    ///
    /// Afterwards look again with the same `seat`, or give up with `leave`.
    pub fn sleep(&self, seat: &mut Seat, deadline_ns: Option<u64>) -> Slept {
        let parker = Arc::new(Parker::default());
        {
            let mut inner = self.lock();
            inner.arrive(seat);
            if inner.is_there(seat.want) {
                return Slept::Woken;
            }
            match seat.want {
                Want::Item => inner.tally.get_waits += 1,
                Want::Place => inner.tally.put_waits += 1,
                Want::End => {}
            }
            inner.line(seat.want).join(&parker, seat.again);
        }
        let parked = parker.park(deadline_ns);
        seat.told = !self.lock().line(seat.want).leave(&parker);
        seat.again = true;
        match parked {
            Parked::Told => Slept::Woken,
            Parked::TimedOut => Slept::TimedOut,
            Parked::Interrupted => Slept::Interrupted,
        }
    }

    /// Give up waiting. If one was told of something, the next is told instead.
    pub fn leave(&self, seat: &mut Seat) -> Wakes<B> {
        let mut inner = self.lock();
        inner.arrive(seat);
        inner.pass_on(seat.want)
    }

    /// Ring `bell` when what is wanted may be there, once. False, and no ring, when it is there now.
    #[must_use]
    pub fn watch(&self, want: Want, watch: Watch, bell: B) -> bool {
        let mut inner = self.lock();
        if inner.is_there(want) {
            return false;
        }
        inner.line(want).watch(watch, bell);
        true
    }

    /// Call one item finished. False when there was none to finish.
    #[must_use]
    pub fn finish(&self) -> Option<Wakes<B>> {
        let mut inner = self.lock();
        inner.unfinished = inner.unfinished.checked_sub(1)?;
        Some(if inner.unfinished == 0 { inner.for_end.wake_all() } else { Wakes::none() })
    }

    /// Take nothing more. With `immediate`, also give up what is in it: those items come back, and count as finished.
    /// None when it has moved.
    pub fn close(&self, immediate: bool) -> Option<(VecDeque<T>, Wakes<B>)> {
        let mut inner = self.lock();
        if inner.phase == Phase::Moved {
            return None;
        }
        inner.phase = Phase::Closed;
        inner.emptied |= immediate;
        let dropped = if immediate { std::mem::take(&mut inner.items) } else { VecDeque::new() };
        let items = u64::try_from(dropped.len()).unwrap_or(u64::MAX);
        inner.unfinished = inner.unfinished.saturating_sub(items);
        let mut wakes = inner.for_item.wake_all().and(inner.for_place.wake_all());
        if inner.unfinished == 0 {
            wakes = wakes.and(inner.for_end.wake_all());
        }
        Some((dropped, wakes))
    }

    /// Take everything out, for another place. Everybody who waits is woken and finds that the queue has moved. The
    /// state is what held before.
    pub fn move_out(&self) -> (VecDeque<T>, State, Wakes<B>) {
        let mut inner = self.lock();
        let before = Self::state_under(&inner);
        inner.phase = Phase::Moved;
        (std::mem::take(&mut inner.items), before, inner.wake_everybody())
    }

    /// Undo `move_out`.
    pub fn move_back(&self, items: VecDeque<T>, phase: Phase) -> Wakes<B> {
        let mut inner = self.lock();
        inner.items = items;
        inner.phase = phase;
        inner.wake_everybody()
    }

    /// Which item comes out first.
    #[must_use]
    pub fn order(&self) -> Order {
        self.lock().order
    }

    /// What holds now.
    pub fn state(&self) -> State {
        Self::state_under(&self.lock())
    }

    fn state_under(inner: &Inner<T, B>) -> State {
        State {
            len: inner.items.len(),
            free: (inner.limit != usize::MAX)
                .then(|| inner.limit.saturating_sub(inner.items.len() + inner.reserved)),
            unfinished: inner.unfinished,
            phase: inner.phase,
            tally: inner.tally,
            waiting: inner.for_item.waiting() + inner.for_place.waiting() + inner.for_end.waiting(),
        }
    }

    /// Another limit. Items beyond a smaller one stay.
    pub fn set_limit(&self, limit: Limit) -> Wakes<B> {
        let mut inner = self.lock();
        inner.limit = limit.map_or(usize::MAX, Into::into);
        inner.pass_on(Want::Place)
    }

    /// Show every item and bell, for a collector of garbage. `look` must not come back to this queue.
    ///
    /// # Errors
    /// What `look` says, at once.
    pub fn each<E>(
        &self,
        mut item: impl FnMut(&T) -> Result<(), E>,
        mut bell: impl FnMut(&B) -> Result<(), E>,
    ) -> Result<(), E> {
        let inner = self.lock();
        inner.items.iter().try_for_each(&mut item)?;
        let lines = [&inner.for_item, &inner.for_place, &inner.for_end];
        lines.into_iter().flat_map(Line::bells).try_for_each(&mut bell)
    }

    /// Give up every item and bell, for a collector of garbage.
    pub fn clear(&self) -> impl Sized {
        let mut inner = self.lock();
        let items = std::mem::take(&mut inner.items);
        (items, [Want::Item, Want::Place, Want::End].map(|want| inner.line(want).take_bells()))
    }
}
